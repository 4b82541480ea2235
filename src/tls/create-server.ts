import tls, { type TLSSocket, type TlsOptions } from 'node:tls'
import { RenegotiationError } from '../core/errors.ts'
import { parseOptions, type RenegotiationOptions } from '../core/options.ts'
import { RenegotiationTLSSocket } from '../faces/renegotiation-tls-socket.ts'
import { ownTicketKeys } from '../transports/full-handshake.ts'
import { onHandshakes } from '../transports/node-internals.ts'
import { wrapTLSSocket } from './wrap-tls-socket.ts'

/** The options of {@link createServer}: those of `tls.createServer()`, and those of each stream. */
export interface RenegotiationServerOptions extends TlsOptions {
  /** The options of each stream. */
  renegotiation?: RenegotiationOptions | undefined
}

type SecureConnectionListener = (socket: RenegotiationTLSSocket) => void

/**
 * Creates a `tls.Server` whose connections are streams that can renegotiate
 * while data flows in both directions, for example to ask a client for its
 * certificate.
 *
 * It takes the same arguments as `tls.createServer()`. The events
 * `secureConnection` and `keylog` carry a `RenegotiationTLSSocket`. A
 * renegotiation needs TLS 1.2 or lower: set `maxVersion`.
 *
 * @throws what `tls.createServer()` throws.
 * @throws TypeError (`ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`) or
 *   RangeError (`ERR_OUT_OF_RANGE`) for a bad `renegotiation`.
 * @example
 * ```js
 * const [key, cert] = [readFileSync('key.pem'), readFileSync('cert.pem')]
 * const server = createServer({ key, cert, maxVersion: 'TLSv1.2' }, (stream) => stream.pipe(stream))
 * server.listen(8443)
 * ```
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

  /** The server's own keys, also in a turn in which a renegotiation has others in their place. */
  override getTicketKeys(): ReturnType<tls.Server['getTicketKeys']> {
    return ownTicketKeys(super.getTicketKeys())
  }

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    if (event === 'connection') this.#watchFirstHandshakes()
    if (event === 'secureConnection') args[0] = this.#streamOf(args[0] as TLSSocket)
    // `keylog` comes before the first handshake is complete. Make a stream only if others than this class listen to it.
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
   * If the server has a listener for `newSession`, Node holds `secure` back until
   * that listener has called back, and the client can begin another handshake
   * in between. `keylog` is the only event of a server that carries the socket
   * before `secure`. The listener must be there when Node makes the TLSSocket.
   */
  #watchFirstHandshakes(): void {
    if (this.listenerCount('newSession') === 0 || this.listeners('keylog').includes(watchFirstHandshake)) return
    this.on('keylog', watchFirstHandshake)
  }
}

/**
 * Destroys the socket if the client begins another handshake before Node has
 * emitted `secure` for the first. Nobody would judge that handshake. If its
 * ClientHello is complete, Node also asks OpenSSL to verify a session that no
 * longer exists (`verifyError`), and Node 20 to 26 crash with a segmentation
 * fault.
 */
function watchFirstHandshake(_line: Buffer, keylogged: TLSSocket): void {
  // If others listen to `keylog` as well, the event carries the stream instead of the socket.
  const socket = keylogged instanceof RenegotiationTLSSocket ? keylogged.socket : keylogged
  if (watched.has(socket) || socket.getProtocol() === 'TLSv1.3') return
  watched.add(socket)
  const remove = onHandshakes(
    socket,
    () => {
      const message =
        'The client began another handshake before Node had processed the first one, so it cannot be judged'
      socket.destroy(new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', message))
    },
    () => {},
  )
  if (remove !== undefined) socket.prependOnceListener('secure', remove)
}

const watched = new WeakSet<TLSSocket>()
