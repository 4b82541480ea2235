import { inspect } from 'node:util'
import { invalidType, invalidValue, outOfRange } from './errors.ts'
import { SLICE_BYTES } from './slice.ts'

/**
 * Options of a stream. All are optional and all are checked before anything is
 * touched: a TypeError or a RangeError names the option and quotes its value.
 */
export interface RenegotiationOptions {
  /**
   * Milliseconds that the write in flight may take to finish before a
   * renegotiation is given up with `ERR_RENEGOTIATION_DRAIN_TIMEOUT`; the
   * stream stays open. 0: no limit. Default: 30,000.
   */
  drainTimeout?: number | undefined
  /**
   * Milliseconds that a handshake may take, ours or the peer's, before the
   * stream is destroyed with `ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT`. 0: no
   * limit. Default: 30,000.
   */
  handshakeTimeout?: number | undefined
  /**
   * How many bytes are read ahead of the application while draining or
   * handshaking, when reading must go on whether it reads or not. Beyond that,
   * backpressure again. Counts what is held: the bytes that the application has
   * not read, and 512 for each chunk that they are in, the first 128 chunks
   * excepted. Small chunks are put together, so that few count. All streams
   * together are limited by {@link inboundBudget}. Default: 16 MiB.
   */
  maxInboundBytes?: number | undefined
  /**
   * How many bytes may wait while the stream is not `open`. An application
   * that writes beyond it ends the stream with
   * `ERR_RENEGOTIATION_HOLD_OVERFLOW`. Default: Infinity; `write()` returning
   * false is the ordinary way to hold a sender back.
   */
  maxHeldBytes?: number | undefined
  /** Both high water marks of the stream, in bytes. Default: each its own. */
  highWaterMark?: number | undefined
  /** The readable side's, in bytes. Default: `highWaterMark`, else 65,536. */
  readableHighWaterMark?: number | undefined
  /**
   * The writable side's, in bytes. Default: `highWaterMark`, else 147,456,
   * which is three writes to the transport: while it has one, the others gather.
   */
  writableHighWaterMark?: number | undefined
  /**
   * How many handshakes the peer may begin (`max`) in how long (`windowMs`,
   * milliseconds, 600,000 by default); one more destroys the stream with
   * `ERR_RENEGOTIATION_LIMIT`. `{ max: 0 }` forbids them. Ours never count. Default: on a TLS
   * server Node's `tls.CLIENT_RENEG_LIMIT` per `tls.CLIENT_RENEG_WINDOW` (3
   * per 600 s); elsewhere `false`, no limit. With a `rekey` schedule of our own,
   * the default does not count those that this schedule would have begun itself,
   * so that both ends may have the same; never more of them than the schedule
   * would have made.
   */
  peerLimit?: (Pick<PeerLimit, 'max'> & Partial<PeerLimit>) | false | undefined
  /**
   * Whether the peer may come out of a renegotiation with another certificate
   * than it went in with, or with none after one; with another identity for a
   * pre-shared key; as a client, with another name of the server (SNI). Default:
   * false; such a change destroys the stream with
   * `ERR_RENEGOTIATION_IDENTITY_CHANGED`. A first certificate is no change.
   */
  allowIdentityChange?: boolean | undefined
  /**
   * Whether a renegotiation needs the extended master secret (RFC 7627), in the
   * session before it and in the one after it. Without it in the session before,
   * ours fail with `ERR_RENEGOTIATION_UNSUPPORTED` before anything is held, and
   * the peer's destroy the stream; so does one that comes out without it.
   * Default: false.
   */
  requireExtendedMasterSecret?: boolean | undefined
  /** When to renegotiate by itself, and how long keys may be used. Default: never, and for ever. */
  rekey?: RekeyOptions | undefined
}

/** The keys of now: how old they are, and what they were used for. */
export interface KeyLimits {
  /** Milliseconds since the last handshake. */
  ms?: number | undefined
  /** Bytes of application data, both ways together. */
  bytes?: number | undefined
  /**
   * TLS records, both ways together, as far as they can be known from outside
   * the TLS library: of what is sent, pieces of 16 KiB at most; of what is
   * received, `data` events. So it is with Node's TLS, unless
   * `setMaxSendFragment()` makes records smaller.
   */
  records?: number | undefined
}

