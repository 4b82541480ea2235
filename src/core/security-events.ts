/* What an operator must know about the security of connections, on the diagnostics channel of the same name. */
import { channel } from 'node:diagnostics_channel'

/** The severities of RFC 5424, section 6.2.1, that the events use. */
export type SecuritySeverity = 'alert' | 'error' | 'warning' | 'notice'

const events = {
  'certificate-revoked': ['alert', "The peer's certificate is revoked"],
  'certificate-changed': ['alert', 'The peer has another certificate or identity than before'],
  'certificate-expired': ['error', "The peer's certificate has expired"],
  'certificate-missing': ['error', 'The peer gave no certificate'],
  'certificate-invalid': ['error', "The peer's certificate does not verify"],
  'certificate-rejected': ['error', 'The peer does not accept the certificate of this end'],
  'revocation-list-expired': ['warning', 'A revocation list has expired'],
  'revocation-list-missing': ['warning', 'There is no revocation list for a certificate'],
  'revocation-list-invalid': ['error', 'A revocation list is invalid'],
  'revocation-list-updated': ['notice', 'A revocation list is in force'],
  'no-secure-renegotiation': ['error', 'The connection cannot be renegotiated securely'],
  'version-change': ['alert', 'Another version of TLS was attempted in a renegotiation'],
  'handshake-failed': ['error', 'A handshake failed'],
  'handshake-timeout': ['error', 'A handshake did not finish in time'],
  'renegotiation-overdue': ['alert', 'The keys have reached their limit without a renegotiation'],
  'renegotiation-failed': ['warning', 'A scheduled renegotiation failed, and the connection goes on'],
  'limit-exceeded': ['alert', 'The peer began too many handshakes'],
  'hold-overflow': ['error', 'Too many bytes were held during a renegotiation'],
  'tls-failed': ['error', 'The connection failed at the level of TLS'],
} as const satisfies Record<string, readonly [SecuritySeverity, string]>

/** What has happened. docs/diagnostics.md says when each event comes, and what to do. */
export type SecurityEventName = keyof typeof events

/**
 * A message of the diagnostics channel `renegotiation-duplex:security`. It never has data of the application, keys, or
 * anything that the peer has chosen, such as the names in its certificate.
 */
export interface SecurityEvent {
  readonly name: SecurityEventName
  readonly severity: SecuritySeverity
  /** When it happened: milliseconds since 1970, as of Date.now(). */
  readonly at: number
  /** A sentence for people. It may change at any time. */
  readonly message: string
  /** The code of the error, for example `ERR_RENEGOTIATION_REVOKED`. */
  readonly code?: string
  /** What this end is. */
  readonly role?: 'client' | 'server'
  /** The other end. Undefined if it is not known, for example because the connection is not over TCP. */
  readonly peer?: { readonly address: string; readonly port: number }
}

const security = channel('renegotiation-duplex:security')

/** Whether anybody listens. An event costs nothing otherwise. */
export function hasSecuritySubscribers(): boolean {
  return security.hasSubscribers
}

/** Publishes an event, in the next tick: a subscriber may do anything with the stream, for example destroy it. */
export function publishSecurityEvent(
  name: SecurityEventName,
  details: Pick<SecurityEvent, 'code' | 'role' | 'peer'> = {},
): void {
  if (!security.hasSubscribers) return
  const [severity, message] = events[name]
  const event: SecurityEvent = Object.freeze({ name, severity, at: Date.now(), message, ...details })
  process.nextTick(() => security.publish(event))
}
