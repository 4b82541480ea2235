/** Numbers and bytes that look random and are the same for the same seed. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed | 0
  }

  /** A whole number from 0 to `limit`, `limit` excluded. */
  below(limit: number): number {
    return Math.floor((this.next() / 2 ** 32) * limit)
  }

  /** A buffer of its own. */
  bytes(length: number): Buffer {
    const bytes = Buffer.alloc(Math.ceil(length / 4) * 4)
    for (let i = 0; i < length; i += 4) bytes.writeUInt32LE(this.next(), i)
    return bytes.subarray(0, length)
  }

  /** From 1 to `max`, each order of magnitude as often as any other. */
  size(max: number): number {
    return Math.max(1, Math.floor(max ** (this.next() / 2 ** 32)))
  }

  /** A whole number of 32 bits: mulberry32. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let x = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return (x ^ (x >>> 14)) >>> 0
  }
}
