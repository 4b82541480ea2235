/**
 * Every code a {@link RenegotiationError} can carry. Codes are stable within a
 * major version; messages are for people and may change at any time.
 *
 * | code | when | the stream then |
 * |---|---|---|
 * | `ERR_RENEGOTIATION_UNSUPPORTED` | TLS 1.3, HTTP/2, `disableRenegotiation()`, `requireExtendedMasterSecret`, a transport that can't; a handshake of the peer's that can't be judged | stays open; destroyed where it is the peer who began |
 * | `ERR_RENEGOTIATION_DRAIN_TIMEOUT` | the write in flight did not finish within `drainTimeout` | stays open |
 * | `ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT` | a handshake began and did not finish within `handshakeTimeout` | destroyed |
 * | `ERR_RENEGOTIATION_REFUSED` | the peer said no, its messages were not those of a good handshake, it is a legacy one (without RFC 5746), the handshake "succeeded" with unchanged keys, or a `duplexTransport`'s `renegotiate` was rejected | destroyed |
 * | `ERR_RENEGOTIATION_CLOSED` | the stream was ended, half-closed or destroyed before or during it | as it is |
 * | `ERR_RENEGOTIATION_PEER_DATA` | application data met a handshake at an end that can't take it | destroyed |
 * | `ERR_RENEGOTIATION_IDENTITY_CHANGED` | the peer came with another certificate than before, with none after one, or with one that does not verify where the old one did; with another identity for a pre-shared key, or another name of the server (SNI) | destroyed |
 * | `ERR_RENEGOTIATION_NO_CERTIFICATE` | a certificate was asked for, and none came or it does not verify | destroyed; stays open where nobody was asked |
 * | `ERR_RENEGOTIATION_LIMIT` | the peer began more handshakes than `peerLimit` allows | destroyed |
 * | `ERR_RENEGOTIATION_HOLD_OVERFLOW` | more than `maxHeldBytes` were written while held | destroyed |
 * | `ERR_RENEGOTIATION_KEYS_EXPIRED` | the keys have reached `rekey.hardLimit`, and the peer has not answered in a renegotiation | destroyed |
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

/**
 * A renegotiation that did not succeed. `code` says which way it failed,
 * `cause` is the error of the TLS library or of Node where there was one.
 *
 * Only failures that {@link RenegotiationErrorCode} names become a
 * RenegotiationError. Anything else that happens to the connection reaches the
 * `error` event as it is: ECONNRESET stays ECONNRESET.
 */
export class RenegotiationError extends Error {
  override readonly name = 'RenegotiationError'
  /** Which failure this is; branch on this, never on the message. */
  readonly code: RenegotiationErrorCode

  constructor(code: RenegotiationErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
  }
}

/** The connection, or our side of it, is closed: no renegotiation can complete. */
export function closedError(message: string, cause?: Error): RenegotiationError {
  return new RenegotiationError('ERR_RENEGOTIATION_CLOSED', message, cause)
}

/** The peer refused, or what came of it is no renegotiation. */
export function refusedError(message: string, cause?: Error): RenegotiationError {
  return new RenegotiationError('ERR_RENEGOTIATION_REFUSED', message, cause)
}

/**
 * What a renegotiation given up through its `signal` rejects with: Node's own
 * shape (`name` AbortError, `code` ABORT_ERR), the signal's reason as `cause`.
 */
export class AbortError extends Error {
  override readonly name = 'AbortError'
  readonly code = 'ABORT_ERR'

  constructor(reason: unknown) {
    super('The renegotiation was aborted', { cause: reason })
  }
}

/** Whether an error is the end of a renegotiation by itself; any other has only cut it off. */
export function endsRenegotiation(error: Error): boolean {
  return error instanceof RenegotiationError || error.name === 'AbortError'
}

/** What the callback of a write that will never happen gets: Node's code for it. */
export function streamDestroyed(): Error {
  return withCode(new Error('Cannot call write after a stream was destroyed'), 'ERR_STREAM_DESTROYED')
}

/** The same, where there never was a connection. */
export function closedBeforeConnection(): Error {
  return withCode(
    new Error('Socket closed before the connection was established'),
    'ERR_SOCKET_CLOSED_BEFORE_CONNECTION',
  )
}

/** What a write gets after the peer's end, to which our side has answered with its own. */
export function endedByPeer(): Error {
  return withCode(new Error('This socket has been ended by the other party'), 'EPIPE')
}

/** What Node says where a client begins more than `tls.CLIENT_RENEG_LIMIT` handshakes. */
export function sessionAttack(): Error {
  return withCode(new Error('TLS session renegotiation attack detected'), 'ERR_TLS_SESSION_ATTACK')
}

/** An argument or option is of the wrong type, or no object of the right kind. */
export function invalidType(message: string): TypeError {
  return withCode(new TypeError(message), 'ERR_INVALID_ARG_TYPE')
}

/** An argument or option is of the right type, and cannot be used. */
export function invalidValue(message: string): TypeError {
  return withCode(new TypeError(message), 'ERR_INVALID_ARG_VALUE')
}

/** A number is out of its range. */
export function outOfRange(message: string): RangeError {
  return withCode(new RangeError(message), 'ERR_OUT_OF_RANGE')
}

/** Gives an error the code that Node gives one of its kind. */
export function withCode<E extends Error>(error: E, code: string): E & { code: string } {
  return Object.assign(error, { code })
}
