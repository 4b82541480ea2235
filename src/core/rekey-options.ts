/* The options of a schedule of renegotiations, and their check. */
import { inspect } from 'node:util'
import { invalidType, invalidValue, outOfRange } from './errors.ts'
import { CONCURRENCY } from './rekey-turns.ts'
import { MAX_TIMEOUT, mustBeObject, number, quote } from './values.ts'

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
  /** Milliseconds since the last full handshake. See {@link RekeyOptions.fullEveryMs}. */
  fullMs?: number | undefined
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
  /**
   * Milliseconds since the last full handshake, or `[min, max]`, as with `everyMs`. Only a full handshake checks
   * certificates, and only a full one, of either end, starts this time again: an abbreviated one does not. It is always
   * a full handshake that is begun. If the first handshake of the connection was abbreviated, one begins at once.
   * `everyMs` must be less. It is for TLS 1.2: with TLS 1.3, nobody can check certificates by a schedule.
   */
  fullEveryMs?: number | readonly [min: number, max: number] | undefined
  /** Bytes of application data, in both directions together. */
  everyBytes?: number | undefined
  /** TLS records, counted as in {@link KeyLimits}. */
  everyRecords?: number | undefined
  /**
   * Keys that have reached one of these limits are not used any more: the stream is destroyed with
   * `ERR_RENEGOTIATION_KEYS_EXPIRED`, unless a handshake is in progress that the peer has answered. What was received
   * together with the last byte or record may go beyond it: up to 128 KiB over OpenSSL. Each limit must be greater than
   * the value of the schedule.
   */
  hardLimit?: KeyLimits | undefined
  /**
   * How many scheduled renegotiations of the process may be in progress at once, so that many streams that are due at
   * the same time do not block the event loop. This stream waits its turn while there are that many. Those that wait
   * begin one by one: one in 5 ms, two with a `concurrency` of 9 to 16, and so on.
   *
   * The stream that is expected to reach its `hardLimit` first is the next. One without a `hardLimit` counts as if its
   * limit were twice what its keys were used when it was due. A stream that has used up half of what was left to its
   * `hardLimit` does not wait for others to finish.
   *
   * A turn is over when the keys are new, or after about 250 ms: a peer that does not answer by then does not hold up
   * others. Renegotiations that the application or the peer begins take no turn. Infinity: no limit.
   *
   * If streams have different values, the value of the stream whose turn is next decides how many may be in progress
   * when it begins. The streams behind it wait for it.
   * @default 8
   */
  concurrency?: number | undefined
}

/** {@link RekeyOptions} after the check. Infinity stands for an option that was not given. */
export interface RekeySettings {
  /** Whether the limit of the cipher begins key updates. */
  readonly auto: boolean
  readonly everyMs: readonly [min: number, max: number] | undefined
  readonly fullEveryMs: readonly [min: number, max: number] | undefined
  readonly everyBytes: number
  readonly everyRecords: number
  readonly hardLimit: Readonly<Record<keyof KeyLimits, number>>
  readonly concurrency: number
}

const NO_LIMIT = { ms: Infinity, bytes: Infinity, records: Infinity, fullMs: Infinity }
const AUTO: RekeySettings = {
  auto: true,
  everyMs: undefined,
  fullEveryMs: undefined,
  everyBytes: Infinity,
  everyRecords: Infinity,
  hardLimit: NO_LIMIT,
  concurrency: CONCURRENCY,
}

