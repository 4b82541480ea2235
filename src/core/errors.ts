/* The errors of the package, and the errors with codes of Node that it creates. */
/**
 * Every `code` that a {@link RenegotiationError} can have.
 *
 * A code keeps its meaning within a major version. Messages are for people and may change at any time.
 *
 * | code | when | the stream |
 * |---|---|---|
 * | `ERR_RENEGOTIATION_UNSUPPORTED` | TLS 1.3, HTTP/2, `disableRenegotiation()`, `requestCert` on a client, a transport that cannot renegotiate, or the option `requireExtendedMasterSecret`; a handshake of the peer that cannot be checked | stays open; destroyed if the peer began the handshake, or if it completed without the required extended master secret |
 * | `ERR_RENEGOTIATION_DRAIN_TIMEOUT` | the write in flight did not finish within `drainTimeout` | stays open |
 * | `ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT` | a handshake of either end did not finish within `handshakeTimeout` | destroyed |
 * | `ERR_RENEGOTIATION_REFUSED` | the peer refused; it does not support secure renegotiation (RFC 5746); its handshake messages were invalid; the keys did not change; or the promise of the `renegotiate` function of a `duplexTransport` was rejected | destroyed |
 * | `ERR_RENEGOTIATION_CLOSED` | one side of the connection was ended, or the stream was destroyed, before the renegotiation was complete | is not changed |
 * | `ERR_RENEGOTIATION_PEER_DATA` | application data met a handshake at an end that does not accept it there | destroyed |
 * | `ERR_RENEGOTIATION_IDENTITY_CHANGED` | after a renegotiation the peer has another certificate, none after one, or one that does not verify where the previous one did; another identity for a pre-shared key; or, as a client, another server name (SNI) | destroyed |
 * | `ERR_RENEGOTIATION_NO_CERTIFICATE` | a server required a certificate, and the client sent none or an invalid one | destroyed; stays open if the session was resumed, so that the client was not asked |
 * | `ERR_RENEGOTIATION_LIMIT` | the peer began more handshakes than `peerLimit` allows | destroyed |
 * | `ERR_RENEGOTIATION_HOLD_OVERFLOW` | more than `maxHeldBytes` were waiting while writes were held | destroyed |
 * | `ERR_RENEGOTIATION_KEYS_EXPIRED` | the keys reached `rekey.hardLimit`, and the peer has not answered in a handshake | destroyed |
 * | `ERR_RENEGOTIATION_REVOKED` | a certificate of the peer is on a revocation list that `updateCRL()` has put in force, or on one of the option `crl` of a server | destroyed |
 */
export type RenegotiationErrorCode =
  | 'ERR_RENEGOTIATION_UNSUPPORTED'
  | 'ERR_RENEGOTIATION_DRAIN_TIMEOUT'
  | 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT'
  | 'ERR_RENEGOTIATION_REFUSED'
  | 'ERR_RENEGOTIATION_CLOSED'
  | 'ERR_RENEGOTIATION_PEER_DATA'
  | 'ERR_RENEGOTIATION_IDENTITY_CHANGED'
  | 'ERR_RENEGOTIATION_NO_CERTIFICATE'
  | 'ERR_RENEGOTIATION_LIMIT'
  | 'ERR_RENEGOTIATION_HOLD_OVERFLOW'
  | 'ERR_RENEGOTIATION_KEYS_EXPIRED'
  | 'ERR_RENEGOTIATION_REVOKED'

/**
 * The error of a renegotiation that failed. `code` says how it failed; `cause` is the error of Node.js or of the TLS
 * library, if there was one.
 *
 * Only the failures that {@link RenegotiationErrorCode} lists become a RenegotiationError. Every other error of the
 * connection is passed on unchanged: ECONNRESET stays ECONNRESET.
 *
 * @example
 * ```js
 * try {
 *   await stream.renegotiate()
 * } catch (error) {
 *   if (!(error instanceof RenegotiationError)) throw error
 *   console.log(error.code, stream.state) // for example ERR_RENEGOTIATION_UNSUPPORTED open
 * }
 * ```
 */
export class RenegotiationError extends Error {
  override readonly name = 'RenegotiationError'
  /** Which failure this is. Test this, not the message. */
  readonly code: RenegotiationErrorCode

  constructor(code: RenegotiationErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
  }
}

/** The error of a renegotiation that cannot complete because one side of the connection is closed. */
export function closedError(message: string, cause?: Error): RenegotiationError {
  return new RenegotiationError('ERR_RENEGOTIATION_CLOSED', message, cause)
}

