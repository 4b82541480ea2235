/* The inbound direction of a stream. */
import { type BudgetWaiter, budgetHasRoom, chargeBudget, leaveBudget, waitForBudget } from './inbound-budget.ts'
import type { Settings } from './options.ts'
import { SmallChunks } from './small-chunks.ts'
import type { Transport } from './transport.ts'

/** What the inbox needs from the stream that the application sees. */
export interface InboxFace {
  /** Passes a chunk, or null for the end, to the Readable. Returns false if that has enough for now. */
  push(chunk: Buffer | null): boolean
  /** Bytes that were pushed and that the application has not read. */
  readonly readableLength: number
  /** How much the Readable may hold anyway. A read() of more raises it. */
  readonly readableHighWaterMark: number
  /** The chunks that hold these bytes, and sometimes more. Public, but not in the types of a Duplex. */
  readonly readableBuffer: { readonly length: number }
  /** Makes a Readable that has ended and is empty emit `end`. */
  read(size: 0): unknown
  listenerCount(event: 'readable'): number
  once(event: 'end', listener: () => void): unknown
  destroy(error: Error): unknown
}

/** Chunks with fewer bytes are gathered while data is read ahead. */
const SMALL_BYTES = 4096

/** What a chunk takes besides its bytes, for a Buffer, an ArrayBuffer and its memory. Measured: 390 to 440. */
const CHUNK_OVERHEAD_BYTES = 512

/** How many chunks the application may leave unread while the stream is `open`, however small they are. */
const MAX_CHUNKS_LEFT = 1024

/** How many chunks have no overhead counted, which is 64 KiB at most: a small `maxInboundBytes` then means payload. */
const FREE_CHUNKS = 128

/**
 * Passes received data to the application, and decides when the transport may read.
 *
 * While the stream is `open`, this is ordinary backpressure: an application that does not read stops the transport.
 * During a renegotiation, reading goes on whether the application reads or not, because the handshake's messages come
 * after the data that is already on its way. The limits are `maxInboundBytes` and the budget of the process
 * (inbound-budget.ts). Data that is read ahead goes into the Readable's own buffer, like all data. There is no second
 * queue, and `pause()` of the application keeps its effect.
 *
 * Small chunks are gathered first, because a chunk of one byte costs 400. This delays no data:
 * - Chunks are gathered only while the application does not ask for data: the last push() returned false, or _read()
 *   was never called. A Readable calls _read() before it waits for data, and that call pushes what was gathered.
 * - Chunks are gathered only while the transport flows. Before it is paused, and before the end, they are pushed.
 */
export class Inbox implements BudgetWaiter {
  readonly #face: InboxFace
  readonly #transport: Pick<Transport, 'pause' | 'resume'>
  readonly #settings: Pick<Settings, 'maxInboundBytes'>
  #wanted = false
  /** Whether the application has left so many chunks unread that it gets no more before it reads. */
  #left = false
  #readingAhead = false
  #flowing = false
  #ended = false
  #bytesRead = 0
  /** Made when the first small chunk is read ahead. */
  #small: SmallChunks | undefined
  /** The share of this stream in the budget. 0 while the application asks for data. */
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

  /** All bytes that were ever received. */
  get bytesRead(): number {
    return this.#bytesRead
  }

  /**
   * Whether there is room for what a renegotiation may have to read ahead. With less room, the handshake's messages
   * might never be reached behind data that the application does not read.
   */
  get hasRoom(): boolean {
    return this.#bytesWaiting + this.#overhead <= this.#settings.maxInboundBytes / 2
  }

  /** Whether the limit for reading ahead is reached, so that the transport waits for the application. */
  get isFull(): boolean {
    return this.#readingAhead && !this.#flowing
  }

  /** Called when the Readable asks for data (_read()). */
  want(): void {
    this.#wanted = true
    if (this.#small !== undefined) {
      this.#handOver()
      this.#dropEmptySlab()
    }
    this.#adjust()
  }

