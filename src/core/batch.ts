/**
 * What the application handed over in one go, and how far it has got: a cursor
 * over the application's own memory. Nothing is copied.
 */
export class Batch {
  readonly #buffers: readonly Uint8Array[]
  #bytesLeft = 0
  #index = 0
  #offset = 0

  constructor(buffers: readonly Uint8Array[]) {
    let someEmpty = false
    for (const { length } of buffers) {
      this.#bytesLeft += length
      someEmpty ||= length === 0
    }
    this.#buffers = someEmpty ? buffers.filter(({ length }) => length > 0) : buffers
  }

  /** Not yet passed. */
  get bytesLeft(): number {
    return this.#bytesLeft
  }

  /** The next bytes, at most `max` of them, as the buffers themselves or views of their memory. Empty at the end. */
  peek(max: number): readonly Uint8Array[] {
    const buffers = this.#buffers
    if (this.#bytesLeft <= max && this.#index === 0 && this.#offset === 0) return buffers
    let end = this.#index
    let bytes = -this.#offset
    while (end < buffers.length && bytes < max) bytes += (buffers[end++] as Uint8Array).length
    const views = buffers.slice(this.#index, end)
    if (bytes > max) views.push((views.pop() as Uint8Array).subarray(0, max - bytes))
    if (this.#offset > 0) views[0] = (views[0] as Uint8Array).subarray(this.#offset)
    return views
  }

  /** Moves on by `bytes`. */
  advance(bytes: number): void {
    this.#bytesLeft -= bytes
    if (this.#bytesLeft === 0) {
      this.#index = this.#buffers.length
      this.#offset = 0
      return
    }
    this.#offset += bytes
    for (;;) {
      const { length } = this.#buffers[this.#index] as Uint8Array
      if (this.#offset < length) return
      this.#offset -= length
      this.#index++
    }
  }
}
