/** How long writes were held, each time that they were. In milliseconds. */
export class HoldTime {
  #since = 0
  #count = 0
  #total = 0
  #min = Infinity
  #max = 0

  begins(): void {
    this.#since = performance.now()
  }

  ends(): void {
    const milliseconds = performance.now() - this.#since
    this.#count++
    this.#total += milliseconds
    this.#min = Math.min(this.#min, milliseconds)
    this.#max = Math.max(this.#max, milliseconds)
  }

  /** So far; zeros where they never were. */
  get summary(): { count: number; minMs: number; meanMs: number; maxMs: number } {
    const count = this.#count
    if (count === 0) return { count, minMs: 0, meanMs: 0, maxMs: 0 }
    return { count, minMs: this.#min, meanMs: this.#total / count, maxMs: this.#max }
  }
}
