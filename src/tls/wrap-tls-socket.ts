import type { TLSSocket } from 'node:tls'
import type { RenegotiationOptions } from '../options.ts'
import { RenegotiationDuplex } from '../renegotiation-duplex.ts'
import { tlsTransport } from '../transport/tls-socket.ts'

/**
 * Puts a stream between the application and `socket`. From then on the
 * application talks to the stream, and leaves the socket alone.
 *
 * A client's socket or a server's, before its `secureConnect` or at any time
 * after; what it has received and nobody has read yet comes through the stream.
 *
 * @throws TypeError or RangeError for bad arguments, or where the socket is
 *   wrapped already; nothing has been touched then.
 */
export function wrapTLSSocket(socket: TLSSocket, options?: RenegotiationOptions): RenegotiationDuplex {
  return new RenegotiationDuplex(tlsTransport(socket), options)
}
