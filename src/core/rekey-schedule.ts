import { RenegotiationError } from './errors.ts'
import { type KeyUsage, RECORD_BYTES } from './key-usage.ts'
import type { RekeySettings } from './options.ts'

/** What the schedule needs of the stream. */
export interface RekeyHost {
  readonly usage: KeyUsage
  /** Why the connection can't renegotiate; undefined where it can. */
  unsupported(): string | undefined
  /** No renegotiation can begin any more: one of the two sides has ended, or both. */
  over(): boolean
  /** One is asked for or on its way, or the application has yet to read what was read ahead in the last one. */
  busy(): boolean
  /** A handshake is on its way, and the peer has taken part in it: no more data can come or go with these keys. */
  answered(): boolean
  renegotiate(): Promise<unknown>
  /** Tells that there will be none, and why; later, for it may be said while the stream is being made. */
  cannot(reason: string): void
  /** Tells of one that has failed, while the stream goes on. */
  failed(error: Error): void
  destroy(error: RenegotiationError): void
}

/** Milliseconds until it is tried again: the first time, and where the stream was busy; doubled with every failure; at most. */
const FIRST_RETRY = 1000
const LAST_RETRY = 60_000

/**
 * When a stream renegotiates by itself: after a time, so many bytes or so many
 * records, whichever comes first, counted from the last handshake, whoever
 * began it. So two ends with the same schedule take turns as chance has it.
 *
 * And how long keys may be used at all. As soon as they reach the hard limit,
 * the stream is destroyed, unless a handshake is on its way that the peer has
 * answered. One that it leaves unanswered makes no keys new.
 */
export class RekeySchedule {
  readonly #host: RekeyHost
  readonly #settings: RekeySettings
  /** There are keys, and they are being used. */
  #running = false
  /** Nothing will be begun: it can't be done here. */
  #off = false
  /** A renegotiation was asked for, and the keys are not new yet. */
  #asked = false
  #failures = 0
  #timer: NodeJS.Timeout | undefined
  #retryTimer: NodeJS.Timeout | undefined
  #limitTimer: NodeJS.Timeout | undefined

  constructor(host: RekeyHost, settings: RekeySettings) {
    this.#host = host
    this.#settings = settings
  }

  /** Renegotiation is possible from now on. */
  start(): void {
    this.#running = true
    this.#isPossible()
    this.restart()
  }

  /** The keys are new. */
  restart(): void {
    const { everyMs, hardLimit } = this.#settings
    this.#clearTimers()
    this.#asked = false
    this.#failures = 0
    if (!this.#running) return
    if (everyMs !== undefined && !this.#off) {
      const [min, max] = everyMs
      this.#timer = setTimeout(this.#begin, min + Math.random() * (max - min)).unref()
    }
    if (hardLimit.ms !== Infinity) this.#limitTimer = setTimeout(this.#limitTimedOut, hardLimit.ms).unref()
  }

  /** The keys were used. Called for every chunk. */
  used(): void {
    const { everyBytes, everyRecords } = this.#settings
    const { bytes, records } = this.#host.usage
    if (bytes >= everyBytes || records >= everyRecords) this.#begin()
    this.room(0)
  }

  /**
   * How many bytes may be sent at once with these keys, where it has to be
   * `needed` at least. 0: fewer than that. The stream was destroyed for it then,
   * unless the peer has answered in a handshake that is on its way.
   */
  room(needed: number): number {
    if (!this.#running) return Infinity
    const { usage } = this.#host
    const { ms, bytes, records } = this.#settings.hardLimit
    const left = Math.min(bytes - usage.bytes, (records - usage.records) * RECORD_BYTES)
    // The timer comes late where something blocks the event loop.
    if (left > 0 && left >= needed && (ms === Infinity || usage.ageMs < ms)) return left
    this.#limitReached()
    return 0
  }

  /**
   * What part of a renegotiation the schedule has come to with these keys: 0 to 1, on average.
   * A peer with the same schedule may begin one a little before this end would.
   */
  get share(): number {
    const { everyMs, everyBytes, everyRecords } = this.#settings
    const { ageMs, bytes, records } = this.#host.usage
    const meanMs = everyMs === undefined ? Infinity : (everyMs[0] + everyMs[1]) / 2
    return Math.min(1, Math.max(ageMs / meanMs, bytes / everyBytes, records / everyRecords))
  }

  /** The keys are not used any more. */
  stop(): void {
    this.#running = false
    this.#clearTimers()
  }

  /** It is due, by time, by use, or since it could not begin before. */
  readonly #begin = (): void => {
    const host = this.#host
    if (!this.#running || this.#off || this.#asked || host.over()) return
    if (host.busy()) {
      // With the next chunk, too, it is looked at again. Where another one is on its way, all counts anew after it.
      this.#retryTimer ??= setTimeout(this.#retry, FIRST_RETRY).unref()
      return
    }
    clearTimeout(this.#retryTimer)
    this.#retryTimer = undefined
    if (!this.#isPossible()) return
    this.#asked = true
    host.renegotiate().catch(this.#failed)
  }

  readonly #retry = (): void => {
    this.#retryTimer = undefined
    this.#begin()
  }

  readonly #failed = (error: Error): void => {
    const host = this.#host
    if (!this.#running || host.over()) return
    // Where the keys are new all the same, there is nothing to be tried again.
    if (this.#asked) {
      const milliseconds = Math.min(FIRST_RETRY * 2 ** this.#failures++, LAST_RETRY)
      this.#retryTimer = setTimeout(this.#retryFailed, milliseconds).unref()
    }
    host.failed(error)
  }

  readonly #retryFailed = (): void => {
    this.#asked = false
    this.#retry()
  }

  #isPossible(): boolean {
    const { everyMs, everyBytes, everyRecords } = this.#settings
    const wanted = everyMs !== undefined || everyBytes !== Infinity || everyRecords !== Infinity
    const reason = this.#host.unsupported()
    if (reason === undefined || !wanted) return true
    this.#off = true
    this.#host.cannot(reason)
    return false
  }

  #limitReached(): void {
    const host = this.#host
    if (host.answered()) {
      // It may come to nothing. With the next chunk, too, it is looked at again.
      this.#limitTimer ??= setTimeout(this.#limitTimedOut, FIRST_RETRY).unref()
      return
    }
    const { bytes, records, ageMs } = host.usage
    const used = `${bytes} bytes, ${records} records, ${Math.round(ageMs)} ms`
    const message = `The keys have reached rekey.hardLimit (${used}) without a renegotiation`
    host.destroy(new RenegotiationError('ERR_RENEGOTIATION_KEYS_EXPIRED', message))
  }

  readonly #limitTimedOut = (): void => {
    this.#limitTimer = undefined
    this.#limitReached()
  }

  #clearTimers(): void {
    clearTimeout(this.#timer)
    clearTimeout(this.#retryTimer)
    clearTimeout(this.#limitTimer)
    this.#retryTimer = this.#limitTimer = undefined
  }
}
