/** Measures how often and how long writes were held, in milliseconds. */
export class HoldTime {
  /** Whether writes are held. */
  isHolding = false
  #since = 0
  #count = 0
  #total = 0
  #min = Infinity
  #max = 0

  begins(): void {
    this.isHolding = true
    this.#since = performance.now()
  }

  ends(): void {
    this.isHolding = false
    const milliseconds = performance.now() - this.#since
    this.#count++
    this.#total += milliseconds
    this.#min = Math.min(this.#min, milliseconds)
    this.#max = Math.max(this.#max, milliseconds)
  }

  /** The result so far. All zeros if writes were never held. */
  get summary(): { count: number; minMs: number; meanMs: number; maxMs: number } {
    const count = this.#count
    if (count === 0) return { count, minMs: 0, meanMs: 0, maxMs: 0 }
    return { count, minMs: this.#min, meanMs: this.#total / count, maxMs: this.#max }
  }
}
