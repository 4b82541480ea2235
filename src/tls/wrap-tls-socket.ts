import type { TLSSocket } from 'node:tls'
import type { RenegotiationOptions } from '../options.ts'
import { RenegotiationTLSSocket } from './renegotiation-tls-socket.ts'

/**
 * Puts a stream between the application and `socket` that takes the socket's
 * place: a tls.TLSSocket to all that look, which can renegotiate in the middle
 * of traffic. From then on the application talks to it, and leaves the socket
 * alone.
 *
 * A client's socket or a server's, before its `secureConnect` or at any time
 * after; what it has received and nobody has read yet comes through the stream.
 *
 * @throws TypeError or RangeError for bad arguments, or where the socket is
 *   wrapped already; nothing has been touched then.
 */
export function wrapTLSSocket(socket: TLSSocket, options?: RenegotiationOptions): RenegotiationTLSSocket {
  return new RenegotiationTLSSocket(socket, options)
}
