import type { Tracer } from './diagnostics.ts'
import { AbortError } from './errors.ts'
import { parseRenegotiateOptions, type RenegotiateOptions } from './options.ts'
import type { RenegotiationReport } from './report.ts'

/**
 * One call of renegotiate(): its options, its promise, which settles exactly once, and the signal that may give it up.
 */
export class Request {
  /** The checked options. Empty if they are invalid. */
  readonly options: RenegotiateOptions
  /** The TypeError or RangeError for invalid options. */
  readonly invalid: Error | undefined
  /** Whether the schedule (`rekey`) made this request. */
  readonly scheduled: boolean
  /** Whether the schedule wants a full handshake (`rekey.fullEveryMs`). */
  readonly full: boolean
  /** Undefined without subscribers. */
  readonly tracer: Tracer | undefined
  /** The promise that renegotiate() returns. Marked as handled, so that a rejection does not end the process. */
  readonly promise: Promise<RenegotiationReport>
  /** Fulfilled when `promise` is fulfilled or rejected. */
  readonly settled: Promise<void>

  #isSettled = false
  #resolve!: (report: RenegotiationReport) => void
  #reject!: (reason: Error) => void
  #onAbort: (() => void) | undefined

  constructor(options?: RenegotiateOptions, scheduled = false, tracer?: Tracer, full = false) {
    let checked = {}
    try {
      checked = parseRenegotiateOptions(options)
    } catch (error) {
      this.invalid = error as Error
    }
    this.options = checked
    this.scheduled = scheduled
    this.full = full
    this.tracer = tracer
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    const done = () => {}
    this.settled = this.promise.then(done, done)
  }

  /**
   * Whether a handshake that resumes a session cannot serve this request, because certificates are checked only in a
   * full one.
   */
  get needsFull(): boolean {
    return this.full || this.options.requestCert === true || this.options.rejectUnauthorized === true
  }

  get isSettled(): boolean {
    return this.#isSettled
  }

  /** Calls `aborted` if the signal fires before the request is settled. At once if it has already fired. */
  watchSignal(aborted: (error: AbortError) => void): void {
    const { signal } = this.options
    if (signal === undefined) return
    this.#onAbort = () => aborted(new AbortError(signal.reason))
    if (signal.aborted) this.#onAbort()
    else onceAborted(signal, this.#onAbort)
  }

  resolve(report: RenegotiationReport): void {
    this.#settle()
    this.#resolve(report)
    this.tracer?.succeeded(report)
  }

  reject(reason: Error): void {
    this.#settle()
    this.#reject(reason)
    this.tracer?.failed(reason)
  }

  #settle(): void {
    this.#isSettled = true
    const { signal } = this.options
    if (this.#onAbort !== undefined && signal !== undefined) forget(signal, this.#onAbort)
  }
}

interface Waiting {
  readonly callbacks: Set<() => void>
  readonly listener: () => void
}

/**
 * The callbacks for each signal. All requests share one listener for each signal, because Node warns of a leak at the
 * eleventh listener, and one signal may serve a hundred requests.
 */
const waiting = new WeakMap<AbortSignal, Waiting>()

function onceAborted(signal: AbortSignal, callback: () => void): void {
  const known = waiting.get(signal)
  if (known !== undefined) {
    known.callbacks.add(callback)
    return
  }
  const callbacks = new Set([callback])
  const listener = () => {
    waiting.delete(signal)
    for (const aborted of callbacks) aborted()
  }
  waiting.set(signal, { callbacks, listener })
  signal.addEventListener('abort', listener, { once: true })
}

function forget(signal: AbortSignal, callback: () => void): void {
  const known = waiting.get(signal)
  if (!known?.callbacks.delete(callback) || known.callbacks.size > 0) return
  waiting.delete(signal)
  signal.removeEventListener('abort', known.listener)
}
