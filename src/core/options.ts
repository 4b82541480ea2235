/* The options of the package: types, defaults and checks. */
import { invalidType, invalidValue } from './errors.ts'
import type { AllowIdentityChange } from './identity.ts'
import { parseRekeyOptions, type RekeyOptions, type RekeySettings } from './rekey-options.ts'
import { SLICE_BYTES } from './slice.ts'
import { bytes, flag, milliseconds, mustBeObject, number, quote } from './values.ts'

/**
 * The options of a stream. All are optional.
 *
 * They are checked before anything is touched. A bad value is a TypeError or a RangeError that names the option and
 * quotes the value.
 */
export interface RenegotiationOptions {
  /**
   * Milliseconds that the write in flight may take before a renegotiation is given up with
   * `ERR_RENEGOTIATION_DRAIN_TIMEOUT`. The stream stays open. 0: no limit.
   * @default 30_000
   */
  drainTimeout?: number | undefined
  /**
   * Milliseconds that a handshake of either end may take before the stream is destroyed with
   * `ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT`. 0: no limit.
   * @default 30_000
   */
  handshakeTimeout?: number | undefined
  /**
   * How many bytes are read ahead of the application while the stream is `draining` or `handshaking`. Beyond that,
   * backpressure stops the peer. The limit counts the bytes that the application has not read, and 512 more for each
   * chunk after the first 128. Small chunks are merged. {@link inboundBudget} limits all streams together.
   * @default 16_777_216 (16 MiB)
   */
  maxInboundBytes?: number | undefined
  /**
   * How many bytes may be held while the stream is not `open`. A write beyond that destroys the stream with
   * `ERR_RENEGOTIATION_HOLD_OVERFLOW`. An application that stops when `write()` returns false does not need it.
   * @default Infinity
   */
  maxHeldBytes?: number | undefined
  /** Both high water marks of the stream, in bytes. Default: see each of the two. */
  highWaterMark?: number | undefined
  /**
   * The high water mark of the readable side, in bytes.
   * @default `highWaterMark`, or else 65_536
   */
  readableHighWaterMark?: number | undefined
  /**
   * The high water mark of the writable side, in bytes. The default is three writes to the transport.
   * @default `highWaterMark`, or else 147_456
   */
  writableHighWaterMark?: number | undefined
  /**
   * How many handshakes (`max`) the peer may begin within `windowMs` milliseconds (600,000 by default). One more
   * destroys the stream with `ERR_RENEGOTIATION_LIMIT`. `{ max: 0 }` forbids them; `false` is no limit. Handshakes
   * that this end begins never count.
   *
   * With a `rekey` schedule, the default does not count the handshakes that this schedule would soon have begun
   * itself, so both ends can have the same schedule. It never excuses more than the schedule would have made.
   * @default on a TLS server `tls.CLIENT_RENEG_LIMIT` per `tls.CLIENT_RENEG_WINDOW` (3 in 600 s), otherwise `false`
   */
  peerLimit?: (Pick<PeerLimit, 'max'> & Partial<PeerLimit>) | false | undefined
  /**
   * Whether the peer may have a different identity after a renegotiation: another certificate or none after one,
   * another identity for a pre-shared key, or, as a client, another server name (SNI). If not, such a change destroys
   * the stream with `ERR_RENEGOTIATION_IDENTITY_CHANGED`. A first certificate is not a change.
   *
   * A function decides about another certificate, as {@link sameSubjectAndIssuer} does, and allows no other change. It is
   * called before anything of the new session is used. It must return a boolean. If it throws, the stream is destroyed with
   * that error.
   * @default false
   */
  allowIdentityChange?: boolean | AllowIdentityChange | undefined
  /**
   * Whether a renegotiation requires the extended master secret (RFC 7627) in the session before it and in the session
   * after it. If the session before lacks it, a request fails with `ERR_RENEGOTIATION_UNSUPPORTED` and nothing is held;
   * a handshake that the peer begins destroys the stream. So does a new session that lacks it.
   *
   * `'always'`: the first handshake requires it as well. Without it, the stream is destroyed with
   * `ERR_RENEGOTIATION_UNSUPPORTED` before it sends or receives data.
   * @default false
   */
  requireExtendedMasterSecret?: boolean | 'always' | undefined
  /**
   * On a server: whether a renegotiation may resume the session of the connection, if the client offers that. Such a
   * handshake is abbreviated: it has no public-key operations, and its keys come from the secret of the session
   * (`freshSecret: false`). Nobody is asked for a certificate in it, so a call with `requestCert: true` or
   * `rejectUnauthorized: true` is still a full handshake. On a client, and over a transport that does not have this
   * option, either value is a TypeError (`ERR_INVALID_ARG_VALUE`).
   * @default false; with `renegotiation-duplex/openssl`, true unless the client has a certificate or is asked for one
   */
  resumption?: boolean | undefined
  /**
   * On a server of `node:tls`: from when on a renegotiation of this end holds writes. `'request'`: from its HelloRequest
   * on. `'answer'`: from the ClientHello that answers it, one round trip later. A client that writes at the same time, and
   * does not hold its own writes as this package does, loses the connection by the data in between. Where the option has
   * no effect, `'answer'` is a TypeError (`ERR_INVALID_ARG_VALUE`).
   * @default 'request'
   */
  holdFrom?: 'request' | 'answer' | undefined
  /**
   * A schedule of renegotiations, and a limit for the use of keys. `'auto'` is for TLS 1.3 with an engine that has key
   * updates: it updates the keys when half of the records are sent or received that the cipher allows with one key
   * (RFC 8446, 5.5). It does nothing on other connections. `false`: none.
   * @default `'auto'` with `renegotiation-duplex/openssl`, otherwise none
   */
  rekey?: RekeyOptions | 'auto' | false | undefined
}