/**
 * A schedule of renegotiations. Whichever comes first begins one; every
 * completed handshake, the peer's too, starts all counts again. One that fails
 * without ending the stream is told by the event `renegotiationFailed` and
 * tried again, after 1 s at first, then 2, 4, ..., 60. None begins where one is
 * on its way already, nor after either side has ended. A schedule keeps no
 * process alive.
 *
 * Where a connection can't renegotiate (TLS 1.3, HTTP/2, ...), there is no
 * schedule: the process is warned once (`RENEGOTIATION_REKEY_UNSUPPORTED`), and
 * data goes on. A hard limit holds all the same.
 */
export interface RekeyOptions {
  /**
   * Milliseconds from one handshake to the next renegotiation; of two, a random
   * point between them, anew each time, so that many connections don't do it
   * all at once.
   */
  everyMs?: number | readonly [min: number, max: number] | undefined
  /** Bytes of application data, both ways together. */
  everyBytes?: number | undefined
  /** Records, as {@link KeyLimits} counts them. */
  everyRecords?: number | undefined
  /**
   * Keys that have reached it are not used any more: the stream is destroyed
   * with `ERR_RENEGOTIATION_KEYS_EXPIRED`, unless a handshake is on its way in
   * which the peer has answered. A peer that leaves ours unanswered gains
   * nothing by it. Must be beyond the schedule.
   */
  hardLimit?: KeyLimits | undefined
}

/** Options of one renegotiation. */
export interface RenegotiateOptions {
  /**
   * On a server: ask the client for a certificate. Default: as the connection
   * was made; true once the client has shown one. Where this end can't ask, true
   * fails with `ERR_RENEGOTIATION_UNSUPPORTED`.
   */
  requestCert?: boolean | undefined
  /**
   * With a certificate asked for: whether one that is missing or does not
   * verify fails the renegotiation with `ERR_RENEGOTIATION_NO_CERTIFICATE`.
   * Default: true with `requestCert: true`, else as the connection was made.
   */
  rejectUnauthorized?: boolean | undefined
  /**
   * Gives up. While queued or draining, the stream goes on as before; once the
   * handshake has begun, the stream is destroyed. AbortError either way.
   */
  signal?: AbortSignal | undefined
  /** As in {@link RenegotiationOptions}, for this one. */
  drainTimeout?: number | undefined
  /** As in {@link RenegotiationOptions}, for this one. */
  handshakeTimeout?: number | undefined
}

/** How many handshakes a peer may begin (`max`) in how long (`windowMs`, milliseconds). */
export interface PeerLimit {
  readonly max: number
  readonly windowMs: number
}

/** {@link RenegotiationOptions} as the parts use them: checked, every default filled in. */
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

/** {@link RekeyOptions} likewise; Infinity is for what nothing was said of. */
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

/** setTimeout's own limit; beyond it Node fires after one millisecond. */
const MAX_TIMEOUT = 2 ** 31 - 1

/** The option of that name, checked. */
export function milliseconds<K extends string>(from: { [name in K]?: unknown }, name: K): number | undefined {
  return number(name, from[name], 0, MAX_TIMEOUT)
}

/** The option of that name, checked. */
export function bytes<K extends string>(
  from: { [name in K]?: unknown },
  name: K,
  max = Number.MAX_SAFE_INTEGER,
): number | undefined {
  return number(name, from[name], 0, max, true)
}

/** The option of that name, checked. */
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

/** The option of that name, checked. */
export function flag<K extends string>(from: { [name in K]?: unknown }, name: K): boolean | undefined {
  const value: unknown = from[name]
  if (value === undefined || typeof value === 'boolean') return value
  throw invalidType(`${name} must be a boolean, got ${quote(value)}`)
}

/** Node's own: tls.CLIENT_RENEG_WINDOW. */
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
  // A schedule that is misspelt would never run, and nobody would know.
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

/** Throws a TypeError where it is none. */
export function mustBeObject(name: string, value: unknown): void {
  if (value === null || typeof value !== 'object') throw invalidType(`${name} must be an object, got ${quote(value)}`)
}

function mustHaveOnly(name: string, value: object, known: readonly string[]): void {
  const unknown = Object.keys(value).find((key) => !known.includes(key))
  if (unknown !== undefined) throw invalidValue(`${name} has ${known.join(', ')}, got ${quote(unknown)}`)
}

/** A value as an error message shows it. */
export function quote(value: unknown): string {
  return inspect(value, { depth: 0, breakLength: Infinity })
}
