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
  readonly face: {
    readonly remoteAddress?: string | undefined
    readonly remotePort?: number | undefined
    /** What lies below, if that is a TLS socket. */
    readonly socket?: { readonly authorizationError?: unknown } | undefined
  }
}

/** A socket that has closed still knows the address of its peer, but only if it was asked for it before. */
export function rememberPeer({ face }: Pick<FailedEnd, 'face'>): void {
  if (hasSecuritySubscribers()) void face.remoteAddress
}

/** Errors of transports. The application may destroy a stream with any value, which says nothing about its security. */
const ofTransports = new WeakSet<Error>()
const published = new WeakSet<Error>()

/** Remembers that `error` comes from the transport of a stream, which is about to be destroyed with it. */
export function noteFailure(error: Error): void {
  if (hasSecuritySubscribers() && error instanceof Error) ofTransports.add(error)
}

/** Publishes the event for an error that has ended a stream, if it comes from the transport or from this package. */
export function publishFailure(error: Error, end: FailedEnd): void {
  if (error instanceof RenegotiationError || ofTransports.has(error)) publishOnce(error, end)
}

/**
 * Publishes why a server's first handshake failed. It seldom has a stream then. Of a certificate that it refuses, Node
 * tells only `authorizationError`. If the error itself says why, that counts: without `rejectUnauthorized`, the certificate
 * of a peer that is revoked may also be one that does not verify.
 */
export function publishRefusal(error: Error, socket: { authorizationError: unknown }, face: FailedEnd['face']): void {
  if (!hasSecuritySubscribers()) return
  const end = { isServer: true, isSecure: false, face }
  const { authorizationError: reason } = socket
  const tellsNothing = nameOf(error, end) === undefined
  publishOnce(tellsNothing && typeof reason === 'string' ? withCode(new Error(reason), reason) : error, end)
}

/** Once for each error: in a first handshake, a server and its stream may both get it. */
function publishOnce(error: Error, end: FailedEnd): void {
  if (!hasSecuritySubscribers() || published.has(error)) return
  published.add(error)
  const name = nameOf(error, end)
  if (name !== undefined) publishSecurityEvent(name, { ...codeOf(error), ...detailsOf(end) })
}

/** Publishes that a scheduled renegotiation failed, or cannot begin, on a connection that goes on. */
export function publishFailedSchedule(error: Error, end: FailedEnd): void {
  if (hasSecuritySubscribers()) publishSecurityEvent('renegotiation-failed', { ...codeOf(error), ...detailsOf(end) })
}

function detailsOf({ isServer, face }: FailedEnd): Pick<SecurityEvent, 'role' | 'peer'> {
  const { remoteAddress: address, remotePort: port } = face
  const peer = address === undefined || port === undefined ? undefined : { address, port }
  return { role: isServer ? 'server' : 'client', ...(peer && { peer }) }
}

/** Undefined for an error that has nothing to do with TLS. */
function nameOf(error: Error, { isServer, isSecure, face }: FailedEnd): SecurityEventName | undefined {
  if (!(error instanceof RenegotiationError)) {
    const code = textOf(error)
    if (isSecure) return nameOfCode(code, 'tls-failed')
    const name = nameOfCode(code, 'handshake-failed')
    // What checkServerIdentity of the application returns may have any code.
    return name ?? (!isServer && face.socket?.authorizationError ? 'certificate-invalid' : undefined)
  }
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
  [
    /^(CERT_\w+|UNABLE_TO_\w+|(DEPTH_ZERO_)?SELF_SIGNED_CERT(_IN_CHAIN)?|INVALID_(CA|PURPOSE)|PATH_LENGTH_EXCEEDED)$/,
    'certificate-invalid',
  ],
  // UNSPECIFIED is all that Node tells of the other errors, for example of a name that the authority may not certify.
  [/^(HOSTNAME_MISMATCH|ERROR_IN_CERT_\w+|UNSPECIFIED|OUT_OF_MEM|ERR_TLS_CERT_ALTNAME_\w+)$/, 'certificate-invalid'],
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
  return /^ERR_(SSL_|TLS_DH_PARAM_SIZE$)/.test(text) ? other : undefined
}

/** The code of an error. Node gives the reason why a certificate does not verify as a string or as an Error. */
function textOf(error: unknown): string {
  if (typeof error === 'string') return error
  const { code, message } = (error ?? {}) as { code?: unknown; message?: string }
  // An SSL_write has failed. In the first handshake, it also reads: `write EPROTO ...:error:0A00010B:SSL routines::reason:...`
  const reason = code === 'EPROTO' ? /:error:[\dA-F]{8}:[^:]*:[^:]*:([^:]+):/.exec(`${message}`)?.[1] : undefined
  if (reason !== undefined) return `ERR_SSL_${reason.toUpperCase().replaceAll(' ', '_')}`
  return typeof code === 'string' ? code : ''
}

/** A code that is none, for example a text of the application that the peer may have chosen, is left out. */
function codeOf(error: Error): Pick<SecurityEvent, 'code'> {
  const code = textOf(error)
  return /^[A-Z][\w./-]{0,99}$/.test(code) ? { code } : {}
}
