/* The outbound direction of a stream. */
import { Batch } from './batch.ts'
import { SLICE_BYTES } from './slice.ts'
import type { WriteCallback } from './transport.ts'

/** Called once for every batch: without an error when all of it is on its way, with an error if it never will be. */
export type BatchCallback = (error?: Error | null) => void

/**
 * After so many writes, the rest of the event loop has its turn. libuv makes as many reads of a socket in one turn. With
 * fewer writes, two ends that both send without a pause share the line unevenly: the one that happens to receive more
 * spends its turns on that, and sends up to ten times less than the other.
 */
const WRITES_A_TURN = 32

/** The empty write of a barrier. */
const EMPTY = new Uint8Array(0)
/** The empty write of a batch without a byte. It is called back when the connection is made, like any other write. */
const NOTHING = new Uint8Array(0)

/** What the outbox needs from the transport. */
export interface OutboxTransport {
  write(buffer: Uint8Array, done: WriteCallback): void
  /** Whether {@link writev} can be used. */
  readonly gathers: boolean
  writev(buffers: readonly Uint8Array[], done: WriteCallback): void
}

/** What the outbox needs from the stream. */
export interface OutboxHost {
  /** How many bytes may be sent with these keys. 0 if there are fewer than `needed`: nothing may be sent then. */
  room(needed: number): number
  /** Called when the transport has taken so many bytes. */
  sent(bytes: number): void
  /** Calls the callback of a batch that was taken completely. */
  finished(done: BatchCallback): void
  /** Destroys the stream, and with it the outbox, because a write has failed. */
  failed(error: Error): void
  /** Called after a batch was offered, when no code of the application is on the stack. It must {@link Outbox.flush}. */
  written(): void
  /** Rethrows what the application has thrown inside a write callback of the transport. */
  applicationThrew(error: unknown): never
}

/**
 * Passes the application's data to the transport: one batch at a time, with one write in flight at a time. Between the
 * two it can hold the data.
 *
 * A batch is offered in slices of the application's own memory. What the transport did not take is offered again. While
 * writes are held, the batch and its callback stay parked here. Backpressure needs nothing more: until the callback,
 * the Writable above offers no other batch, and keeps what the application writes in its own queue.
 */
export class Outbox {
  readonly #transport: OutboxTransport
  readonly #host: OutboxHost

  #batch: Batch | null = null
  #done: BatchCallback | null = null
  /** Bytes of the batch that the transport has taken. */
  #taken = 0
  /** Whether the transport has called back for at least a part of the batch. */
  #begun = false

  /** The write in flight: one buffer, several, or a barrier. */
  #offer: Uint8Array | readonly Uint8Array[] | null = null
  #bytesInFlight = 0
  /** The last offer, if nothing of it was taken: the identical object must be offered next. */
  #again: Uint8Array | readonly Uint8Array[] | null = null
  #againBytes = 0

  /** How many immediates must run before the next write, so that the rest of the event loop has its turn. */
  #rests = 0
  #writesSinceRest = 0
  #held = false
  #barrier: (() => void) | null = null
  /** The barrier whose empty write is in flight. Another may have replaced it since. */
  #barrierOffered: (() => void) | null = null
  #refusal: Error | null = null
  #finished = false
  #closed = false
  #pumping = false
  /** Whether the application is on the stack in a call like write(), inside which no callback may be called. */
  #calledByWriter = false

  constructor(transport: OutboxTransport, host: OutboxHost) {
    this.#transport = transport
    this.#host = host
  }

  /** Bytes that were given to the transport, which has not called back for them. */
  get bytesInFlight(): number {
    return this.#bytesInFlight
  }

  /** Bytes of the current batch that were given to the transport, whether it has called back or not. */
  get bytesGiven(): number {
    return this.#batch === null ? 0 : this.#taken + this.#bytesInFlight
  }

