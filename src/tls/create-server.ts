import tls, { type TlsOptions } from 'node:tls'
import { RenegotiationError } from '../errors.ts'
import { parseOptions, type RenegotiationOptions } from '../options.ts'
import { onHandshakes } from './node-internals.ts'
import type { RenegotiationTLSSocket } from './renegotiation-tls-socket.ts'
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
  options: RenegotiationServerOptions | SecureConnectionListener = {},
  secureConnectionListener?: SecureConnectionListener,
): tls.Server {
  if (typeof options === 'function') return new RenegotiationServer({}, options)
  return new RenegotiationServer(options, secureConnectionListener)
}

class RenegotiationServer extends tls.Server {
  readonly #renegotiation: RenegotiationOptions | undefined

  constructor(options: RenegotiationServerOptions, listener: SecureConnectionListener | undefined) {
    parseOptions(options.renegotiation)
    super(options, listener as (socket: tls.TLSSocket) => void)
    this.#renegotiation = options.renegotiation
  }

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    if (event === 'connection') this.#watchFirstHandshakes()
    if (event === 'secureConnection') args[0] = wrapTLSSocket(args[0] as tls.TLSSocket, this.#renegotiation)
    return super.emit(event as string, ...args)
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
function watchFirstHandshake(_line: Buffer, socket: tls.TLSSocket): void {
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

const watched = new WeakSet<tls.TLSSocket>()
