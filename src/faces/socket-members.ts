/*
 * The members of a TLS socket that a face passes on to the socket below: all that
 * concern neither data nor the session.
 */
import type { TLSSocket } from 'node:tls'

/** If one of these methods returns the socket, the method of the face returns the face. */
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

/** What this file needs from a face. */
interface Face {
  readonly socket: TLSSocket
  readonly destroyed: boolean
  readonly heldBytes: number
  readonly writableLength: number
}

/** Defines these members on the prototype of a face. */
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
      // With Node, some of these are plain properties, and some programs assign to them.
      set(value: unknown) {
        ;(this.socket as unknown as Record<string, unknown>)[name] = value
      },
    })
  }
  // As with Node's socket, this includes what has not been sent yet.
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
