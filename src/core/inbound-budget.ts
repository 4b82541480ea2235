/* The limit of what all streams of the process read ahead of their applications. */
import { invalidType } from './errors.ts'
import { bytes as checkedBytes, quote } from './values.ts'

/** The limit of what all streams of the process read ahead together. See {@link inboundBudget}. */
export interface InboundBudget {
  /**
   * How many bytes all streams together may hold beyond ordinary buffering. While the budget is used up, streams that
   * read ahead return to backpressure. Can be set at any time, to an integer from 0, or to Infinity for no limit.
   *
   * @default 268435456 (256 MiB)
   * @throws {TypeError} if set to a value that is not a number.
   * @throws {RangeError} if set to a number out of range.
   */
  maxBytes: number
  /**
   * How many bytes all streams together hold now, beyond the `readableHighWaterMark` of each. They are counted as for
   * the option `maxInboundBytes`. May exceed `maxBytes` by one chunk for each stream.
   */
  readonly bytes: number
}

/** A stream that waits for room in the budget. */
export interface BudgetWaiter {
  /** Called once, asynchronously, when there may be room. A waiter that finds none waits again. */
  wake(): void
}

let maxBytes = 256 * 1024 * 1024
let bytes = 0
/** In order of arrival. A Set, because a stream may be destroyed while it waits. */
const waiting = new Set<BudgetWaiter>()
let waking = false

/**
 * Limits the memory that all streams of this process use for reading ahead of their applications. The option
 * `maxInboundBytes` limits one stream; this limits the sum, however many peers leave a handshake unanswered.
 *
 * A stream whose application reads is never affected. While the budget is used up, an application that does not read
 * stops its connection by backpressure, as it does outside of a renegotiation. The renegotiation continues when the
 * application reads, or when another stream releases its share. A stream releases its share when the application has
 * read the data, or when the stream is destroyed.
 *
 * @example
 * ```js
 * import { inboundBudget } from 'renegotiation-duplex'
 *
 * inboundBudget.maxBytes = 64 * 2 ** 20
 * console.log(inboundBudget.bytes)
 * ```
 */
export const inboundBudget: InboundBudget = Object.freeze({
  get maxBytes() {
    return maxBytes
  },
  set maxBytes(value: number) {
    const checked = checkedBytes({ maxBytes: value }, 'maxBytes', Infinity)
    if (checked === undefined) throw invalidType(`maxBytes must be a number, got ${quote(value)}`)
    maxBytes = checked
    wakeSoon()
  },
  get bytes() {
    return bytes
  },
})

export function budgetHasRoom(): boolean {
  return bytes < maxBytes
}

/** Counts bytes that a stream holds in addition, or, if `change` is negative, has released. */
export function chargeBudget(change: number): void {
  bytes += change
  if (change < 0) wakeSoon()
}

export function waitForBudget(waiter: BudgetWaiter): void {
  waiting.add(waiter)
}

export function leaveBudget(waiter: BudgetWaiter): void {
  waiting.delete(waiter)
}

/** Asynchronous, because the stream that releases its share may be in the middle of a read() or a destroy(). */
function wakeSoon(): void {
  if (waking || waiting.size === 0 || !budgetHasRoom()) return
  waking = true
  process.nextTick(wake)
}

/** First come, first served. A waiter that has to wait again goes to the end of the queue. */
function wake(): void {
  waking = false
  for (const waiter of waiting) {
    if (!budgetHasRoom()) return
    waiting.delete(waiter)
    waiter.wake()
  }
}
