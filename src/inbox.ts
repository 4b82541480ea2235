/** What the inbox needs of the stream above and the transport below. */
export interface InboxEnds {
  /** Hands a chunk to the application's side; false: it has enough for now. */
  deliver(chunk: Buffer): boolean
  /** Bytes delivered and not yet read by the application. */
  buffered(): number
  pause(): void
  resume(): void
}

/**
 * The way in. While the stream is `open`, ordinary backpressure: an application
 * that doesn't read stops the transport. While a renegotiation is on its way,
 * reading goes on whether the application reads or not, because the handshake's
 * messages come behind the data already in flight; up to `maxInboundBytes`.
 *
 * What is read ahead goes where all data goes, into the Readable's own buffer:
 * no second queue, and an application's `pause()` is never touched.
 */
export class Inbox {
  readonly #ends: InboxEnds
  readonly #maxInboundBytes: number
  #wanted = false
  #readingAhead = false
  #flowing = false
  #bytesRead = 0

  constructor(ends: InboxEnds, maxInboundBytes: number) {
    this.#ends = ends
    this.#maxInboundBytes = maxInboundBytes
  }

  /** All bytes that ever came in. */
  get bytesRead(): number {
    return this.#bytesRead
  }

  /**
   * There is room for what a renegotiation may have to read ahead. With less,
   * the handshake's messages might never be reached, behind data that nobody
   * takes.
   */
  get hasRoom(): boolean {
    return this.#ends.buffered() <= this.#maxInboundBytes / 2
  }

  /** The application's side has room again. */
  want(): void {
    this.#wanted = true
    this.#adjust()
  }

  /** A chunk from the transport. */
  receive(chunk: Buffer): void {
    this.#bytesRead += chunk.length
    this.#wanted = this.#ends.deliver(chunk)
    this.#adjust()
  }

  /** Reads on regardless of the application, or stops doing so. */
  readAhead(on: boolean): void {
    this.#readingAhead = on
    this.#adjust()
  }

  #adjust(): void {
    const flowing = this.#wanted || (this.#readingAhead && this.#ends.buffered() < this.#maxInboundBytes)
    if (flowing === this.#flowing) return
    this.#flowing = flowing
    if (flowing) this.#ends.resume()
    else this.#ends.pause()
  }
}
