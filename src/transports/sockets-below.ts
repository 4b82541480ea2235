import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { socketsBelow } from './node-internals.ts'

/**
 * The sockets that a TLS socket was made on: TLS in TLS, through a proxy, or on
 * a socket of somebody's own.
 *
 * If one of them has been destroyed and has not closed, nothing may be written
 * to the TLS socket, and it must not be destroyed: either is a segmentation
 * fault in Node. And Node may never emit `close` for it.
 */
export class SocketsBelow {
  readonly #sockets: readonly Socket[]

  private constructor(sockets: readonly Socket[]) {
    this.#sockets = sockets
  }

  /**
   * Undefined where there is none. If there are several, calls `closed` when the
   * one at the bottom has closed, in a turn of its own. If there is but one, Node
   * closes the TLS socket with it.
   */
  static watch(socket: TLSSocket, closed: () => void): SocketsBelow | undefined {
    const sockets = socketsBelow(socket)
    const bottom = sockets.at(-1)
    if (bottom === undefined) return undefined
    const soon = () => setImmediate(closed)
    if (bottom.destroyed) soon()
    else if (sockets.length > 1) bottom.once('close', soon)
    return new SocketsBelow(sockets)
  }

  get isClosing(): boolean {
    return this.#sockets.some(({ destroyed }) => destroyed)
  }
}