  /** Called when the application has read or tried to, or has added a `readable` listener. */
  wasRead(): void {
    if (!this.#left) return
    this.#left = false
    if (this.#gathered > 0) this.#handOver()
    this.#adjust()
  }

  /** Takes a chunk from the transport. */
  receive(chunk: Buffer): void {
    this.#bytesRead += chunk.length
    if (!this.#readingAhead) this.#push(chunk)
    else if (chunk.length >= SMALL_BYTES || (this.#wanted && this.#face.readableLength === 0)) this.#handOver(chunk)
    else this.#gather(chunk)
    this.#adjust()
  }

  /** Starts or stops reading ahead of the application. */
  readAhead(on: boolean): void {
    this.#readingAhead = on && !this.#ended
    this.#adjust()
    this.#dropEmptySlab()
  }

  /** Called when the peer has closed its side. */
  end(): void {
    this.#ended = true
    leaveBudget(this)
    // Nothing comes any more, so the share of this stream must not grow from here on.
    this.#readingAhead = false
    try {
      this.#handOver()
    } finally {
      // After push(null), a Readable does not call _read() any more, even when the application reads.
      if (this.#charged > 0) this.#face.once('end', () => this.#charge(0))
      this.#face.push(null)
      // Like net.Socket: emits `end` if there is nothing left to read, even if the application does not read.
      this.#face.read(0)
    }
  }

  /** Called when the stream is destroyed, so that the remaining data will not be read. */
  close(): void {
    this.#readingAhead = false
    this.#small = undefined
    this.#charge(0)
  }

  /** Called when other streams have released a part of the budget. */
  wake(): void {
    try {
      this.#adjust()
    } catch (error) {
      // An error of this transport must not reach the other streams that wait.
      this.#face.destroy(error as Error)
    }
  }

  /**
   * Gathers a chunk. A Readable below its high water mark asks for more even if the application does not read; it gets
   * the copy at once. A view of a slab takes little more than half the memory of a Buffer with memory of its own.
   */
  #gather(chunk: Buffer): void {
    this.#small ??= new SmallChunks()
    const full = this.#small.add(chunk)
    if (full !== undefined) this.#push(full)
    if (this.#wanted && !this.#left) this.#handOver()
  }

  /**
   * Pushes a chunk. A Readable asks for more until it holds its high water mark in bytes, which a peer could fill with
   * chunks of one byte. So the number of chunks is limited too, unless the application has a `readable` listener: it
   * may wait for more data before it reads.
   */
  #push(chunk: Buffer): void {
    this.#left = false
    this.#wanted = this.#face.push(chunk)
    if (chunk.length >= SMALL_BYTES || this.#face.readableBuffer.length < MAX_CHUNKS_LEFT) return
    this.#left = this.#face.listenerCount('readable') === 0
  }

  /** Pushes what was gathered, and then `chunk`. */
  #handOver(chunk?: Buffer): void {
    try {
      if (this.#gathered > 0) this.#push((this.#small as SmallChunks).take())
    } finally {
      // The chunk must not be lost if a listener of the application throws.
      if (chunk !== undefined) this.#push(chunk)
    }
  }

  /**
   * Drops the slab if the Readable holds no part of it. Otherwise the next handshake uses it too, so that a few unread
   * bytes do not keep several slabs alive.
   */
  #dropEmptySlab(): void {
    if (!this.#readingAhead && this.#gathered === 0 && this.#face.readableLength === 0) this.#small = undefined
  }

  #adjust(): void {
    // Gathered data must not wait while the transport is paused. After this, the application may ask for more.
    if (this.#gathered > 0 && !this.#mayFlow()) this.#handOver()
    const flowing = this.#mayFlow()
    if (flowing === this.#flowing) return
    this.#flowing = flowing
    if (flowing) this.#transport.resume()
    else this.#transport.pause()
  }

  #mayFlow(): boolean {
    if (this.#wanted && !this.#left) {
      // A Readable that asks for data holds no more than its high water mark, so it needs no share.
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
    waitForBudget(this)
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

  /** Sets the share of this stream. Without a share, the stream does not wait for the budget. */
  #charge(bytes: number): void {
    if (bytes === this.#charged) return
    const change = bytes - this.#charged
    this.#charged = bytes
    if (bytes === 0) leaveBudget(this)
    chargeBudget(change)
  }
}
