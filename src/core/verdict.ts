/* Decides whether a completed handshake is accepted. */
import { RenegotiationError } from './errors.ts'
import type { Session } from './transport.ts'

/** What a handshake must bring, besides new keys. */
export interface Expectation {
  /** A certificate was requested. */
  readonly requestCert: boolean
  /** Without a valid certificate the renegotiation fails. */
  readonly rejectUnauthorized: boolean
  readonly allowIdentityChange: boolean
  /** A session without the extended master secret (RFC 7627) fails. */
  readonly requireExtendedMasterSecret: boolean
}

/** The verdict on a completed handshake. */
export type Verdict =
  /** The keys are new. `verified` is false if the transport cannot prove it. */
  | { outcome: 'renegotiated'; verified: boolean; peerCertificateChanged: boolean }
  /** The keys are the same: the handshake did not take place. */
  | { outcome: 'unchanged' }
  /** The keys are new, but a requested certificate is missing. The stream goes on. */
  | { outcome: 'rejected'; error: RenegotiationError }
  /** The stream must be destroyed. */
  | { outcome: 'fatal'; error: RenegotiationError }

/**
 * Judges a completed handshake by the sessions before and after it.
 *
 * That TLS reports a completed handshake proves nothing: Node emits `secure` also at the end that has just refused, and
 * a renegotiation that resumed its session has requested no certificate. So the verdict depends on what has changed.
 *
 * No handshake completes without a verdict:
 * - OpenSSL reports every start and every end of a handshake to a TLS transport, in the call that processes the message
 *   (onHandshakes in node-internals.ts). The verdict is given before OpenSSL reads another byte, so no data that
 *   follows an unjudged handshake reaches the application.
 * - A start or an end that does not fit ends the connection: a second start before the end, also while Node delays
 *   `secure` for a `newSession` listener; an end without a start; a second handshake that began before the end of the
 *   first was noticed (TLSSocketTransport).
 * - Until the handshake is accepted, the stream shows the session before it (ShownSession) and holds its writes.
 */
export function judge(before: Session, after: Session, expected: Expectation): Verdict {
  const keysChanged = before.keys && after.keys ? !equal(before.keys, after.keys) : undefined

  const peerCertificateChanged = !equal(before.identity, after.identity)
  if (!expected.allowIdentityChange) {
    if (peerCertificateChanged && before.identity !== undefined) {
      const how = after.identity === undefined ? 'no certificate' : 'another certificate'
      return fatal('ERR_RENEGOTIATION_IDENTITY_CHANGED', `The peer has ${how} after the renegotiation`)
    }
    if (before.pskIdentity !== undefined && !equal(before.pskIdentity, after.pskIdentity)) {
      const message = 'After the renegotiation, the peer has no pre-shared key any more, or another identity for it'
      return fatal('ERR_RENEGOTIATION_IDENTITY_CHANGED', message)
    }
    const [asked, asks] = [before.servername, after.servername]
    if (asked !== undefined && asks !== undefined && asked !== asks) {
      const message = `The client asked for the server '${asks}' (SNI) in the renegotiation, and for '${asked}' before`
      return fatal('ERR_RENEGOTIATION_IDENTITY_CHANGED', message)
    }
  }
  if (keysChanged === false) return { outcome: 'unchanged' }

  if (expected.requireExtendedMasterSecret && after.extendedMasterSecret !== true) {
    const message =
      'The session lacks the extended master secret (RFC 7627) after the renegotiation (option requireExtendedMasterSecret)'
    return fatal('ERR_RENEGOTIATION_UNSUPPORTED', message)
  }

  if (expected.requestCert && expected.rejectUnauthorized) {
    if (after.identity === undefined && after.resumed) {
      return {
        outcome: 'rejected',
        error: new RenegotiationError(
          'ERR_RENEGOTIATION_NO_CERTIFICATE',
          'The renegotiation resumed the session, so the client was not asked for a certificate. To rule that out, ' +
            "put crypto.constants.SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION into the server's secureOptions",
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
