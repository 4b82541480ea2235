import { RenegotiationError, refusedError } from './errors.ts'
import type { Origin } from './report.ts'
import type { HandshakeFailure } from './transport.ts'

/**
 * Returns the error of a handshake that ended the connection: one that explains `failure`, or else `error` itself.
 * `origin`: who began the handshake.
 */
export function explain(error: Error, failure: HandshakeFailure | undefined, origin: Origin): Error {
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
    case 'unexpected-message':
      // All data had left before this end began.
      if (origin === 'local') return refusedError('The peer refused with the alert unexpected_message', error)
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
