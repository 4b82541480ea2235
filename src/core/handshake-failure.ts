import { RenegotiationError, refusedError } from './errors.ts'
import type { HandshakeFailure } from './transport.ts'

/** Returns the error of a handshake that ended the connection: one that explains `failure`, or else `error` itself. */
export function explain(error: Error, failure: HandshakeFailure | undefined): Error {
  switch (failure) {
    case 'refused':
      return refusedError('The renegotiation was refused', error)
    case 'insecure':
      return refusedError(
        'The peer does not support secure renegotiation (RFC 5746), so our TLS library refused',
        error,
      )
    case 'peer-data':
      return new RenegotiationError(
        'ERR_RENEGOTIATION_PEER_DATA',
        'The peer sent application data in the middle of a handshake, which TLS libraries do not accept',
        error,
      )
    case 'our-data':
      return new RenegotiationError(
        'ERR_RENEGOTIATION_PEER_DATA',
        'The peer began a handshake and could not accept the application data that was on its way to it',
        error,
      )
    case 'broken':
      return refusedError('The handshake failed', error)
    default:
      return error
  }
}
