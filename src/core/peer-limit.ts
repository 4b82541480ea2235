import type { PeerLimit } from './options.ts'

/** How many renegotiations of a schedule can be saved up at most. */
const MOST_SAVED = 2

/**
 * Counts the handshakes that the peer begins, and compares the count with `peerLimit`.
 *
 * Both ends may have the same `rekey` schedule, and either may be first. So a handshake of the peer that the schedule
 * of this end would soon have begun itself is not counted. But no more are excused than the schedule would have made:
 * when keys are replaced, the part of a scheduled renegotiation that was due (`share`, 0 to 1) is saved up, and each
 * excused handshake uses up one.
 */
export class PeerHandshakes {
  /** When the counted handshakes began, in milliseconds. At most one more than the limit allows. */
  readonly #starts: number[] = []
  /** How many renegotiations the schedule would have made that the peer has not used up. */
  #saved = 0

  /** The keys were replaced when `share` of a scheduled renegotiation was due. */
  keysChanged(share: number): void {
    this.#saved = Math.min(this.#saved + share, MOST_SAVED)
  }

  /**
   * Counts a handshake that the peer begins. Returns whether it exceeds `limit`. `share` is that of the current keys,
   * or 0 if no schedule excuses a handshake.
   */
  exceeds(limit: PeerLimit, share: number): boolean {
    // The peer may be half an interval early: its clock and its count of bytes differ a little from those here.
    if (share > 0 && this.#saved + share >= 0.5) {
      this.#saved--
      return false
    }
    const starts = this.#starts
    const now = performance.now()
    while (starts.length > 0 && now - (starts[0] as number) >= limit.windowMs) starts.shift()
    starts.push(now)
    return starts.length > limit.max
  }
}
