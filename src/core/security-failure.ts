/* Which security event the error is that ended a connection. */
import { RenegotiationError, withCode } from './errors.ts'
import {
  hasSecuritySubscribers,
  publishSecurityEvent,
  type SecurityEvent,
  type SecurityEventName,
} from './security-events.ts'

/** The end of a connection that failed, as far as it is known. */
export interface FailedEnd {
  readonly isServer: boolean
  /** Whether the first handshake was complete. */
  readonly isSecure: boolean
  readonly face: { readonly remoteAddress?: string | undefined; readonly remotePort?: number | undefined }
}

/** A socket that has closed still knows the address of its peer, but only if it was asked for it before. */
export function rememberPeer({ face }: Pick<FailedEnd, 'face'>): void {
  if (hasSecuritySubscribers()) void face.remoteAddress
}

const published = new WeakSet<Error>()

/**
 * Publishes the event for an error that ended a connection, once for each error: in a first handshake, a server and its
 * stream may both get it. An error that has nothing to do with TLS is no event.
 */
export function publishFailure(error: Error, end: FailedEnd): void {
  if (!hasSecuritySubscribers() || published.has(error)) return
  published.add(error)
  const name = nameOf(error, end.isSecure)
  if (name !== undefined) publishSecurityEvent(name, { ...codeOf(error), ...detailsOf(end) })
}

/**
 * Publishes why a server's first handshake failed. It seldom has a stream then. Of a certificate that it refuses, Node
 * tells only `authorizationError`.
 */
export function publishRefusal(error: Error, socket: { authorizationError: unknown }, face: FailedEnd['face']): void {
  const { authorizationError: reason } = socket
  const why = typeof reason === 'string' ? withCode(new Error(reason), reason) : error
  publishFailure(why, { isServer: true, isSecure: false, face })
}

/** Publishes that a scheduled renegotiation failed, or cannot begin, on a connection that goes on. */
export function publishFailedSchedule(error: Error, end: FailedEnd): void {
  publishSecurityEvent('renegotiation-failed', { ...codeOf(error), ...detailsOf(end) })
}

function detailsOf({ isServer, face }: FailedEnd): Pick<SecurityEvent, 'role' | 'peer'> {
  const { remoteAddress: address, remotePort: port } = face
  const peer = address === undefined || port === undefined ? undefined : { address, port }
  return { role: isServer ? 'server' : 'client', ...(peer && { peer }) }
}

function nameOf(error: Error, isSecure: boolean): SecurityEventName | undefined {
  if (!(error instanceof RenegotiationError))
    return nameOfCode(textOf(error), isSecure ? 'tls-failed' : 'handshake-failed')
  const cause = textOf(error.cause)
  switch (error.code) {
    case 'ERR_RENEGOTIATION_REVOKED':
      return 'certificate-revoked'
    case 'ERR_RENEGOTIATION_IDENTITY_CHANGED':
      return nameOfCode(cause) ?? 'certificate-changed'
    case 'ERR_RENEGOTIATION_NO_CERTIFICATE':
      return cause === '' ? 'certificate-missing' : (nameOfCode(cause) ?? 'certificate-invalid')
    case 'ERR_RENEGOTIATION_LIMIT':
      return 'limit-exceeded'
    case 'ERR_RENEGOTIATION_HOLD_OVERFLOW':
      return 'hold-overflow'
    case 'ERR_RENEGOTIATION_KEYS_EXPIRED':
      return 'renegotiation-overdue'
    case 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT':
      return 'handshake-timeout'
    case 'ERR_RENEGOTIATION_UNSUPPORTED':
      return 'no-secure-renegotiation'
    case 'ERR_RENEGOTIATION_REFUSED':
    case 'ERR_RENEGOTIATION_PEER_DATA':
      return isOtherVersion.test(cause) ? 'version-change' : (nameOfCode(cause) ?? 'handshake-failed')
    default:
      // The connection was closed, or the drain took too long. Neither says anything about its security.
      return undefined
  }
}

/** In the codes of OpenSSL's errors, as Node forms them. */
const isOtherVersion = /UNSUPPORTED_PROTOCOL|WRONG_(SSL_)?VERSION|ALERT_PROTOCOL_VERSION|VERSION_TOO_LOW/

/** What the codes of OpenSSL and Node say about certificates and handshakes. The first match counts. */
const meanings: readonly (readonly [RegExp, SecurityEventName])[] = [
  [/^CERT_HAS_EXPIRED$/, 'certificate-expired'],
  [/^CERT_REVOKED$/, 'certificate-revoked'],
  [/^CRL_HAS_EXPIRED$/, 'revocation-list-expired'],
  [/^UNABLE_TO_GET_CRL/, 'revocation-list-missing'],
  [/CRL_/, 'revocation-list-invalid'],
  [/^(CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|INVALID_|PATH_LENGTH|HOSTNAME_|ERROR_IN_CERT)/, 'certificate-invalid'],
  [/^ERR_TLS_CERT_ALTNAME_INVALID$/, 'certificate-invalid'],
  [/PEER_DID_NOT_RETURN_A_CERTIFICATE/, 'certificate-missing'],
  [/ALERT_(\w+_)?(CERTIFICATE|CA)(_|$)/, 'certificate-rejected'],
  [/UNSAFE_LEGACY_RENEGOTIATION/, 'no-secure-renegotiation'],
  [/^ERR_TLS_SESSION_ATTACK$/, 'limit-exceeded'],
  [/^ERR_TLS_HANDSHAKE_TIMEOUT$/, 'handshake-timeout'],
]

/** @param other for every other error of TLS. */
function nameOfCode(text: string, other?: SecurityEventName): SecurityEventName | undefined {
  const known = meanings.find(([pattern]) => pattern.test(text))
  if (known !== undefined) return known[1]
  return text.startsWith('ERR_SSL_') ? other : undefined
}

/** The code of an error. Node gives the reason why a certificate does not verify as a string or as an Error. */
function textOf(error: unknown): string {
  if (typeof error === 'string') return error
  const { code } = (error ?? {}) as { code?: unknown }
  return typeof code === 'string' ? code : error instanceof Error ? error.message : ''
}

function codeOf(error: Error): Pick<SecurityEvent, 'code'> {
  const { code } = error as NodeJS.ErrnoException
  return typeof code === 'string' ? { code } : {}
}