/** The options of one renegotiation. */
export interface RenegotiateOptions {
  /**
   * On a server: ask the client for a certificate. If this end cannot request one, `true` is rejected with
   * `ERR_RENEGOTIATION_UNSUPPORTED`.
   * @default as the connection was made; true once the client has shown a certificate
   */
  requestCert?: boolean | undefined
  /**
   * If a certificate is requested: whether a missing or invalid one fails the renegotiation with
   * `ERR_RENEGOTIATION_NO_CERTIFICATE`.
   * @default true with `requestCert: true`, otherwise as the connection was made
   */
  rejectUnauthorized?: boolean | undefined
  /**
   * Gives the renegotiation up when it fires; the promise rejects with an AbortError. If the handshake has not begun,
   * the stream goes on. Otherwise the stream is destroyed.
   */
  signal?: AbortSignal | undefined
  /** The {@link RenegotiationOptions.drainTimeout} of this renegotiation, in ms. Default: that of the stream. */
  drainTimeout?: number | undefined
  /** The {@link RenegotiationOptions.handshakeTimeout} of this renegotiation, in ms. Default: that of the stream. */
  handshakeTimeout?: number | undefined
}

/** How many handshakes (`max`) the peer may begin within `windowMs` milliseconds. */
export interface PeerLimit {
  readonly max: number
  readonly windowMs: number
}

/** {@link RenegotiationOptions} after the check, with the defaults filled in. */
export interface Settings {
  readonly drainTimeout: number
  readonly handshakeTimeout: number
  readonly maxInboundBytes: number
  readonly maxHeldBytes: number
  readonly readableHighWaterMark: number
  readonly writableHighWaterMark: number
  readonly peerLimit: PeerLimit | false | undefined
  readonly allowIdentityChange: boolean | AllowIdentityChange
  readonly requireExtendedMasterSecret: boolean | 'always'
  readonly resumption: boolean | undefined
  readonly holdFrom: 'request' | 'answer'
  readonly rekey: RekeySettings | undefined
}

