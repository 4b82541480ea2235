/* The options of the package: types, defaults and checks. */
import { inspect } from 'node:util'
import { invalidType, invalidValue, outOfRange } from './errors.ts'
import { SLICE_BYTES } from './slice.ts'

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
   * @default false
   */
  allowIdentityChange?: boolean | undefined
  /**
   * Whether a renegotiation requires the extended master secret (RFC 7627) in the session before it and in the session
   * after it. If the session before lacks it, a request fails with `ERR_RENEGOTIATION_UNSUPPORTED` and nothing is held;
   * a handshake that the peer begins destroys the stream. So does a new session that lacks it.
   * @default false
   */
  requireExtendedMasterSecret?: boolean | undefined
  /** A schedule of renegotiations, and a limit for the use of keys. Default: none. */
  rekey?: RekeyOptions | undefined
}

/** How long, and for how much data, the same keys may be used. */
export interface KeyLimits {
  /** Milliseconds since the last handshake. */
  ms?: number | undefined
  /** Bytes of application data, in both directions together. */
  bytes?: number | undefined
  /**
   * TLS records, in both directions together. Sent data counts as pieces of at most 16 KiB, received data as one record
   * for each `data` event of the socket. Node's TLS makes the same records, unless `setMaxSendFragment()` makes them
   * smaller.
   */
  records?: number | undefined
}

/**
 * A schedule of renegotiations. Whichever limit is reached first begins one.
 *
 * Every completed handshake of either end starts all counts again. A renegotiation that fails without ending the
 * stream emits `renegotiationFailed` and is tried again after 1 s, then after 2, 4, and so on up to 60 s. None begins
 * while another is in progress, or after either side has ended. A schedule does not keep the process alive.
 *
 * If the connection cannot renegotiate (TLS 1.3, HTTP/2), there is no schedule: the process gets one warning for each
 * reason (`RENEGOTIATION_REKEY_UNSUPPORTED`), and data flows on. A `hardLimit` applies all the same.
 *
 * @example
 * ```js
 * const rekey = {
 *   everyMs: [600_000, 900_000], // at a random moment, 10 to 15 minutes after the last handshake
 *   everyBytes: 64 * 2 ** 30, // or after 64 GiB, whichever comes first
 * }
 * const stream = connect({ host: 'plant.example', port: 8883, maxVersion: 'TLSv1.2', renegotiation: { rekey } })
 * ```
 */
export interface RekeyOptions {
  /**
   * Milliseconds since the last handshake. `[min, max]` is a random value between the two, chosen anew each time, so
   * that many connections do not renegotiate at the same moment.
   */
  everyMs?: number | readonly [min: number, max: number] | undefined
  /** Bytes of application data, in both directions together. */
  everyBytes?: number | undefined
  /** TLS records, counted as in {@link KeyLimits}. */
  everyRecords?: number | undefined
  /**
   * Keys that have reached one of these limits are not used any more: the stream is destroyed with
   * `ERR_RENEGOTIATION_KEYS_EXPIRED`, unless a handshake is in progress that the peer has answered. Each limit must be
   * greater than the value of the schedule.
   */
  hardLimit?: KeyLimits | undefined
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
  readonly allowIdentityChange: boolean
  readonly requireExtendedMasterSecret: boolean
  readonly rekey: RekeySettings | undefined
}

/** {@link RekeyOptions} after the check. Infinity stands for an option that was not given. */
export interface RekeySettings {
  readonly everyMs: readonly [min: number, max: number] | undefined
  readonly everyBytes: number
  readonly everyRecords: number
  readonly hardLimit: { readonly ms: number; readonly bytes: number; readonly records: number }
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
    allowIdentityChange: flag(options, 'allowIdentityChange') ?? false,
    requireExtendedMasterSecret: flag(options, 'requireExtendedMasterSecret') ?? false,
    rekey: options.rekey === undefined ? undefined : parseRekeyOptions(options.rekey),
  }
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

/** The limit of setTimeout(). Beyond it, Node fires after one millisecond. */
const MAX_TIMEOUT = 2 ** 31 - 1

/** Checks and returns the option `name`. */
export function milliseconds<K extends string>(from: { [name in K]?: unknown }, name: K): number | undefined {
  return number(name, from[name], 0, MAX_TIMEOUT)
}

/** Checks and returns the option `name`. */
export function bytes<K extends string>(
  from: { [name in K]?: unknown },
  name: K,
  max = Number.MAX_SAFE_INTEGER,
): number | undefined {
  return number(name, from[name], 0, max, true)
}

