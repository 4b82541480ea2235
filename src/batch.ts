/**
 * What the application handed over in one go, and how far it has got: a cursor
 * over the application's own memory. Nothing is copied.
 */
export class Batch {
  readonly #buffers: readonly Uint8Array[]
  #index = 0
  #offset = 0

  constructor(buffers: readonly Uint8Array[]) {
    this.#buffers = buffers
    this.advance(0)
  }

  /** All of it has been passed. */
  get isDone(): boolean {
    return this.#index === this.#buffers.length
  }

  /** The next bytes, at most `max` of them, as the buffers themselves or views of their memory. Empty at the end. */
  peek(max: number): Uint8Array[] {
    const views: Uint8Array[] = []
    let room = max
    let offset = this.#offset
    for (let index = this.#index; index < this.#buffers.length && room > 0; index++, offset = 0) {
      const buffer = this.#buffers[index] as Uint8Array
      const length = Math.min(buffer.length - offset, room)
      if (length === 0) continue
      views.push(length === buffer.length ? buffer : buffer.subarray(offset, offset + length))
      room -= length
    }
    return views
  }

  /** Moves on by `bytes`, and past empty buffers. */
  advance(bytes: number): void {
    this.#offset += bytes
    for (;;) {
      const buffer = this.#buffers[this.#index]
      if (buffer === undefined || this.#offset < buffer.length) return
      this.#offset -= buffer.length
      this.#index++
    }
  }
}