/** Checks `options` and fills in the defaults. Throws a TypeError or a RangeError. */
export function parseOptions(options: RenegotiationOptions = {}): Settings {
  mustBeObject('options', options)
  const highWaterMark = bytes(options, 'highWaterMark')
  return {
    drainTimeout: milliseconds(options, 'drainTimeout') ?? 30_000,
    handshakeTimeout: milliseconds(options, 'handshakeTimeout') ?? 30_000,
    maxInboundBytes: bytes(options, 'maxInboundBytes', Infinity) ?? 16 * 1024 * 1024,
    maxHeldBytes: bytes(options, 'maxHeldBytes', Infinity) ?? Infinity,
    readableHighWaterMark: bytes(options, 'readableHighWaterMark') ?? highWaterMark ?? 64 * 1024,
    writableHighWaterMark: bytes(options, 'writableHighWaterMark') ?? highWaterMark ?? 3 * SLICE_BYTES,
    peerLimit: peerLimit(options.peerLimit),
    allowIdentityChange: allowIdentityChange(options.allowIdentityChange),
    requireExtendedMasterSecret: extendedMasterSecret(options),
    resumption: flag(options, 'resumption'),
    holdFrom: holdFrom(options.holdFrom),
    rekey: parseRekeyOptions(options.rekey),
  }
}

/** @throws TypeError for an option that only a server has. Called for a client. */
export function refuseServerOptions({ resumption, holdFrom }: RenegotiationOptions = {}): void {
  if (resumption !== undefined) throw invalidValue('resumption is an option of a server, and this end is a client')
  if (holdFrom === 'answer') refuseHoldFrom()
}

/** @throws TypeError if writes cannot go on until the peer answers. */
export function refuseHoldFrom(): never {
  throw invalidValue("holdFrom: 'answer' is an option of a server of node:tls, which this end is not")
}

/** Checks the options of one renegotiation. Throws a TypeError or a RangeError. */
export function parseRenegotiateOptions(options: RenegotiateOptions = {}): RenegotiateOptions {
  mustBeObject('options', options)
  const { signal } = options
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw invalidType(`signal must be an AbortSignal, got ${quote(signal)}`)
  }
  return {
    requestCert: flag(options, 'requestCert'),
    rejectUnauthorized: flag(options, 'rejectUnauthorized'),
    drainTimeout: milliseconds(options, 'drainTimeout'),
    handshakeTimeout: milliseconds(options, 'handshakeTimeout'),
    signal,
  }
}

function extendedMasterSecret(options: RenegotiationOptions): boolean | 'always' {
  const { requireExtendedMasterSecret: value } = options
  return value === 'always' ? value : (flag(options, 'requireExtendedMasterSecret') ?? false)
}

function allowIdentityChange(value: unknown): boolean | AllowIdentityChange {
  if (value === undefined || typeof value === 'boolean') return value ?? false
  if (typeof value === 'function') return value as AllowIdentityChange
  throw invalidType(`allowIdentityChange must be a boolean or a function, got ${quote(value)}`)
}

function holdFrom(value: unknown): 'request' | 'answer' {
  if (value === undefined || value === 'request' || value === 'answer') return value ?? 'request'
  throw invalidValue(`holdFrom must be 'request' or 'answer', got ${quote(value)}`)
}

/** The value of `tls.CLIENT_RENEG_WINDOW`, in milliseconds. */
const PEER_WINDOW_MS = 600_000

function peerLimit(value: unknown): PeerLimit | false | undefined {
  if (value === undefined || value === false) return value
  mustBeObject('peerLimit', value)
  const { max, windowMs = PEER_WINDOW_MS } = value as Partial<PeerLimit>
  if (max === undefined) throw invalidValue(`peerLimit must be false or { max, windowMs }, got ${quote(value)}`)
  number('peerLimit.max', max, 0, Number.MAX_SAFE_INTEGER, true)
  number('peerLimit.windowMs', windowMs, 0, Infinity)
  return { max, windowMs }
}