/** Checks and returns the option `name`. */
export function integer<K extends string>(from: { [name in K]?: unknown }, name: K): number | undefined {
  return number(name, from[name], Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, true)
}

function number(name: string, value: unknown, min: number, max: number, whole = false): number | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'number') throw invalidType(`${name} must be a number, got ${quote(value)}`)
  if (!(value >= min && value <= max) || (whole && value !== Infinity && !Number.isInteger(value))) {
    throw outOfRange(`${name} must be ${whole ? 'an integer' : 'a number'} from ${min} to ${max}, got ${value}`)
  }
  return value
}

/** Checks and returns the option `name`. */
export function flag<K extends string>(from: { [name in K]?: unknown }, name: K): boolean | undefined {
  const value: unknown = from[name]
  if (value === undefined || typeof value === 'boolean') return value
  throw invalidType(`${name} must be a boolean, got ${quote(value)}`)
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

function parseRekeyOptions(rekey: RekeyOptions): RekeySettings {
  mustBeObject('rekey', rekey)
  // With a misspelt name, the schedule would never run, and nobody would notice.
  mustHaveOnly('rekey', rekey, ['everyMs', 'everyBytes', 'everyRecords', 'hardLimit'])
  const { hardLimit: limit = {} } = rekey
  mustBeObject('rekey.hardLimit', limit)
  mustHaveOnly('rekey.hardLimit', limit, ['ms', 'bytes', 'records'])
  const everyMs = timeWindow(rekey.everyMs)
  const everyBytes = count('rekey.everyBytes', rekey.everyBytes)
  const everyRecords = count('rekey.everyRecords', rekey.everyRecords)
  const hardLimit = {
    ms: limit.ms === Infinity ? Infinity : (number('rekey.hardLimit.ms', limit.ms, 1, MAX_TIMEOUT) ?? Infinity),
    bytes: count('rekey.hardLimit.bytes', limit.bytes),
    records: count('rekey.hardLimit.records', limit.records),
  }
  mustBeBeyond('ms', hardLimit.ms, 'everyMs', everyMs?.[1] ?? 0)
  mustBeBeyond('bytes', hardLimit.bytes, 'everyBytes', everyBytes)
  mustBeBeyond('records', hardLimit.records, 'everyRecords', everyRecords)
  if ([everyMs?.[1] ?? Infinity, everyBytes, everyRecords, ...Object.values(hardLimit)].every((n) => n === Infinity)) {
    throw invalidValue(
      `rekey must have everyMs, everyBytes, everyRecords or hardLimit { ms, bytes, records }, got ${quote(rekey)}`,
    )
  }
  return { everyMs, everyBytes, everyRecords, hardLimit }
}

function timeWindow(value: RekeyOptions['everyMs']): readonly [number, number] | undefined {
  if (value === undefined) return undefined
  const [min, max, more] = Array.isArray(value) ? value : [value, value]
  if (min === undefined || max === undefined || more !== undefined) {
    throw invalidValue(`rekey.everyMs must be a number or [min, max], got ${inspect(value)}`)
  }
  number('rekey.everyMs', min, 1, MAX_TIMEOUT)
  number('rekey.everyMs', max, 1, MAX_TIMEOUT)
  if (min > max) throw outOfRange(`rekey.everyMs must be [min, max], got ${inspect(value)}`)
  return [min, max]
}

function count(name: string, value: unknown): number {
  return number(name, value, 1, Infinity, true) ?? Infinity
}

function mustBeBeyond(limit: keyof KeyLimits, value: number, name: keyof RekeyOptions, scheduled: number): void {
  if (value > scheduled || scheduled === Infinity) return
  throw outOfRange(`rekey.hardLimit.${limit} must be more than rekey.${name} (${scheduled}), got ${value}`)
}

/** Throws a TypeError if `value` is not an object. */
export function mustBeObject(name: string, value: unknown): void {
  if (value === null || typeof value !== 'object') throw invalidType(`${name} must be an object, got ${quote(value)}`)
}

function mustHaveOnly(name: string, value: object, known: readonly string[]): void {
  const unknown = Object.keys(value).find((key) => !known.includes(key))
  if (unknown !== undefined) throw invalidValue(`${name} has ${known.join(', ')}, got ${quote(unknown)}`)
}

/** Formats a value for an error message. */
export function quote(value: unknown): string {
  return inspect(value, { depth: 0, breakLength: Infinity })
}
