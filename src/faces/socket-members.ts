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

/**
 * What a stream of this package has and a TLS socket has not. Programs store values of their own on sockets, so an
 * assignment replaces the member. The stream itself does not use it.
 */
const replaceable = ['bytesInFlight', 'counters', 'heldBytes', 'socket', 'state']

type Members = Record<string, unknown>

/** Defines these members on the prototype of a face. */
export function addSocketMembers<Face extends object>(
  prototype: Face & Pick<TLSSocket, 'destroyed' | 'writableLength'>,
  socketOf: (face: Face) => TLSSocket,
  heldBytesOf: (face: Face) => number,
): void {
  const define = (name: string, descriptor: PropertyDescriptor & ThisType<typeof prototype>) =>
    Object.defineProperty(prototype, name, { configurable: true, ...descriptor })
  const members = (face: Face) => socketOf(face) as unknown as Members

  for (const name of methods) {
    define(name, {
      writable: true,
      value(...args: unknown[]) {
        const socket = socketOf(this)
        const result = (members(this) as Record<string, (...args: unknown[]) => unknown>)[name]?.apply(socket, args)
        return result === socket ? this : result
      },
    })
  }
  for (const name of properties) {
    define(name, {
      enumerable: true,
      get() {
        return members(this)[name]
      },
      // With Node, some of these are plain properties, and some programs assign to them.
      set(value: unknown) {
        members(this)[name] = value
      },
    })
  }
  for (const name of replaceable) {
    define(name, {
      ...Object.getOwnPropertyDescriptor(prototype, name),
      set(value: unknown) {
        Object.defineProperty(this, name, { configurable: true, enumerable: true, writable: true, value })
      },
    })
  }
  // As with Node's socket, this includes what has not been sent yet.
  define('bytesWritten', {
    get() {
      return socketOf(this).bytesWritten + heldBytesOf(this)
    },
  })
  define('bufferSize', {
    get() {
      return this.destroyed ? undefined : this.writableLength
    },
  })
}
