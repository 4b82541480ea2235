import { Batch } from './batch.ts'
import { SLICE_BYTES } from './slice.ts'
import type { WriteCallback } from './transport.ts'

/** Called once for every batch: without an error when all of it is on its way, with the reason when it will never be. */
export type BatchCallback = (error?: Error | null) => void

/** After so many, the event loop has its turn. */
const WRITES_A_TURN = 4

/** What a barrier gives the transport. */
const EMPTY = new Uint8Array(0)
/** What a batch without a byte gives the transport: its turn comes with the connection, like that of any other. */
const NOTHING = new Uint8Array(0)

/** What the outbox needs of the transport. */
export interface OutboxTransport {
  write(buffer: Uint8Array, done: WriteCallback): void
  /** It takes several buffers at once, by {@link writev}. */
  readonly gathers: boolean
  writev(buffers: readonly Uint8Array[], done: WriteCallback): void
}

/** What the outbox needs of the stream. */
export interface OutboxHost {
  /** Bytes that may be given now with these keys; 0: fewer than `needed`, and none are to be given. */
  room(needed: number): number
  /** So many were taken. */
  sent(bytes: number): void
  /** All of a batch was taken. Calls its callback. */
  finished(done: BatchCallback): void
  /** A write has failed. Destroys the stream, and with it the outbox. */
  failed(error: Error): void
  /** A callback or listener has thrown within a write callback of the transport. Throws it again. */
  applicationThrew(error: unknown): never
}

/**
 * The way out: one batch from the application at a time, one write in flight
 * in the transport at a time, and a gate between the two.
 *
 * A batch is offered in slices of the application's own memory; what the
 * transport did not take is offered again from where it stopped. While the gate
 * is held, the batch and its callback stay parked here, and that is all the
 * backpressure there is: the Writable above asks for nothing more until the
 * callback, and keeps what the application writes in its own queue.
 */
export class Outbox {
  readonly #transport: OutboxTransport
  readonly #host: OutboxHost

  #batch: Batch | null = null
  #done: BatchCallback | null = null
  /** Bytes of the batch that the transport has taken. */
  #taken = 0
  /** The transport has called back for the batch, or a part of it. */
  #begun = false

  /** What the transport has and hasn't called back for: one buffer, several, or a barrier. */
  #offer: Uint8Array | readonly Uint8Array[] | null = null
  #bytesInFlight = 0
  /** Of the last offer nothing was taken: the identical object comes next. */
  #again: Uint8Array | readonly Uint8Array[] | null = null
  #againBytes = 0

  /** Until so many immediates have come, nothing is given: the rest of the event loop has its turn first. */
  #rests = 0
  #writesSinceRest = 0
  #held = false
  #barrier: (() => void) | null = null
  /** The barrier whose empty write the transport has; another may have replaced it since. */
  #barrierOffered: (() => void) | null = null
  #refusal: Error | null = null
  #finished = false
  #closed = false
  #pumping = false
  /** The application is on the stack, in a call that it made for something else than to be called back. */
  #calledByWriter = false

  constructor(transport: OutboxTransport, host: OutboxHost) {
    this.#transport = transport
    this.#host = host
  }

  /** Bytes given to the transport and not called back for. */
  get bytesInFlight(): number {
    return this.#bytesInFlight
  }

  /** Bytes of the present batch that were given to the transport, called back for or not. */
  get bytesGiven(): number {
    return this.#batch === null ? 0 : this.#taken + this.#bytesInFlight
  }

  /**
   * Takes a batch. The Writable above offers no second one before `done`.
   * Nothing comes of it before {@link flush}: a Writable in the middle of
   * handing over its queue bears neither another write nor an exception (the
   * queue is reset after _writev, whatever has been added; and marked as being
   * processed for ever), and a transport may tell of data before its write()
   * returns.
   */
  offer(buffers: readonly Uint8Array[], done: BatchCallback): void {
    this.#batch = new Batch(buffers)
    this.#taken = 0
    this.#begun = false
    this.#done = done
  }

