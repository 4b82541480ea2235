import { type BudgetWaiter, budgetHasRoom, chargeBudget, leaveBudget, waitForBudget } from './inbound-budget.ts'
import type { Settings } from './options.ts'
import { SmallChunks } from './small-chunks.ts'
import type { Transport } from './transport.ts'

/** What the inbox needs of the stream above. */
export interface InboxFace {
  /** Hands a chunk, or the end, to the application's side; false: it has enough for now. */
  push(chunk: Buffer | null): boolean
  /** Bytes handed over and not yet read by the application. */
  readonly readableLength: number
  /** What it may hold anyway; a read() of more raises it. */
  readonly readableHighWaterMark: number
  /** Not in the types of either Duplex, yet public: the chunks that these bytes are in, and at times some more. */
  readonly readableBuffer: { readonly length: number }
  /** Makes a Readable that has ended, and holds nothing, say so. */
  read(size: 0): unknown
  listenerCount(event: 'readable'): number
  once(event: 'end', listener: () => void): unknown
  destroy(error: Error): unknown
}

/** While reading ahead of the application, chunks of fewer bytes are gathered. */
const SMALL_BYTES = 4096

/** What a chunk in a Readable takes beside its bytes: a Buffer, an ArrayBuffer, and its memory. Measured: 390 to 440. */
const CHUNK_OVERHEAD_BYTES = 512

/** So many chunks an application may leave unread while the stream is `open`, however small they are. */
const MAX_CHUNKS_LEFT = 1024

/** So many chunks count for their bytes only, 64 KiB at most: a small `maxInboundBytes` means payload. */
const FREE_CHUNKS = 128

/**
 * The way in. While the stream is `open`, ordinary backpressure: an application
 * that doesn't read stops the transport. While a renegotiation is on its way,
 * reading goes on whether the application reads or not, because the handshake's
 * messages come behind the data already in flight; up to `maxInboundBytes`, and
 * as far as the budget of the process goes (inbound-budget.ts).
 *
 * What is read ahead goes where all data goes, into the Readable's own buffer:
 * no second queue, and an application's `pause()` is never touched.
 *
 * Small chunks are gathered first, because a chunk of one byte costs 400. This
 * delays nothing:
 * - Chunks are gathered only while the application does not ask: the last push()
 *   returned false, or _read() was never called. A Readable calls _read() before
 *   it waits for data, and what is gathered is pushed in that very call.
 * - Chunks are gathered only while the transport flows. Before it is paused, and
 *   before the end, what is gathered is pushed.
 */
export class Inbox implements BudgetWaiter {
  readonly #face: InboxFace
  readonly #transport: Pick<Transport, 'pause' | 'resume'>
  readonly #settings: Pick<Settings, 'maxInboundBytes'>
  #wanted = false
  /** The application has left so many chunks that it gets no more before it reads. */
  #left = false
  #readingAhead = false
  #flowing = false
  #ended = false
  #bytesRead = 0
  /** Made for the first small chunk that is read ahead. */
  #small: SmallChunks | undefined
  /** Our share of the budget. While the application asks, none. */
  #charged = 0

  constructor(
    face: InboxFace,
    transport: Pick<Transport, 'pause' | 'resume'>,
    settings: Pick<Settings, 'maxInboundBytes'>,
  ) {
    this.#face = face
    this.#transport = transport
    this.#settings = settings
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
    return this.#bytesWaiting + this.#overhead <= this.#settings.maxInboundBytes / 2
  }

  /** As much has been read ahead as may be, and the transport waits for the application. */
  get isFull(): boolean {
    return this.#readingAhead && !this.#flowing
  }

  /** The application's side has room again. */
  want(): void {
    this.#wanted = true
    if (this.#small !== undefined) {
      this.#handOver()
      this.#dropEmptySlab()
    }
    this.#adjust()
  }

