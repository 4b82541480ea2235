import { RenegotiationError } from './errors.ts'
import { type KeyUsage, RECORD_BYTES } from './key-usage.ts'
import type { RekeySettings } from './rekey-options.ts'
import { rekeyTurns, type Turn } from './rekey-turns.ts'

/** What the schedule needs from the stream. */
export interface RekeyHost {
  readonly usage: KeyUsage
  /** Why the connection cannot renegotiate. Undefined if it can. */
  unsupported(): string | undefined
  /** How many records the cipher allows with one key, if the keys of the connection can be updated. Otherwise Infinity. */
  recordLimit(): number
  /** Whether the connection has key updates in place of renegotiations (TLS 1.3). */
  hasKeyUpdates(): boolean
  /** Whether no renegotiation can begin any more, because one side has ended. */
  over(): boolean
  /** Whether a renegotiation is requested or in progress, or the application has much to read from the last one. */
  busy(): boolean
  /** Whether the peer has answered in a handshake: no more data is sent or received with these keys then. */
  answered(): boolean
  /** Whether the first handshake of the connection was abbreviated. */
  resumed(): boolean
  /** `full`: it must not be an abbreviated handshake. */
  renegotiate(full: boolean): Promise<unknown>
  /** Reports, asynchronously, why there will be no renegotiation. The stream may still be being made. */
  cannot(reason: string): void
  /** Reports a renegotiation that failed while the stream goes on. */
  failed(error: Error): void
  destroy(error: RenegotiationError): void
}

/** Milliseconds between two key updates of this end. OpenSSL is about to close connections whose peer makes more. */
const KEY_UPDATE_INTERVAL = 100
/** Milliseconds until it is tried again, if the stream was busy or after a failure. Doubled with each failure. */
const FIRST_RETRY = 1000
/** The most milliseconds until it is tried again. */
const LAST_RETRY = 60_000
/** Why there is no schedule of full handshakes. */
const NO_FULL_HANDSHAKE = 'rekey.fullEveryMs is for TLS 1.2: in TLS 1.3, no handshake follows the first one'

/**
 * Begins renegotiations by a schedule: after a time, a number of bytes or a number of records, whichever comes first.
 * All counts start again with every handshake of either end, so of two ends with the same schedule, only the first to
 * be due begins each one. A renegotiation that is due takes a turn among those of all streams. See RekeyTurns.
 *
 * Also limits how long keys may be used. When they reach the hard limit, the stream is destroyed, unless a handshake is
 * in progress that the peer has answered. A handshake that the peer does not answer is no excuse.
 *
 * Full handshakes have a time of their own (`fullEveryMs`): otherwise, a peer that begins abbreviated handshakes again
 * and again would keep this end from ever checking its certificate.
 */
export class RekeySchedule {
  readonly #host: RekeyHost
  readonly #settings: RekeySettings
  /** Whether there are keys in use. */
  #running = false
  /** Whether this connection cannot renegotiate. */
  #off = false
  /** Whether a renegotiation was requested, and the keys are not new yet. */
  #asked = false
  #failures = 0
  /** Whether the time for a full handshake has come. Only a full handshake changes that. */
  #fullDue = false
  /** Whether a full handshake was requested, and the request has not settled. Abbreviated ones may come before it. */
  #fullAsked = false
  /** When the last full handshake was complete. */
  #fullSince = 0
  /** How many records of one direction begin a key update (`rekey: 'auto'`). */
  #autoRecords = Infinity
  /** The turn that this stream has taken or waits for. */
  #turn: Turn | undefined
  /** The part of the hard limit at which this stream waits no longer for its turn. */
  #patience = 1
  #timer: NodeJS.Timeout | undefined
  #hurryTimer: NodeJS.Timeout | undefined
  #retryTimer: NodeJS.Timeout | undefined
  #limitTimer: NodeJS.Timeout | undefined
  #fullTimer: NodeJS.Timeout | undefined
  #fullLimitTimer: NodeJS.Timeout | undefined

  constructor(host: RekeyHost, settings: RekeySettings) {
    this.#host = host
    this.#settings = settings
  }

