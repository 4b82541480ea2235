import net from 'node:net'
import type { Duplex } from 'node:stream'
import { receiveIntoSharedMemory, SHARED_BYTES } from '../transports/node-internals-socket.ts'
import type { OpenSSLEngine } from './engine.ts'
import { borrowMemory, giveBack, SEND_BYTES } from './send-memory.ts'

/** So many milliseconds after the engine was destroyed, the socket is, even if the peer has not received everything. */
export const LINGER_MS = 10_000

/**
 * After so many milliseconds of receiving, and so many bytes, the rest of the event loop has its turn. Otherwise one
 * direction starves the other, and a peer that sends tiny records stops all else. Each of these turns costs three system
 * calls.
 */
const TURN_MS = 1
const TURN_BYTES = 262_144

/**
 * Carries encrypted bytes between an engine and a socket, or any other Duplex, in both directions. The wire owns the
 * socket: it ends the socket after the engine, and destroys it with the engine.
 *
 * It sends only while the socket has room, and receives only while the engine has read what came before. What the engine
 * writes within one turn of the event loop is sent together.
 */
export class Wire {
  readonly #engine: OpenSSLEngine
  readonly #socket: Duplex
  /** A socket of Node.js has no use for memory after the callback of the write. Any other Duplex may pass it on. */
  readonly #givesBack: boolean
  /** Memory of the writes that the socket has not called back for, in their order. */
  readonly #lent: Buffer[] = []
  #isDue = false
  /** What was received since the rest of the event loop had its turn, and how many milliseconds that took. */
  #turnBytes = 0
  #turnMs = 0
  /**
   * When so many bytes wait that the engine does not read, the socket receives no more. If it stopped at the first one,
   * nobody would notice that the connection has ended. A Readable does this by itself: it fills its buffer when it is
   * paused. With shared memory it has none.
   */
  #highWaterMark = 1
  #linger: NodeJS.Timeout | undefined
  /** The socket has received once more since everything was sent. */
  #isLate = false

  constructor(engine: OpenSSLEngine, socket: Duplex) {
    this.#engine = engine
    this.#socket = socket
    this.#givesBack = socket instanceof net.Socket && Object.getPrototypeOf(socket) === net.Socket.prototype
    // The engine decides when this side ends. What it still has to send would be lost otherwise.
    socket.allowHalfOpen = true
    engine.onWire = () => this.#changed()
    if (!receiveIntoSharedMemory(socket, this.#receiveShared)) socket.on('data', (chunk) => this.#receive(chunk))
    else if (socket.readableHighWaterMark > 0) this.#highWaterMark = socket.readableHighWaterMark
    socket.on('end', () => engine.endInput())
    socket.on('drain', () => this.#output())
    socket.on('finish', () => setImmediate(this.#moveLate))
    socket.on('error', (error: Error) => engine.break(error))
    socket.on('close', () => this.#closed())
    // These events do not come again.
    if (socket.readableEnded) engine.endInput()
    if (socket.closed) this.#closed()
    this.#schedule()
  }

  /** What the engine writes within one turn is sent together. Its end is sent at once, as Node.js does. */
  #changed(): void {
    if (this.#engine.outputState === 'open') this.#schedule()
    else this.#move()
  }

  #schedule(): void {
    if (this.#isDue) return
    this.#isDue = true
    setImmediate(this.#moveNow)
  }

  readonly #moveNow = (): void => {
    this.#isDue = false
    this.#move()
  }

  readonly #moveLate = (): void => {
    this.#isLate = true
    this.#move()
  }

  readonly #receiveShared = (chunk: Buffer): void => {
    // libuv has received all that there is, and lets the event loop go on by itself, so no rest is due. A rest would also
    // change what a reset of the connection looks like: an end, as with Node's own TLS, or after a rest an error.
    if (chunk.length < SHARED_BYTES) this.#beginTurn()
    try {
      this.#receive(chunk)
    } finally {
      // Also if a listener of the application has thrown.
      if (this.#engine.inputBytes > 0) this.#engine.keepInput()
    }
  }

  #receive(chunk: Buffer): void {
    const beganAt = performance.now()
    try {
      this.#engine.receive(chunk)
    } finally {
      this.#turnMs += performance.now() - beganAt
      this.#turnBytes += chunk.length
      // Also if a listener of the application has thrown.
      if (this.#engine.inputBytes >= this.#highWaterMark) this.#socket.pause()
      else if (this.#turnMs >= TURN_MS && this.#turnBytes >= TURN_BYTES) this.#rest()
    }
    // Otherwise a connection that receives without a pause sends only once in each turn of the event loop.
    if (this.#isBulk) this.#output()
  }

  /** Lets the rest of the event loop have its turn: libuv reads 4 MiB at once from a peer that sends without a pause. */
  #rest(): void {
    this.#beginTurn()
    this.#socket.pause()
    setImmediate(this.#moveNow)
  }

  #beginTurn(): void {
    this.#turnBytes = 0
    this.#turnMs = 0
  }

  /** Whether so much waits to be sent that it fills a write by itself. */
  get #isBulk(): boolean {
    return this.#engine.outputState === 'open' && this.#engine.outputBytes >= SEND_BYTES / 2
  }

  #move(): void {
    if (this.#socket.isPaused() && this.#engine.inputBytes === 0) this.#socket.resume()
    this.#output()
  }

  /** Does not resume the socket: a rest would be over at once. */
  #output(): void {
    const hasSent = this.#send()
    this.#finish()
    if (hasSent) this.#engine.onReady?.()
  }

  /** Sends what the socket has room for. Returns whether that was anything. */
  #send(): boolean {
    const socket = this.#socket
    let hasSent = false
    while (socket.writable && !socket.writableNeedDrain) {
      const { outputBytes } = this.#engine
      if (outputBytes === 0) break
      if (this.#givesBack) this.#sendBorrowed()
      else this.#sendOwn(Math.min(outputBytes, SEND_BYTES))
      hasSent = true
    }
    return hasSent
  }

  #sendBorrowed(): void {
    const memory = borrowMemory()
    this.#lent.push(memory)
    this.#socket.write(memory.subarray(0, this.#engine.take(memory)), this.#written)
  }

  /** Not after an error: then it is not sure that nobody uses the memory any more. */
  readonly #written = (error?: Error | null): void => {
    const memory = this.#lent.shift() as Buffer
    if (!error) giveBack(memory)
  }

  #sendOwn(bytes: number): void {
    const memory = Buffer.allocUnsafeSlow(bytes)
    this.#engine.take(memory)
    this.#socket.write(memory)
  }

  /** Closes the socket, as far as the engine is closed and everything is sent. */
  #finish(): void {
    const { outputBytes, outputState } = this.#engine
    const socket = this.#socket
    if (outputState === 'open' || socket.destroyed) return
    if (outputBytes === 0 && socket.writable) socket.end()
    const isSent = outputState === 'destroyed' && socket.writableFinished
    // If unread data is left, TCP resets the connection, and the peer loses what it has not read.
    if (outputState === 'failed' || (isSent && (this.#engine.peerEnded || this.#isLate))) socket.destroy()
    else if (outputState === 'destroyed') this.#linger ??= setTimeout(() => socket.destroy(), LINGER_MS).unref()
  }

  #closed(): void {
    clearTimeout(this.#linger)
    this.#engine.endInput()
    this.#engine.closeOutput()
  }
}
