import type { Transport } from './transport/transport.ts'

/** What the inbox needs of the stream above. */
export interface InboxFace {
  /** Hands a chunk to the application's side; false: it has enough for now. */
  push(chunk: Buffer): boolean
  /** Bytes handed over and not yet read by the application. */
  readonly readableLength: number
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
  readonly #face: InboxFace
  readonly #transport: Pick<Transport, 'pause' | 'resume'>
  readonly #maxInboundBytes: number
  #wanted = false
  #readingAhead = false
  #flowing = false
  #bytesRead = 0

  constructor(face: InboxFace, transport: Pick<Transport, 'pause' | 'resume'>, maxInboundBytes: number) {
    this.#face = face
    this.#transport = transport
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
    return this.#face.readableLength <= this.#maxInboundBytes / 2
  }

  /** The application's side has room again. */
  want(): void {
    this.#wanted = true
    this.#adjust()
  }

  /** A chunk from the transport. */
  receive(chunk: Buffer): void {
    this.#bytesRead += chunk.length
    this.#wanted = this.#face.push(chunk)
    this.#adjust()
  }

  /** Reads on regardless of the application, or stops doing so. */
  readAhead(on: boolean): void {
    this.#readingAhead = on
    this.#adjust()
  }

  #adjust(): void {
    const flowing = this.#wanted || (this.#readingAhead && this.#face.readableLength < this.#maxInboundBytes)
    if (flowing === this.#flowing) return
    this.#flowing = flowing
    if (flowing) this.#transport.resume()
    else this.#transport.pause()
  }
}
