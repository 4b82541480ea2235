import type { PeerLimit } from './options.ts'

/** Not more than that many renegotiations of a schedule can be saved up. */
const MOST_SAVED = 2

/**
 * Counts the handshakes that the peer begins, against `peerLimit`.
 *
 * Two ends may have the same rekey schedule, and either may come first. So a
 * handshake of the peer that our own schedule would soon have begun itself is
 * let through uncounted; but never more of them than the schedule would have
 * made in the same time. Each pair of keys adds the part of a scheduled
 * renegotiation that it has come to (`share`, 0 to 1) to what the peer may begin.
 */
export class PeerHandshakes {
  /** When the peer began those that count, in milliseconds; at most one more than the limit allows. */
  readonly #starts: number[] = []
  /** Renegotiations that the schedule would have made, and the peer did not begin. */
  #saved = 0

  /** Keys are replaced that had come to `share` of a scheduled renegotiation. */
  keysChanged(share: number): void {
    this.#saved = Math.min(this.#saved + share, MOST_SAVED)
  }

  /**
   * The peer begins a handshake. Returns whether that is one too many.
   * `share` is what the present keys have come to; 0 where no schedule excuses a handshake.
   */
  exceeds(limit: PeerLimit, share: number): boolean {
    // Half a renegotiation early is early enough for two clocks that differ, and for bytes on their way.
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
