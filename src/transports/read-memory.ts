/** The most data in a record (RFC 5246, 6.2.1), and so the most that one SSL_read returns. */
const RECORD_BYTES = 16 * 1024
/** Small records fill memory of this size, one after the other. A full record gets memory of its own. */
const POOL_BYTES = 64 * 1024

const NOTHING = Buffer.alloc(0)

/** Memory into which records are read, and which the application then owns. */
export class ReadMemory {
  #free = NOTHING
  /** The last read filled a record. Then the next one probably does too. */
  #readsFullRecords = false
  /** The memory is for several records. */
  #isForRun = false

  /** Room for a record, or for `bytes` if that is more. */
  room(bytes = 0): Buffer {
    this.#isForRun = bytes > RECORD_BYTES
    if (this.#free.length < Math.max(bytes, RECORD_BYTES)) {
      const size = bytes > RECORD_BYTES ? bytes : this.#readsFullRecords ? RECORD_BYTES : POOL_BYTES
      // Not from the pool of Node, which a small part of it would hold as a whole.
      this.#free = Buffer.allocUnsafeSlow(size)
    }
    return this.#free
  }

  /** Returns the memory with the bytes that were just read into {@link room}. */
  take(bytes: number): Buffer {
    const free = this.#free
    // With padding, 128 KiB of records may have only a few bytes of data, which would hold all that memory (RFC 8446, 5.4).
    if (this.#isForRun && bytes * 4 < free.length) return Buffer.from(free.subarray(0, bytes))
    this.#readsFullRecords = bytes >= RECORD_BYTES
    const isFull = bytes === free.length
    this.#free = isFull ? NOTHING : free.subarray(bytes)
    return isFull ? free : free.subarray(0, bytes)
  }
}
