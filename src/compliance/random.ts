/** A generator of random numbers and bytes. The same seed gives the same sequence. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed | 0
  }

  /** Returns an integer from 0 up to, but not including, `limit`. */
  below(limit: number): number {
    return Math.floor((this.next() / 2 ** 32) * limit)
  }

  /** Returns a new buffer with random bytes. */
  bytes(length: number): Buffer {
    const bytes = Buffer.alloc(Math.ceil(length / 4) * 4)
    for (let i = 0; i < length; i += 4) bytes.writeUInt32LE(this.next(), i)
    return bytes.subarray(0, length)
  }

  /** Returns an integer from 1 to `max`; each order of magnitude is equally likely. */
  size(max: number): number {
    return Math.max(1, Math.floor(max ** (this.next() / 2 ** 32)))
  }

  /** Returns an unsigned 32-bit integer. The algorithm is mulberry32. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let x = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return (x ^ (x >>> 14)) >>> 0
  }
}
