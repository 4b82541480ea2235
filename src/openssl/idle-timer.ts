import { mustBeDuration } from './argument.ts'

/** The limit of setTimeout(). Beyond it, Node fires after one millisecond. */
const MAX_MS = 2 ** 31 - 1

/** Fires when nothing was sent or received for some time, as the timeout of a net.Socket: once, until there is activity. */
export class IdleTimer {
  /** Undefined if it was never set. 0: off. */
  milliseconds: number | undefined
  readonly #expired: () => void
  #timer: NodeJS.Timeout | undefined

  constructor(expired: () => void) {
    this.#expired = expired
  }

  /** @throws TypeError or RangeError for what is no time. */
  set(milliseconds: number): void {
    mustBeDuration('msecs', milliseconds)
    this.milliseconds = milliseconds
    this.stop()
    if (milliseconds > 0) this.#timer = setTimeout(this.#expired, Math.min(milliseconds, MAX_MS)).unref()
  }

  /** Starts the time again. */
  active(): void {
    this.#timer?.refresh()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