  /**
   * Takes a batch. The Writable above offers no second one before `done`. The batch is written only by {@link flush},
   * because a transport may report data before its write() returns, and the application may write or throw then. In the
   * middle of _writev, a Writable tolerates neither: it resets its queue afterwards, with everything that was added, or
   * stays marked as processing it forever.
   *
   * The stream flushes at the end of its own write(), end() and uncork(). The pipe() of Node 26.12 calls none of these,
   * but _write() itself (writeKnownBuffer), so the batch is also flushed when the call is over.
   */
  offer(buffers: readonly Uint8Array[], done: BatchCallback): void {
    this.#batch = new Batch(buffers)
    this.#taken = 0
    this.#begun = false
    this.#done = done
    if (this.#offer === null && !this.#pumping) process.nextTick(written, this.#host)
  }

  /** Must be called after every call that may have led to {@link offer}. It returns before `done` is called. */
  flush(): void {
    if (this.#batch === null || this.#offer !== null || this.#pumping) return
    this.#calledByWriter = true
    try {
      this.#pump()
    } finally {
      this.#calledByWriter = false
    }
  }

  /** Stops writing until {@link release}. A barrier that was not reached is forgotten. */
  hold(): void {
    this.#held = true
    this.#barrier = null
  }

  /**
   * Calls `reached` when the transport has finished the write in flight and then an empty one, also while writes are
   * held. The empty write is made in another turn of the event loop, because it makes OpenSSL read, and the caller may
   * be on the stack of OpenSSL. (SSL_read inside the callback for a completed handshake fails with "internal error" if
   * the next handshake has arrived.)
   */
  barrier(reached: () => void): void {
    this.#barrier = reached
    this.#rest()
  }

  /** Releases the parked batch. Asynchronous, so that the batch's callback does not run inside the caller. */
  release(): void {
    this.#held = false
    this.#barrier = null
    process.nextTick(this.#pumpLater)
  }

  /** Makes the parked batch, or else the next one, fail with `error`, because nothing can be written any more. */
  refuse(error: Error): void {
    this.hold()
    this.#refusal = error
    if (this.#batch !== null) this.#host.failed(error)
  }

  /** Called when this side has ended. Nothing is written any more; a barrier is reached without an empty write. */
  finish(): void {
    this.#finished = true
  }

  /**
   * Stops everything; later callbacks of the transport are ignored. Returns what was not sent of the batch, its
   * callback, which the caller must call, and whether the whole batch was taken, so that the callback gets no error.
   */
  close(): { unsent: readonly Uint8Array[]; done: BatchCallback | null; taken: boolean } {
    this.hold()
    this.#closed = true
    const taken = this.#isTaken
    this.#batch?.advance(this.#bytesInFlight)
    const unsent = this.#batch?.peek(Infinity) ?? []
    const done = this.#done
    this.#batch = this.#done = null
    return { unsent, done, taken }
  }

  /** A loop, not recursion, because a transport may call back inside write(), thousands of times in a row. */
  #pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    let thrown = true
    try {
      while (this.#offer === null && this.#giveNext());
      thrown = false
    } finally {
      this.#pumping = false
      // A callback or listener of the application has thrown. Go on with the rest in another turn.
      if (thrown) this.#rest()
    }
  }

  #giveNext(): boolean {
    if (this.#refusal !== null && this.#batch !== null) {
      this.#host.failed(this.#refusal)
      return false
    }
    if (this.#rests > 0) return false
    if (this.#isTaken) {
      if (!this.#calledByWriter) this.#finishBatch()
      this.#rest()
      return false
    }
    if (this.#barrier !== null) {
      this.#barrierOffered = this.#barrier
      if (this.#finished) this.#barrierReached()
      else this.#give(EMPTY, 0)
      return true
    }
    if (this.#held || this.#batch === null) return false
    const room = this.#host.room(this.#againBytes)
    if (room === 0) return false
    if (this.#again !== null) {
      this.#give(this.#again, this.#againBytes)
    } else if (this.#batch.bytesLeft === 0) {
      this.#give(NOTHING, 0)
    } else {
      const bytes = Math.min(SLICE_BYTES, room, this.#batch.bytesLeft)
      const views = this.#batch.peek(bytes)
      const first = views[0] as Uint8Array
      if (views.length > 1 && this.#transport.gathers) this.#give(views, bytes)
      else this.#give(first, first.length)
    }
    return true
  }

  /** Whether the transport has taken all of the batch. */
  get #isTaken(): boolean {
    return this.#begun && this.#batch?.bytesLeft === 0
  }

  #give(offer: Uint8Array | readonly Uint8Array[], bytes: number): void {
    this.#offer = offer
    this.#bytesInFlight = bytes
    if (offer instanceof Uint8Array) this.#transport.write(offer, this.#whenTaken)
    else this.#transport.writev(offer, this.#whenTaken)
  }

  /** One function for all writes, because a closure for each is noticeably slower with small chunks. */
  readonly #whenTaken: WriteCallback = (error, bytes) => {
    try {
      this.#calledBack(error, bytes)
    } catch (thrown) {
      this.#host.applicationThrew(thrown)
    }
  }

  #calledBack(error: Error | null | undefined, bytes: number | undefined): void {
    const offer = this.#offer
    const offered = this.#bytesInFlight
    const bytesTaken = offered === 0 ? 0 : bytes
    this.#offer = null
    if (this.#closed || error || !isCount(bytesTaken, offered)) {
      // The bytes count as in flight while the stream is destroyed: they may or may not have arrived.
      if (!this.#closed) this.#host.failed(error || wrongCount(bytesTaken, offered))
      this.#bytesInFlight = 0
      return
    }
    this.#bytesInFlight = 0
    if (offer === EMPTY) {
      try {
        this.#barrierReached()
      } finally {
        this.#pump()
      }
    } else {
      const isRefused = bytesTaken === 0 && offered > 0
      this.#again = isRefused ? offer : null
      this.#againBytes = isRefused ? offered : 0
      if (bytesTaken < offered) this.#rest(true)
      else if (++this.#writesSinceRest === WRITES_A_TURN) this.#rest()
      this.#begun = true
      this.#taken += bytesTaken
      this.#batch?.advance(bytesTaken)
      // Keeps what the callback writes waiting until sent() has counted these bytes.
      this.#offer = offer
      try {
        if (this.#batch?.bytesLeft === 0 && !this.#pumping) this.#finishBatch()
      } finally {
        this.#offer = null
        // After the callback, which must not get the error of keys that have reached their limit.
        this.#host.sent(bytesTaken)
        this.#pump()
      }
    }
  }

  /**
   * Lets the rest of the event loop have its turn, or reading would starve. While the kernel takes everything at once,
   * Node calls back for a TLS write before it polls again (TLSWrap::EncOut uses SetImmediate, and native immediates run
   * until none is left). So one write would follow the other, without a read or a timer in between.
   *
   * An immediate that is already due is enough, unless it must be a `whole` turn. clearImmediate() is never used: if
   * the application throws before Node reaches the cleared immediate, Node keeps throwing forever in its place
   * (processImmediate: prevImmediate._idleNext).
   */
  #rest(whole = false): void {
    this.#writesSinceRest = 0
    if (this.#rests === 0) {
      this.#rests = 1
      setImmediate(this.#rested)
    } else if (whole) {
      this.#rests = 2
    }
  }

  readonly #rested = (): void => {
    this.#rests--
    if (this.#rests > 0) setImmediate(this.#rested)
    else this.#pump()
  }

  readonly #pumpLater = (): void => this.#pump()

  #barrierReached(): void {
    const reached = this.#barrierOffered
    this.#barrierOffered = null
    if (reached !== this.#barrier) return
    this.#barrier = null
    reached?.()
  }

  #finishBatch(): void {
    const done = this.#done
    this.#batch = this.#done = null
    if (done !== null) this.#host.finished(done)
  }
}

function written(host: OutboxHost): void {
  host.written()
}

/** Whether `bytesTaken` is a possible count of bytes out of `offered`. */
function isCount(bytesTaken: number | undefined, offered: number): bytesTaken is number {
  return Number.isInteger(bytesTaken) && (bytesTaken as number) >= 0 && (bytesTaken as number) <= offered
}

function wrongCount(bytesTaken: number | undefined, offered: number): RangeError {
  return new RangeError(`The transport was offered ${offered} bytes and says it took ${bytesTaken}`)
}
