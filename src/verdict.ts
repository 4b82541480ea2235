import { RenegotiationError } from './errors.ts'
import type { Session } from './transport/transport.ts'

/** What a handshake was to bring, besides new keys. */
export interface Expectation {
  /** A certificate was asked for. */
  readonly requestCert: boolean
  /** And without a valid one the renegotiation fails. */
  readonly rejectUnauthorized: boolean
  readonly allowIdentityChange: boolean
}

/** How a handshake that completed is judged. */
export type Verdict =
  /** The keys are new; `verified` is false where the transport can't prove it. */
  | { outcome: 'renegotiated'; verified: boolean; peerCertificateChanged: boolean }
  /** The keys are the old ones: nothing happened. */
  | { outcome: 'unchanged' }
  /** New keys, but not what was asked for. The stream goes on. */
  | { outcome: 'rejected'; error: RenegotiationError }
  /** The stream must not go on. */
  | { outcome: 'fatal'; error: RenegotiationError }

/**
 * Judges a handshake by the sessions before and after it.
 *
 * That TLS says "done" proves nothing: Node emits `secure` on the side that
 * has just refused, and a renegotiation that resumed its session has asked
 * nobody for a certificate. What counts is what changed.
 */
export function judge(before: Session, after: Session, expected: Expectation): Verdict {
  const keysChanged = before.keys && after.keys ? !equal(before.keys, after.keys) : undefined
  if (keysChanged === false) return { outcome: 'unchanged' }

  const peerCertificateChanged = !equal(before.identity, after.identity)
  if (peerCertificateChanged && before.identity !== undefined && !expected.allowIdentityChange) {
    const how = after.identity === undefined ? 'no certificate' : 'another certificate'
    return fatal('ERR_RENEGOTIATION_IDENTITY_CHANGED', `The peer came out of the renegotiation with ${how} than before`)
  }

  if (expected.requestCert && expected.rejectUnauthorized) {
    if (after.identity === undefined && after.resumed) {
      return {
        outcome: 'rejected',
        error: new RenegotiationError(
          'ERR_RENEGOTIATION_NO_CERTIFICATE',
          'The renegotiation resumed the session, so the client was not asked for a certificate. A server that asks ' +
            'needs crypto.constants.SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION in its secureOptions',
        ),
      }
    }
    if (after.identity === undefined) {
      return fatal('ERR_RENEGOTIATION_NO_CERTIFICATE', 'The client was asked for a certificate and gave none')
    }
    if (after.authorized !== true) {
      const why = after.authorizationError ?? 'unknown reason'
      return fatal('ERR_RENEGOTIATION_NO_CERTIFICATE', `The client's certificate does not verify: ${why}`, why)
    }
  }
  return { outcome: 'renegotiated', verified: keysChanged === true, peerCertificateChanged }
}

function fatal(code: ConstructorParameters<typeof RenegotiationError>[0], message: string, cause?: unknown): Verdict {
  return { outcome: 'fatal', error: new RenegotiationError(code, message, cause) }
}

function equal(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  return Buffer.compare(a, b) === 0
}
