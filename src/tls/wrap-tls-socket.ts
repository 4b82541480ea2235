import type { TLSSocket } from 'node:tls'
import { parseOptions, type RenegotiationOptions } from '../core/options.ts'
import { RenegotiationTLSSocket } from '../faces/renegotiation-tls-socket.ts'

/**
 * Puts a stream between the application and `socket` that takes the socket's
 * place: a tls.TLSSocket to all that look, which can renegotiate in the middle
 * of traffic. From then on the application talks to it, and leaves the socket
 * alone.
 *
 * A client's socket or a server's, before its `secureConnect` or at any time
 * after; what it has received and nobody has read yet comes through the stream.
 * Where `socket` is such a stream already, it is returned, and keeps the options
 * that it has.
 *
 * @throws TypeError (ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE) or RangeError
 *   (ERR_OUT_OF_RANGE) for bad arguments; where the socket has an encoding set,
 *   was made with `onread`, or has a stream already. Nothing has been touched
 *   then.
 */
export function wrapTLSSocket(socket: TLSSocket, options?: RenegotiationOptions): RenegotiationTLSSocket {
  if (!(socket instanceof RenegotiationTLSSocket)) return new RenegotiationTLSSocket(socket, options)
  parseOptions(options)
  return socket
}
