/*
 * What a TLS socket tells and sets that has to do neither with data nor with the
 * session: the socket below is asked.
 */
import type { TLSSocket } from 'node:tls'

/** Methods. Where one returns the socket, that of the face returns the face. */
const methods = [
  'address',
  'connect',
  'disableRenegotiation',
  'enableTrace',
  'getTypeOfService',
  'ref',
  'resetAndDestroy',
  'setKeepAlive',
  'setKeyCert',
  'setMaxSendFragment',
  'setNoDelay',
  'setServername',
  'setSession',
  'setTypeOfService',
  'unref',
]

/** Properties. */
const properties = [
  'autoSelectFamilyAttemptedAddresses',
  'bytesRead',
  'connecting',
  'encrypted',
  'localAddress',
  'localFamily',
  'localPort',
  'pending',
  'remoteAddress',
  'remoteFamily',
  'remotePort',
  'secureConnecting',
  'timeout',
]

/** What is needed of a face. */
interface Face {
  readonly socket: TLSSocket
  readonly destroyed: boolean
  readonly heldBytes: number
  readonly writableLength: number
}

/** Defines them on the prototype of a face. */
export function addSocketMembers(prototype: Face): void {
  for (const name of methods) {
    define(prototype, name, {
      writable: true,
      value(...args: unknown[]) {
        const { socket } = this
        const result = (socket as unknown as Record<string, (...args: unknown[]) => unknown>)[name]?.(...args)
        return result === socket ? this : result
      },
    })
  }
  for (const name of properties) {
    define(prototype, name, {
      enumerable: true,
      get() {
        return (this.socket as unknown as Record<string, unknown>)[name]
      },
      // Some set what a socket of Node's has as a plain property.
      set(value: unknown) {
        ;(this.socket as unknown as Record<string, unknown>)[name] = value
      },
    })
  }
  // As with Node's own, also what has not been sent yet.
  define(prototype, 'bytesWritten', {
    get() {
      return this.socket.bytesWritten + this.heldBytes
    },
  })
  define(prototype, 'bufferSize', {
    get() {
      return this.destroyed ? undefined : this.writableLength
    },
  })
}

function define(prototype: Face, name: string, descriptor: PropertyDescriptor & ThisType<Face>): void {
  Object.defineProperty(prototype, name, { configurable: true, ...descriptor })
}
