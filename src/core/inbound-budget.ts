import { invalidType } from './errors.ts'
import { bytes as checkedBytes, quote } from './options.ts'

/** What all streams of this process may read ahead together. */
export interface InboundBudget {
  /**
   * Bytes that all streams together may hold beyond ordinary buffering. Streams
   * that read ahead fall back to backpressure while it is used up. May be set at
   * any time. Infinity: no limit. Default: 256 MiB.
   *
   * @throws TypeError or RangeError when set to anything but an integer from 0,
   *   or Infinity.
   */
  maxBytes: number
  /**
   * Bytes that all streams together hold now, beyond the
   * `readableHighWaterMark` of each. Counted as for the option
   * `maxInboundBytes`. May exceed `maxBytes` by one chunk a stream.
   */
  readonly bytes: number
}

/** Who waits for room in the budget. */
export interface BudgetWaiter {
  /** There may be room now. Called once, in a turn of its own; whoever finds none waits again. */
  wake(): void
}

let maxBytes = 256 * 1024 * 1024
let bytes = 0
/** In the order in which they came. A Set, for a stream may be destroyed while it waits. */
const waiting = new Set<BudgetWaiter>()
let waking = false

/**
 * The memory that this process spends on reading ahead of applications, over
 * all streams. The option `maxInboundBytes` limits one stream; this limits the
 * sum, however many peers leave a handshake unanswered.
 *
 * A stream whose application reads is never affected. One whose application
 * does not read is stopped by backpressure while the budget is used up, as it
 * is outside of a renegotiation; its renegotiation goes on when the application
 * reads, or when another stream releases its share. A share is released when
 * the application has read the data, or the stream is destroyed.
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

/** Whether anybody may hold more. */
export function budgetHasRoom(): boolean {
  return bytes < maxBytes
}

/** One stream holds that many bytes more, or less. */
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

/** In a turn of its own: the stream that releases its share may be in the middle of a read() or a destroy(). */
function wakeSoon(): void {
  if (waking || waiting.size === 0 || !budgetHasRoom()) return
  waking = true
  process.nextTick(wake)
}

/** First come, first served. Whoever has to wait again stands at the end. */
function wake(): void {
  waking = false
  for (const waiter of waiting) {
    if (!budgetHasRoom()) return
    waiting.delete(waiter)
    waiter.wake()
  }
}
