const SLAB_BYTES = 64 * 1024

/**
 * Small chunks, copied one behind the other: a chunk of one byte takes some 400
 * bytes as a Buffer of its own, and one byte here.
 *
 * Every slab of memory is filled to its last byte before the next is begun, so
 * that a peer can't make a few bytes keep a whole slab alive.
 */
export class SmallChunks {
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
  /** Where in the slab the bytes begin that nobody has taken. */
  #start = 0
  #end = 0

  /** How many bytes are gathered. */
  get bytes(): number {
    return this.#end - this.#start
  }

  /**
   * Gathers a chunk, which is smaller than a slab. Returns all that is in the
   * slab when that is full, which may end within the chunk.
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

  /** Takes what is gathered, one byte or more: a view of the slab. */
  take(): Buffer {
    const taken = this.#slab.subarray(this.#start, this.#end)
    this.#start = this.#end
    return taken
  }
}
