/**
 * The buffers of one write of the application, with a position up to which they were sent. Nothing is copied: all views
 * are of the application's memory.
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

  /** The bytes after the position. */
  get bytesLeft(): number {
    return this.#bytesLeft
  }

  /** Returns the next bytes, at most `max`, as the buffers themselves or as views of them. Empty at the end. */
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