/** Checks the option `rekey`. Throws a TypeError or a RangeError. */
export function parseRekeyOptions(rekey: RekeyOptions | 'auto' | false | undefined): RekeySettings | undefined {
  if (rekey === undefined || rekey === false) return undefined
  if (rekey === 'auto') return AUTO
  if (rekey === null || typeof rekey !== 'object') {
    throw invalidType(`rekey must be 'auto', false or an object, got ${quote(rekey)}`)
  }
  // With a misspelt name, the schedule would never run, and nobody would notice.
  mustHaveOnly('rekey', rekey, ['everyMs', 'fullEveryMs', 'everyBytes', 'everyRecords', 'hardLimit', 'concurrency'])
  const { hardLimit: limit = {} } = rekey
  mustBeObject('rekey.hardLimit', limit)
  mustHaveOnly('rekey.hardLimit', limit, ['ms', 'bytes', 'records', 'fullMs'])
  const everyMs = timeWindow('rekey.everyMs', rekey.everyMs)
  const fullEveryMs = timeWindow('rekey.fullEveryMs', rekey.fullEveryMs)
  const everyBytes = count('rekey.everyBytes', rekey.everyBytes)
  const everyRecords = count('rekey.everyRecords', rekey.everyRecords)
  const hardLimit = {
    ms: timeLimit('rekey.hardLimit.ms', limit.ms),
    bytes: count('rekey.hardLimit.bytes', limit.bytes),
    records: count('rekey.hardLimit.records', limit.records),
    fullMs: timeLimit('rekey.hardLimit.fullMs', limit.fullMs),
  }
  const concurrency = number('rekey.concurrency', rekey.concurrency, 1, Infinity, true) ?? CONCURRENCY
  mustBeBeyond('ms', hardLimit.ms, 'everyMs', everyMs?.[1] ?? 0)
  mustBeBeyond('fullMs', hardLimit.fullMs, 'fullEveryMs', fullEveryMs?.[1] ?? 0)
  mustBeBeyond('bytes', hardLimit.bytes, 'everyBytes', everyBytes)
  mustBeBeyond('records', hardLimit.records, 'everyRecords', everyRecords)
  if (everyMs !== undefined && fullEveryMs !== undefined && everyMs[1] >= fullEveryMs[0]) {
    throw outOfRange(`rekey.everyMs must be less than rekey.fullEveryMs (${fullEveryMs[0]}), got ${everyMs[1]}`)
  }
  const times = [everyMs, fullEveryMs].map((window) => window?.[1] ?? Infinity)
  if ([...times, everyBytes, everyRecords, ...Object.values(hardLimit)].every((n) => n === Infinity)) {
    throw invalidValue(
      `rekey must have everyMs, fullEveryMs, everyBytes, everyRecords or hardLimit { ms, bytes, records, fullMs }, got ${quote(rekey)}`,
    )
  }
  return { auto: false, everyMs, fullEveryMs, everyBytes, everyRecords, hardLimit, concurrency }
}

/** Checks a time, or a range `[min, max]` of times, in milliseconds. */
export function timeWindow(name: string, value: RekeyOptions['everyMs']): readonly [number, number] | undefined {
  if (value === undefined) return undefined
  const [min, max, more] = Array.isArray(value) ? value : [value, value]
  if (min === undefined || max === undefined || more !== undefined) {
    throw invalidValue(`${name} must be a number or [min, max], got ${inspect(value)}`)
  }
  number(name, min, 1, MAX_TIMEOUT)
  number(name, max, 1, MAX_TIMEOUT)
  if (min > max) throw outOfRange(`${name} must be [min, max], got ${inspect(value)}`)
  return [min, max]
}

function timeLimit(name: string, value: number | undefined): number {
  return value === Infinity ? Infinity : (number(name, value, 1, MAX_TIMEOUT) ?? Infinity)
}

function count(name: string, value: unknown): number {
  return number(name, value, 1, Infinity, true) ?? Infinity
}

function mustBeBeyond(limit: keyof KeyLimits, value: number, name: keyof RekeyOptions, scheduled: number): void {
  if (value > scheduled || scheduled === Infinity) return
  throw outOfRange(`rekey.hardLimit.${limit} must be more than rekey.${name} (${scheduled}), got ${value}`)
}

function mustHaveOnly(name: string, value: object, known: readonly string[]): void {
  const unknown = Object.keys(value).find((key) => !known.includes(key))
  if (unknown !== undefined) throw invalidValue(`${name} has ${known.join(', ')}, got ${quote(unknown)}`)
}
