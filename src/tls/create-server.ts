import tls, { type TLSSocket, type TlsOptions } from 'node:tls'
import { RenegotiationError } from '../core/errors.ts'
import { parseOptions, type RenegotiationOptions } from '../core/options.ts'
import { RenegotiationTLSSocket } from '../faces/renegotiation-tls-socket.ts'
import { onHandshakes } from '../transports/node-internals.ts'
import { wrapTLSSocket } from './wrap-tls-socket.ts'

/** tls.createServer's options, and those of the streams. */
export interface RenegotiationServerOptions extends TlsOptions {
  renegotiation?: RenegotiationOptions | undefined
}

type SecureConnectionListener = (socket: RenegotiationTLSSocket) => void

/**
 * `tls.createServer()`: a tls.Server whose `secureConnection` carries streams
 * that can renegotiate in the middle of traffic, and can ask for a client's
 * certificate then.
 *
 * @throws what tls.createServer() throws, and TypeError or RangeError for a bad
 *   `renegotiation`.
 */
export function createServer(secureConnectionListener?: SecureConnectionListener): tls.Server
export function createServer(
  options: RenegotiationServerOptions,
  secureConnectionListener?: SecureConnectionListener,
): tls.Server
export function createServer(
  options?: RenegotiationServerOptions | SecureConnectionListener | null,
  secureConnectionListener?: SecureConnectionListener,
): tls.Server {
  if (typeof options === 'function') return new RenegotiationServer({}, options)
  return new RenegotiationServer(options ?? {}, secureConnectionListener)
}

class RenegotiationServer extends tls.Server {
  readonly #renegotiation: RenegotiationOptions | undefined
  readonly #streams = new WeakMap<TLSSocket, RenegotiationTLSSocket>()

  constructor(options: RenegotiationServerOptions, listener: SecureConnectionListener | undefined) {
    parseOptions(options.renegotiation)
    super(options, listener as (socket: tls.TLSSocket) => void)
    this.#renegotiation = options.renegotiation
  }

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    if (event === 'connection') this.#watchFirstHandshakes()
    if (event === 'secureConnection') args[0] = this.#streamOf(args[0] as TLSSocket)
    // Before the first handshake is complete. Our own listener is not to be the reason for a stream of the socket.
    if (event === 'keylog' && this.listenerCount('keylog', watchFirstHandshake) < this.listenerCount('keylog')) {
      args[1] = this.#streamOf(args[1] as TLSSocket)
    }
    return super.emit(event as string, ...args)
  }

  #streamOf(socket: TLSSocket): RenegotiationTLSSocket {
    const known = this.#streams.get(socket)
    if (known !== undefined) return known
    const stream = wrapTLSSocket(socket, this.#renegotiation)
    this.#streams.set(socket, stream)
    return stream
  }

  /**
   * With a listener for `newSession`, Node holds `secure` back until that has
   * called back. `keylog` is the only event of a server that has the socket
   * before. A TLSSocket looks for the listener when it is made.
   */
  #watchFirstHandshakes(): void {
    if (this.listenerCount('newSession') === 0 || this.listeners('keylog').includes(watchFirstHandshake)) return
    this.on('keylog', watchFirstHandshake)
  }
}

/**
 * Destroys the socket where the client begins another handshake before Node has
 * emitted `secure` for the first: nobody would judge it. Where its ClientHello
 * is complete, Node asks for a verdict on a session that is gone, which is a
 * segmentation fault (`verifyError`, Node 20 to 26).
 */
function watchFirstHandshake(_line: Buffer, keylogged: TLSSocket): void {
  // Where others listen to `keylog`, too, they hear of the stream.
  const socket = keylogged instanceof RenegotiationTLSSocket ? keylogged.socket : keylogged
  if (watched.has(socket) || socket.getProtocol() === 'TLSv1.3') return
  watched.add(socket)
  const remove = onHandshakes(
    socket,
    () => {
      const message = 'The client began another handshake before its first was taken note of, so it cannot be judged'
      socket.destroy(new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', message))
    },
    () => {},
  )
  if (remove !== undefined) socket.prependOnceListener('secure', remove)
}

const watched = new WeakSet<TLSSocket>()
