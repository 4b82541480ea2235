import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { socketsBelow } from './node-internals.ts'

/**
 * The sockets that lie below a TLS socket: TLS inside TLS, through a proxy, or on a socket of the application.
 *
 * While one of them is destroyed and has not closed, the TLS socket must not be written to or destroyed: Node crashes
 * with a segmentation fault. Node may also never emit `close` for the TLS socket then.
 */
export class SocketsBelow {
  readonly #sockets: readonly Socket[]

  private constructor(sockets: readonly Socket[]) {
    this.#sockets = sockets
  }

  /**
   * Returns undefined if there are none. If there are several, calls `closed` asynchronously after the one at the
   * bottom has closed. If there is only one, Node closes the TLS socket with it.
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
