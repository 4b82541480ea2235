import type { TLSSocket } from 'node:tls'
import { parseOptions, type RenegotiationOptions } from '../core/options.ts'
import { RenegotiationTLSSocket } from '../faces/renegotiation-tls-socket.ts'

/**
 * Puts a stream that can renegotiate between the application and an existing
 * `tls.TLSSocket`, and returns it. From then on, use the stream and leave the
 * socket alone.
 *
 * Wrap a client's socket before or after its first `secureConnect`, and a
 * server's in `secureConnection`, but not during a renegotiation. Data that the
 * socket has received and nobody has read comes out of the stream. A stream of
 * this package is returned unchanged, with the options that it has.
 *
 * @throws TypeError (`ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`) or
 *   RangeError (`ERR_OUT_OF_RANGE`) for a bad argument, and if the socket has an
 *   encoding set, was made with the option `onread`, or is wrapped already. The
 *   socket has not been touched then.
 * @example
 * ```js
 * const socket = tls.connect({ host: 'plant.example', port: 8883, maxVersion: 'TLSv1.2' })
 * const stream = wrapTLSSocket(socket)
 * stream.pipe(process.stdout)
 * await stream.renegotiate()
 * ```
 */
export function wrapTLSSocket(socket: TLSSocket, options?: RenegotiationOptions): RenegotiationTLSSocket {
  if (!(socket instanceof RenegotiationTLSSocket)) return new RenegotiationTLSSocket(socket, options)
  parseOptions(options)
  return socket
}