  /** The application has read, or tried to, or wants to be told of what comes. */
  wasRead(): void {
    if (!this.#left) return
    this.#left = false
    if (this.#gathered > 0) this.#handOver()
    this.#adjust()
  }

  /** A chunk from the transport. */
  receive(chunk: Buffer): void {
    this.#bytesRead += chunk.length
    if (!this.#readingAhead) this.#push(chunk)
    else if (chunk.length >= SMALL_BYTES || (this.#wanted && this.#face.readableLength === 0)) this.#handOver(chunk)
    else this.#gather(chunk)
    this.#adjust()
  }

  /** Reads on regardless of the application, or stops doing so. */
  readAhead(on: boolean): void {
    this.#readingAhead = on
    this.#adjust()
    this.#dropEmptySlab()
  }

  /** The peer has ended. */
  end(): void {
    this.#ended = true
    leaveBudget(this)
    try {
      this.#handOver()
    } finally {
      // A Readable that has ended asks no more, whatever is read of it.
      if (this.#charged > 0) this.#face.once('end', () => this.#charge(0))
      this.#face.push(null)
      // As net.Socket does: it is told to an application that doesn't read, where nothing is left for it to read.
      this.#face.read(0)
    }
  }

  /** The stream is destroyed: nobody will read what is here. */
  close(): void {
    this.#readingAhead = false
    this.#small = undefined
    this.#charge(0)
  }

  /** Others have released a part of the budget. */
  wake(): void {
    try {
      this.#adjust()
    } catch (error) {
      // Of this transport's, which is no business of whoever waits behind it.
      this.#face.destroy(error as Error)
    }
  }

  /**
   * Gathers a chunk. A Readable below its high water mark asks for more, even if the application leaves what is there:
   * it gets the copy at once. A view of a slab takes little more than half of what a Buffer with its own memory does.
   */
  #gather(chunk: Buffer): void {
    this.#small ??= new SmallChunks()
    const full = this.#small.add(chunk)
    if (full !== undefined) this.#push(full)
    if (this.#wanted && !this.#left) this.#handOver()
  }

  /**
   * A Readable asks for more until it holds its high water mark in bytes, which
   * a peer could fill with chunks of one byte each. So we stop at a number of
   * chunks, unless the application listens to `readable`: then it may wait for
   * more before it reads.
   */
  #push(chunk: Buffer): void {
    this.#left = false
    this.#wanted = this.#face.push(chunk)
    if (chunk.length >= SMALL_BYTES || this.#face.readableBuffer.length < MAX_CHUNKS_LEFT) return
    this.#left = this.#face.listenerCount('readable') === 0
  }

  /** Hands over what is gathered, and the chunk behind it. */
  #handOver(chunk?: Buffer): void {
    try {
      if (this.#gathered > 0) this.#push((this.#small as SmallChunks).take())
    } finally {
      // A listener of the application, which may throw, must not cost it the chunk.
      if (chunk !== undefined) this.#push(chunk)
    }
  }

  /** The slab serves the next handshake, too, as long as the Readable may hold a part of it: a byte must not keep one each. */
  #dropEmptySlab(): void {
    if (!this.#readingAhead && this.#gathered === 0 && this.#face.readableLength === 0) this.#small = undefined
  }

  #adjust(): void {
    // What is gathered is not to wait longer than the transport flows. Then the application may ask for more.
    if (this.#gathered > 0 && !this.#mayFlow()) this.#handOver()
    const flowing = this.#mayFlow()
    if (flowing === this.#flowing) return
    this.#flowing = flowing
    if (flowing) this.#transport.resume()
    else this.#transport.pause()
  }

  #mayFlow(): boolean {
    if (this.#wanted && !this.#left) {
      // It has room: after the read() that asks, no more than the high water mark is left.
      this.#charge(0)
      return true
    }
    if (!this.#readingAhead) return false
    const waiting = this.#bytesWaiting
    const held = waiting + this.#overhead
    const { maxInboundBytes } = this.#settings
    const { readableHighWaterMark } = this.#face
    this.#charge(Math.max(0, held - readableHighWaterMark))
    if (held >= maxInboundBytes) return false
    if (this.#charged === 0 || budgetHasRoom()) return true
    if (!this.#ended) waitForBudget(this)
    return false
  }

  get #gathered(): number {
    return this.#small === undefined ? 0 : this.#small.bytes
  }

  get #bytesWaiting(): number {
    return this.#face.readableLength + this.#gathered
  }

  get #overhead(): number {
    return Math.max(0, this.#face.readableBuffer.length - FREE_CHUNKS) * CHUNK_OVERHEAD_BYTES
  }

  /** Sets our share. Whoever holds none has nothing to wait for. */
  #charge(bytes: number): void {
    if (bytes === this.#charged) return
    const change = bytes - this.#charged
    this.#charged = bytes
    if (bytes === 0) leaveBudget(this)
    chargeBudget(change)
  }
}