  /** To be called after every call that may have led to {@link offer}. `done` is never called before it returns. */
  flush(): void {
    if (this.#batch === null || this.#offer !== null || this.#pumping) return
    this.#calledByWriter = true
    try {
      this.#pump()
    } finally {
      this.#calledByWriter = false
    }
  }

  /** Gives the transport nothing more until {@link release}. A barrier not yet reached is forgotten. */
  hold(): void {
    this.#held = true
    this.#barrier = null
  }

  /**
   * Held or not: calls `reached` when the transport has finished the write in
   * flight, and an empty one after it. Begins in another turn of the event
   * loop: who asks may stand on the stack of the TLS library, and an empty write
   * makes it read. (OpenSSL's SSL_read inside the callback that tells of a
   * completed handshake: "internal error", if the next handshake has arrived.)
   */
  barrier(reached: () => void): void {
    this.#barrier = reached
    this.#rest()
  }

  /** Lets the parked batch go on, a little later: what the application does on its callback is not for the caller to bear. */
  release(): void {
    this.#held = false
    this.#barrier = null
    process.nextTick(this.#pumpLater)
  }

  /** Nothing can be written any more: a batch, parked or yet to come, fails with `error`. */
  refuse(error: Error): void {
    this.hold()
    this.#refusal = error
    if (this.#batch !== null) this.#host.failed(error)
  }

  /** Our side has ended: nothing is given to the transport any more, and every barrier is reached at once. */
  finish(): void {
    this.#finished = true
  }

  /**
   * The end; nothing is given to the transport any more, and what it still
   * calls back for is ignored. Returns what of the batch never reached it, the
   * callback of the batch, which is the caller's to call, and whether that is
   * to hear of no error, since all of the batch was taken.
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

  /** A loop, not recursion: a transport may call back before its write() returns, thousands of times in a row. */
  #pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    let thrown = true
    try {
      while (this.#offer === null && this.#giveNext());
      thrown = false
    } finally {
      this.#pumping = false
      // By a listener of the application, in which a callback from here may end. What is left goes on without it.
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

  /** The transport has all of the batch. */
  get #isTaken(): boolean {
    return this.#begun && this.#batch?.bytesLeft === 0
  }

  #give(offer: Uint8Array | readonly Uint8Array[], bytes: number): void {
    this.#offer = offer
    this.#bytesInFlight = bytes
    if (offer instanceof Uint8Array) this.#transport.write(offer, this.#whenTaken)
    else this.#transport.writev(offer, this.#whenTaken)
  }

  /** One function for every write; a closure for each would be felt where chunks are small. */
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
      // Still in flight while the stream is destroyed for it, for it may be anywhere.
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
      // What comes on the callback waits until the keys have been told of this.
      this.#offer = offer
      try {
        if (this.#batch?.bytesLeft === 0 && !this.#pumping) this.#finishBatch()
      } finally {
        this.#offer = null
        // After the callback, which is to hear of no error that keys at their limit are.
        this.#host.sent(bytesTaken)
        this.#pump()
      }
    }
  }

  /**
   * A few writes a turn of the event loop, or reading would starve. As long as
   * the kernel takes everything at once, Node calls back for a TLS write before
   * it polls again (TLSWrap::EncOut: SetImmediate, and native immediates run
   * until none is left): write after write, and neither a read nor a timer in
   * between.
   *
   * Where an immediate is due already, that will do, unless it has to be a
   * `whole` turn. Never clearImmediate: where an exception of the application
   * follows before Node gets to the one that was cleared, Node throws for ever
   * in its place (processImmediate: prevImmediate._idleNext).
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

/** Whether a transport can have taken as many of `offered`. */
function isCount(bytesTaken: number | undefined, offered: number): bytesTaken is number {
  return Number.isInteger(bytesTaken) && (bytesTaken as number) >= 0 && (bytesTaken as number) <= offered
}

function wrongCount(bytesTaken: number | undefined, offered: number): RangeError {
  return new RangeError(`The transport was offered ${offered} bytes and says it took ${bytesTaken}`)
}