  /** Called when the first handshake is complete. */
  start(): void {
    this.#running = true
    this.#isPossible()
    // The other half is for data that is sent and received before the keys are new.
    if (this.#settings.auto) this.#autoRecords = this.#host.recordLimit() / 2
    this.restart(true)
    if (this.#settings.fullEveryMs === undefined) return
    if (this.#host.hasKeyUpdates()) this.#host.cannot(NO_FULL_HANDSHAKE)
    // Nobody has checked a certificate in an abbreviated handshake.
    else if (this.#host.resumed()) this.#startFullTimer([0, 0])
  }

  /** Called when the keys are new. `full`: after a full handshake. */
  restart(full: boolean): void {
    const { everyMs, hardLimit } = this.#settings
    this.#clearTimers()
    this.#endTurn(this.#turn)
    this.#asked = false
    this.#failures = 0
    if (!this.#running) return
    if (everyMs !== undefined && !this.#off) this.#timer = setTimeout(this.#begin, anyOf(everyMs)).unref()
    if (hardLimit.ms !== Infinity) this.#limitTimer = setTimeout(this.#limitTimedOut, hardLimit.ms).unref()
    if (full) this.#restartFull()
    else this.#retryFull()
    // Also after an abbreviated handshake: it may have been in progress when the limit was reached.
    const untilLimit = hardLimit.fullMs - this.#fullAgeMs
    clearTimeout(this.#fullLimitTimer)
    if (untilLimit !== Infinity) this.#fullLimitTimer = setTimeout(this.#fullLimitTimedOut, untilLimit).unref()
  }

  #restartFull(): void {
    this.#fullDue = false
    this.#fullSince = performance.now()
    this.#startFullTimer(this.#settings.fullEveryMs)
  }

  #startFullTimer(delay: readonly [min: number, max: number] | undefined): void {
    clearTimeout(this.#fullTimer)
    this.#fullTimer = undefined
    if (this.#settings.fullEveryMs === undefined || delay === undefined || this.#off || this.#host.hasKeyUpdates())
      return
    this.#fullTimer = setTimeout(this.#fullIsDue, anyOf(delay)).unref()
  }

  /** Tries again later if a full handshake is due and not requested. Abbreviated ones do not put that off. */
  #retryFull(): void {
    if (!this.#fullDue || this.#fullAsked) return
    this.#fullTimer ??= setTimeout(this.#fullIsDue, FIRST_RETRY).unref()
  }

  readonly #fullIsDue = (): void => {
    this.#fullTimer = undefined
    this.#fullDue = true
    this.#begin()
  }

  get #fullAgeMs(): number {
    return performance.now() - this.#fullSince
  }

  /** Called after every chunk that was sent or received. */
  used(): void {
    const { everyBytes, everyRecords } = this.#settings
    const { bytes, records, mostRecords } = this.#host.usage
    const isDue = bytes >= everyBytes || records >= everyRecords || mostRecords >= this.#autoRecords
    // With a turn or a timer to try again, a renegotiation has been due for some time.
    if (isDue || this.#retryTimer !== undefined || this.#turn !== undefined) this.#begin()
    this.room(0)
  }

  /**
   * Returns how many bytes may be sent with these keys, or 0 if there are fewer than `needed`. In that case it has
   * destroyed the stream, unless the peer has answered in a handshake.
   */
  room(needed: number): number {
    if (!this.#running) return Infinity
    const { usage } = this.#host
    const { ms, bytes, records, fullMs } = this.#settings.hardLimit
    const left = Math.min(bytes - usage.bytes, (records - usage.records) * RECORD_BYTES)
    // The age is checked here as well, because the timer is late if something blocks the event loop.
    const isUnchecked = fullMs !== Infinity && this.#fullAgeMs >= fullMs
    if (left > 0 && left >= needed && (ms === Infinity || usage.ageMs < ms) && !isUnchecked) return left
    this.#limitReached(isUnchecked)
    return 0
  }

  /**
   * How much of a scheduled renegotiation is due with these keys: from 0 to 1, on average. Used to excuse a peer that
   * has the same schedule and begins a little earlier. See PeerHandshakes.
   */
  get share(): number {
    const { everyMs, fullEveryMs, everyBytes, everyRecords } = this.#settings
    const { ageMs, bytes, records } = this.#host.usage
    const [min, max] = everyMs ?? fullEveryMs ?? [Infinity, Infinity]
    const meanMs = (min + max) / 2
    return Math.min(1, Math.max(ageMs / meanMs, bytes / everyBytes, records / everyRecords))
  }

  /** Called when the keys are not used any more. */
  stop(): void {
    this.#running = false
    this.#clearTimers()
    clearTimeout(this.#fullTimer)
    clearTimeout(this.#fullLimitTimer)
    this.#endTurn(this.#turn)
  }

  /** Begins a renegotiation that is due, if it can begin now. */
  readonly #begin = (): void => {
    const host = this.#host
    if (!this.#running || this.#off || this.#asked || this.#fullAsked || host.over()) return
    if (this.#turn?.state === 'waiting') {
      if (this.#closeness >= this.#patience) rekeyTurns.hurry(this.#turn)
      return
    }
    const tooSoon = host.hasKeyUpdates() ? KEY_UPDATE_INTERVAL - host.usage.sendingMs : 0
    // A full handshake is requested all the same. A peer that begins one abbreviated handshake after the other would
    // otherwise put it off.
    if ((host.busy() && !this.#fullDue) || tooSoon > 0) {
      // The next chunk checks again as well. If another renegotiation is in progress, it starts all counts again.
      this.#retryTimer ??= setTimeout(this.#retry, host.busy() ? FIRST_RETRY : tooSoon).unref()
      return
    }
    clearTimeout(this.#retryTimer)
    this.#retryTimer = undefined
    if (!this.#isPossible()) return
    const turn = this.#turn ?? this.#takeTurn()
    if (turn.state === 'waiting') return
    this.#asked = true
    const full = this.#fullDue
    if (full) this.#fullAsked = true
    // When that settles, the stream may have taken another turn: the keys were new before that.
    const settled = () => {
      this.#endTurn(turn)
      if (full) this.#fullAsked = false
    }
    host.renegotiate(full).then(settled, (error: Error) => {
      settled()
      this.#failed(error)
    })
  }

  #takeTurn(): Turn {
    const { concurrency, hardLimit } = this.#settings
    const { ageMs } = this.#host.usage
    const closeness = this.#closeness
    // If the keys are used as much as before. Without a hard limit, as if that were twice of what was used.
    const leftMs = ageMs * (1 / (closeness || 0.5) - 1)
    const turn = rekeyTurns.take({ concurrency, deadline: performance.now() + leftMs, begin: this.#itsTurn })
    this.#turn = turn
    if (turn.state === 'waiting') {
      this.#patience = (1 + closeness) / 2
      const untilLimit = Math.min(hardLimit.ms - ageMs, hardLimit.fullMs - this.#fullAgeMs)
      if (untilLimit !== Infinity) {
        this.#hurryTimer = setTimeout(() => rekeyTurns.hurry(turn), untilLimit / 2).unref()
      }
    }
    return turn
  }

  readonly #itsTurn = (): void => {
    clearTimeout(this.#hurryTimer)
    this.#begin()
    // It cannot begin now. When it is tried again, it takes another turn.
    if (!this.#asked) this.#endTurn(this.#turn)
  }

  #endTurn(turn: Turn | undefined): void {
    if (turn === undefined) return
    rekeyTurns.giveBack(turn)
    if (this.#turn === turn) this.#turn = undefined
  }

  /** How much of the hard limit is used up: from 0 to 1. 0 if there is none. */
  get #closeness(): number {
    const { ageMs, bytes, records } = this.#host.usage
    const { hardLimit } = this.#settings
    const ofFull = this.#fullAgeMs / hardLimit.fullMs
    return Math.max(ageMs / hardLimit.ms, bytes / hardLimit.bytes, records / hardLimit.records, ofFull)
  }

  readonly #retry = (): void => {
    this.#retryTimer = undefined
    this.#begin()
  }

  #failed(error: Error): void {
    const host = this.#host
    if (!this.#running || host.over()) return
    // If the keys are new all the same, there is nothing to try again.
    if (this.#asked) {
      const milliseconds = Math.min(FIRST_RETRY * 2 ** this.#failures++, LAST_RETRY)
      this.#retryTimer = setTimeout(this.#retryFailed, milliseconds).unref()
    } else {
      this.#retryFull()
    }
    host.failed(error)
  }

  readonly #retryFailed = (): void => {
    this.#asked = false
    this.#retry()
  }

  #isPossible(): boolean {
    const { everyMs, fullEveryMs, everyBytes, everyRecords } = this.#settings
    const isTimed = everyMs !== undefined || fullEveryMs !== undefined
    const wanted = isTimed || everyBytes !== Infinity || everyRecords !== Infinity
    const reason = this.#host.unsupported()
    if (reason === undefined || !wanted) return true
    this.#off = true
    this.#host.cannot(reason)
    return false
  }

  /** `isFull`: it is the limit for the time without a full handshake. */
  #limitReached(isFull: boolean): void {
    const host = this.#host
    if (host.answered()) {
      // The handshake may still fail, so check again later. The next chunk checks again as well.
      this.#limitTimer ??= setTimeout(this.#limitTimedOut, FIRST_RETRY).unref()
      return
    }
    const { bytes, records, ageMs } = host.usage
    const used = `${bytes} bytes, ${records} records, ${Math.round(ageMs)} ms`
    const message = isFull
      ? `There was no full handshake within rekey.hardLimit.fullMs (${Math.round(this.#fullAgeMs)} ms)`
      : `The keys have reached rekey.hardLimit (${used}) without a renegotiation`
    host.destroy(new RenegotiationError('ERR_RENEGOTIATION_KEYS_EXPIRED', message))
  }

  readonly #limitTimedOut = (): void => {
    this.#limitTimer = undefined
    this.#limitReached(false)
  }

  readonly #fullLimitTimedOut = (): void => this.#limitReached(true)

  #clearTimers(): void {
    clearTimeout(this.#timer)
    clearTimeout(this.#retryTimer)
    clearTimeout(this.#limitTimer)
    clearTimeout(this.#hurryTimer)
    this.#retryTimer = this.#limitTimer = undefined
  }
}

/** A random value of a range. */
function anyOf([min, max]: readonly [min: number, max: number]): number {
  return min + Math.random() * (max - min)
}
