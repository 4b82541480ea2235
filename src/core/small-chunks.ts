const SLAB_BYTES = 64 * 1024

/**
 * Merges small chunks into slabs of memory: a chunk of one byte takes about 400 bytes as a Buffer of its own, and one
 * byte here.
 *
 * Every slab is filled to its last byte before the next is used, so that a peer cannot make a few bytes keep a whole
 * slab alive.
 */
export class SmallChunks {
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
  /** Where the bytes begin that were not taken yet. */
  #start = 0
  #end = 0

  /** How many bytes are waiting to be taken. */
  get bytes(): number {
    return this.#end - this.#start
  }

  /**
   * Adds a chunk, which must be smaller than a slab. If it fills the slab, returns what was waiting there. That may end
   * in the middle of the chunk.
   */
  add(chunk: Uint8Array): Buffer | undefined {
    const room = SLAB_BYTES - this.#end
    if (chunk.length < room) {
      this.#slab.set(chunk, this.#end)
      this.#end += chunk.length
      return undefined
    }
    this.#slab.set(chunk.subarray(0, room), this.#end)
    const full = this.#slab.subarray(this.#start)
    this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
    this.#slab.set(chunk.subarray(room))
    this.#start = 0
    this.#end = chunk.length - room
    return full
  }

  /** Takes the waiting bytes, as a view of the slab. There must be at least one. */
  take(): Buffer {
    const taken = this.#slab.subarray(this.#start, this.#end)
    this.#start = this.#end
    return taken
  }
}