/** The error of a handshake that was refused, failed, or left the keys unchanged. */
export function refusedError(message: string, cause?: Error): RenegotiationError {
  return new RenegotiationError('ERR_RENEGOTIATION_REFUSED', message, cause)
}

/** The error of a renegotiation whose drain took too long. */
export function drainTimedOut(bytesInFlight: number): RenegotiationError {
  const message = `The write in flight (${bytesInFlight} bytes) did not finish in time`
  return new RenegotiationError('ERR_RENEGOTIATION_DRAIN_TIMEOUT', message)
}

/** The error of a stream that could not write after a handshake, because the peer has closed its side. */
export function flushTimedOut(): RenegotiationError {
  const message = 'The peer closed the connection, and nothing could be written after the handshake'
  return new RenegotiationError('ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT', message)
}

/**
 * The error of a renegotiation that was given up by its `signal`. It looks like Node's own: `name` is `'AbortError'`,
 * `code` is `'ABORT_ERR'`. `cause` is the reason of the signal.
 */
export class AbortError extends Error {
  override readonly name = 'AbortError'
  readonly code = 'ABORT_ERR'

  constructor(reason: unknown) {
    super('The renegotiation was aborted', { cause: reason })
  }
}

/** Whether `error` is the result of a renegotiation itself. Any other error only interrupted it. */
export function endsRenegotiation(error: Error): boolean {
  return error instanceof RenegotiationError || error.name === 'AbortError'
}

/** The error for a write that will never happen because the stream was destroyed. It has Node's code for that. */
export function streamDestroyed(): Error {
  return withCode(new Error('Cannot call write after a stream was destroyed'), 'ERR_STREAM_DESTROYED')
}

/** The same error for a stream that never had a connection. */
export function closedBeforeConnection(): Error {
  return withCode(
    new Error('Socket closed before the connection was established'),
    'ERR_SOCKET_CLOSED_BEFORE_CONNECTION',
  )
}

/** The error for a write after the peer closed the connection and this side was closed in return. */
export function endedByPeer(): Error {
  return withCode(new Error('This socket has been ended by the other party'), 'EPIPE')
}

/** The error of Node for a write to a connection that the peer has reset. */
export function brokenPipe(): Error {
  return Object.assign(withCode(new Error('write EPIPE'), 'EPIPE'), { syscall: 'write' })
}

/** The error of Node for a connection that was closed too early. */
export function connectionReset(message: string): Error & { code: string } {
  return withCode(new Error(message), 'ECONNRESET')
}

/** The error of Node when a client begins more than `tls.CLIENT_RENEG_LIMIT` handshakes. */
export function sessionAttack(): Error {
  return withCode(new Error('TLS session renegotiation attack detected'), 'ERR_TLS_SESSION_ATTACK')
}

/** The error for an argument or option of the wrong type. */
export function invalidType(message: string): TypeError {
  return withCode(new TypeError(message), 'ERR_INVALID_ARG_TYPE')
}

/** The error for an argument or option of the right type that cannot be used. */
export function invalidValue(message: string): TypeError {
  return withCode(new TypeError(message), 'ERR_INVALID_ARG_VALUE')
}

/** The error for a number that is out of range. */
export function outOfRange(message: string): RangeError {
  return withCode(new RangeError(message), 'ERR_OUT_OF_RANGE')
}

/**
 * Every `code` of an error with which `updateCRL()` rejects a revocation list. The lists in force stay then.
 *
 * | code | the list |
 * |---|---|
 * | `ERR_CRL_UNREADABLE` | cannot be parsed, or has parts that are not supported |
 * | `ERR_CRL_EXPIRED` | should have been replaced already (`nextUpdate`) |
 * | `ERR_CRL_NOT_YET_VALID` | is of a later time than now (`thisUpdate`) |
 * | `ERR_CRL_UNKNOWN_ISSUER` | is not of an authority that this end trusts |
 * | `ERR_CRL_BAD_SIGNATURE` | has the name of such an authority, which has not signed it |
 * | `ERR_CRL_OUTDATED` | is older than the one in force |
 */
export type RevocationListErrorCode =
  | 'ERR_CRL_UNREADABLE'
  | 'ERR_CRL_EXPIRED'
  | 'ERR_CRL_NOT_YET_VALID'
  | 'ERR_CRL_UNKNOWN_ISSUER'
  | 'ERR_CRL_BAD_SIGNATURE'
  | 'ERR_CRL_OUTDATED'

/** The error for a revocation list that cannot be used. */
export function listError(code: RevocationListErrorCode, message: string): Error & { code: string } {
  return withCode(new Error(message), code)
}

/** Adds a `code` of Node to an error. */
export function withCode<E extends Error>(error: E, code: string): E & { code: string } {
  return Object.assign(error, { code })
}
