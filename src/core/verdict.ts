/* Decides whether a completed handshake is accepted. */
import { RenegotiationError } from './errors.ts'
import { type AllowIdentityChange, askIdentityChange } from './identity.ts'
import type { Session } from './transport.ts'

/** What a handshake must bring, besides new keys. */
export interface Expectation {
  /** A certificate was requested. */
  readonly requestCert: boolean
  /** Without a valid certificate the renegotiation fails. */
  readonly rejectUnauthorized: boolean
  /** The handshake must not resume a session, because the client is to be asked for its certificate now. */
  readonly full: boolean
  readonly allowIdentityChange: boolean | AllowIdentityChange
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
  | { outcome: 'fatal'; error: Error }

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
  const changed = identityChange(before, after, expected)
  if (changed !== undefined) return { outcome: 'fatal', error: changed }
  if (keysChanged === false) return { outcome: 'unchanged' }

  if (expected.requireExtendedMasterSecret && after.extendedMasterSecret !== true) {
    const message =
      'The session lacks the extended master secret (RFC 7627) after the renegotiation (option requireExtendedMasterSecret)'
    return { outcome: 'fatal', error: new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', message) }
  }

  const isRequired = expected.requestCert && expected.rejectUnauthorized && after.identity === undefined
  if (after.resumed && (expected.full || isRequired)) {
    return {
      outcome: 'rejected',
      error: new RenegotiationError(
        'ERR_RENEGOTIATION_NO_CERTIFICATE',
        'The renegotiation resumed the session, so the client was not asked for a certificate. To rule that out, ' +
          "put crypto.constants.SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION into the server's secureOptions",
      ),
    }
  }
  const missing = missingCertificate(after, expected)
  if (missing !== undefined) return { outcome: 'fatal', error: missing }
  return { outcome: 'renegotiated', verified: keysChanged === true, peerCertificateChanged: isOther(before, after) }
}

/**
 * Judges what TLS 1.3 has in place of a renegotiation, by the sessions before and after it. Returns the error with which
 * the stream must be destroyed, or undefined. What the keys have to do with it, the messages themselves tell.
 */
export function judgePostHandshake(before: Session, after: Session, expected: Expectation): Error | undefined {
  return identityChange(before, after, expected) ?? missingCertificate(after, expected)
}

/** Whether the peer has another certificate than before, or its first, or none any more. */
export function isOther(before: Session, after: Session): boolean {
  return !equal(before.identity, after.identity)
}

function identityChange(before: Session, after: Session, { allowIdentityChange }: Expectation): Error | undefined {
  if (allowIdentityChange === true) return undefined
  if (before.identity !== undefined && isOther(before, after)) {
    // Names alone prove nothing, so a certificate that was verified must be followed by one that is, too.
    const isWorse = after.resumed === true || (before.authorized === true && after.authorized !== true)
    const mayAsk = typeof allowIdentityChange === 'function' && after.identity !== undefined && !isWorse
    const answer = mayAsk && askIdentityChange(allowIdentityChange, before.identity, after.identity)
    if (answer instanceof Error) return answer
    if (!answer) return certificateChanged(after)
  }
  if (before.pskIdentity !== undefined && !equal(before.pskIdentity, after.pskIdentity)) {
    return identityChanged(
      'After the renegotiation, the peer has no pre-shared key any more, or another identity for it',
    )
  }
  if (after.resumed && isOther(before, after)) {
    return identityChanged('The renegotiation resumed a session with a certificate that this connection did not have')
  }
  if (after.resumed && after.authorized === true && before.authorized !== true) {
    return identityChanged(
      'The renegotiation resumed a session in which the certificate was verified. In this connection, it was not',
    )
  }
  const [asked, asks] = [before.servername, after.servername]
  if (asked !== undefined && asks !== undefined && asked !== asks) {
    return identityChanged(
      `The client asked for the server '${asks}' (SNI) in the renegotiation, and for '${asked}' before`,
    )
  }
  return undefined
}

function certificateChanged(after: Session): RenegotiationError {
  const how = after.identity === undefined ? 'no certificate' : 'another certificate'
  return identityChanged(`The peer has ${how} after the renegotiation`)
}

function identityChanged(message: string): RenegotiationError {
  return new RenegotiationError('ERR_RENEGOTIATION_IDENTITY_CHANGED', message)
}

function missingCertificate(after: Session, expected: Expectation): RenegotiationError | undefined {
  if (!expected.requestCert || !expected.rejectUnauthorized) return undefined
  if (after.identity === undefined) {
    const message = 'The client was asked for a certificate and gave none'
    return new RenegotiationError('ERR_RENEGOTIATION_NO_CERTIFICATE', message)
  }
  if (after.authorized === true) return undefined
  const why = after.authorizationError ?? 'unknown reason'
  if (isRevocation(why)) {
    return new RenegotiationError('ERR_RENEGOTIATION_REVOKED', "The client's certificate is revoked (option crl)", why)
  }
  const message = `The client's certificate does not verify: ${why}`
  return new RenegotiationError('ERR_RENEGOTIATION_NO_CERTIFICATE', message, why)
}

function isRevocation(why: Error | string): boolean {
  return (why instanceof Error ? (why as NodeJS.ErrnoException).code : why) === 'CERT_REVOKED'
}

function equal(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  return Buffer.compare(a, b) === 0
}
