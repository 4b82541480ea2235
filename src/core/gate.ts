import { rekeyUnsupported } from './diagnostics.ts'
import { RenegotiationError, streamDestroyed } from './errors.ts'
import { GuardedTransport, type GuardHost } from './guarded-transport.ts'
import { Inbox } from './inbox.ts'
import { KeyUsage } from './key-usage.ts'
import type { PeerLimit, RekeySettings, RenegotiateOptions, Settings } from './options.ts'
import { type BatchCallback, Outbox, type OutboxHost } from './outbox.ts'
import { PeerHandshakes } from './peer-limit.ts'
import { RekeySchedule } from './rekey-schedule.ts'
import type { RenegotiationEvents } from './renegotiation-stream.ts'
import { Renegotiator, type RenegotiatorHost } from './renegotiator.ts'
import type { Origin, RenegotiationCounters, RenegotiationReport } from './report.ts'
import type { State } from './state.ts'
import type { Transport, TransportEvents } from './transport.ts'

/** What the gate needs of the stream that the application sees. Every Duplex has it. */
export interface Face {
  push(chunk: Buffer | null): boolean
  read(size: 0): unknown
  destroy(error?: Error): unknown
  cork(): void
  uncork(): void
  on(event: 'error', listener: (error: Error) => void): unknown
  emit(event: keyof RenegotiationEvents, detail: { origin: Origin } | RenegotiationReport | Error): boolean
  once(event: 'end', listener: () => void): unknown
  listenerCount(event: 'readable'): number
  readonly readableLength: number
  readonly readableHighWaterMark: number
  /** As {@link writableBuffer}: what the Readable holds. */
  readonly readableBuffer: { readonly length: number }
  readonly writableLength: number
  readonly writableEnded: boolean
  /** Not in the types of either Duplex, yet public: what the Writable has queued. */
  readonly writableBuffer: readonly { chunk: Buffer }[]
}

/**
 * The parts of one stream, put together: what stands between a face, which is
 * all that the application sees, and a transport. A face hands its stream hooks
 * on to the methods of the same name and has no policy of its own.
 *
 * What the parts and the transport tell, they tell the gate itself, by its
 * methods: a closure for each would be most of what an idle connection costs.
 */
export class Gate implements TransportEvents, OutboxHost, RenegotiatorHost, GuardHost {
  readonly face: Face
  readonly transport: GuardedTransport
  readonly settings: Settings
  readonly outbox: Outbox
  readonly inbox: Inbox
  readonly #renegotiator: Renegotiator
  readonly #usage = new KeyUsage()
  readonly #schedule: RekeySchedule | undefined
  /** Made for the first of them, or with a schedule: most connections see none. */
  #peerHandshakes: PeerHandshakes | undefined
  /** What a listener or callback of the application has thrown within a call of the transport. */
  #thrownByApplication: { readonly error: unknown } | undefined
  #peerEnded = false
  #ended = false
  #transportClosed = false
  #whenClosed: (() => void) | undefined
  #unsent: Uint8Array[] = []

  constructor(face: Face, transport: Transport, settings: Settings) {
    this.face = face
    this.transport = new GuardedTransport(transport, this)
    this.settings = settings
    this.outbox = new Outbox(this.transport, this)
    this.inbox = new Inbox(face, this.transport, settings)
    this.#renegotiator = new Renegotiator(this)
    this.#schedule = settings.rekey && this.#newSchedule(settings.rekey)
    // As tls.Server does it: a client can't bring the process down by an error that nobody listens for.
    if (transport.isServer) face.on('error', ignore)
    transport.attach(this)
  }

  get state(): State {
    return this.#renegotiator.state
  }

  get counters(): RenegotiationCounters {
    const { heldBytes } = this
    const { counts, hold } = this.#renegotiator
    const { bytes, records, ageMs } = this.#usage
    return { ...counts, hold: hold.summary, heldBytes, keys: { bytes, records, ageMs } }
  }

  /** The Writable counts a batch until its callback, part of which may long be on its way. */
  get heldBytes(): number {
    return this.face.writableLength - this.outbox.bytesGiven
  }

  get bytesInFlight(): number {
    return this.outbox.bytesInFlight
  }

  renegotiate(options?: RenegotiateOptions): Promise<RenegotiationReport> {
    return this.#renegotiator.renegotiate(options)
  }

  write(chunk: Buffer, done: BatchCallback): void {
    this.outbox.offer([chunk], done)
  }

  writev(chunks: readonly { chunk: Buffer }[], done: BatchCallback): void {
    // Neither map() nor push(): there may be a thousand of them, of a few bytes each.
    const buffers = new Array<Buffer>(chunks.length)
    for (let index = 0; index < chunks.length; index++) buffers[index] = (chunks[index] as { chunk: Buffer }).chunk
    this.outbox.offer(buffers, done)
  }

  /** To be told after every write, end and uncork of the application, whether it was passed on to `write` or queued. */
  written(): void {
    this.outbox.flush()
    const { state } = this
    if (state === 'open' || state === 'closed') return
    const { maxHeldBytes } = this.settings
    if (this.heldBytes <= maxHeldBytes) return
    const message = `${this.heldBytes} bytes are held, more than maxHeldBytes (${maxHeldBytes})`
    this.face.destroy(new RenegotiationError('ERR_RENEGOTIATION_HOLD_OVERFLOW', message))
  }

  /** The Readable has room. */
  read(): void {
    this.inbox.want()
  }

  /** To be told after every read() of the application, and of the Readable itself in its name; `size` is what it asked for. */
  wasRead(size: number | undefined): void {
    // A listener for `readable` that is added makes the Readable call read(0).
    if (size !== 0 || this.face.listenerCount('readable') > 0) this.inbox.wasRead()
  }

  /** Everything is written. The end waits for the renegotiations that were asked for before it. */
  final(done: BatchCallback): void {
    this.#renegotiator.whenIdle(() => {
      if (this.state === 'closed') return
      this.outbox.finish()
      this.#schedule?.stop()
      this.transport.end((error) => {
        this.#ended = true
        try {
          done(error)
        } catch (thrown) {
          this.applicationThrew(thrown)
        }
      })
    })
  }

  /** Calls `closed` once, when the transport has closed. */
  destroy(error: Error | null, closed: () => void): void {
    const { unsent, done: batchDone, taken } = this.outbox.close()
    this.#unsent = [...unsent, ...this.face.writableBuffer.map(({ chunk }) => chunk)]
    this.#schedule?.stop()
    this.inbox.close()
    // After `error`, as with a net.Socket: a face may emit that in the next turn.
    if (batchDone !== null) process.nextTick(process.nextTick, batchDone, taken ? null : (error ?? streamDestroyed()))
    try {
      // A listener of the application may throw.
      this.#renegotiator.close(error)
    } finally {
      if (this.#transportClosed) {
        process.nextTick(closed)
      } else {
        this.#whenClosed = closed
        if (!this.transport.destroy()) process.nextTick(() => this.closed())
      }
    }
  }

  /** What an error of the transport means, in the light of a handshake that it ended. */
  explain(error: Error): Error {
    return this.#renegotiator.explain(error)
  }

  /** Nothing more will be told of the transport. */
  get isTransportClosed(): boolean {
    return this.#transportClosed
  }

  unsent(): Buffer[] {
    return this.#unsent.map((view) => Buffer.from(view.buffer, view.byteOffset, view.byteLength))
  }

  // What the transport tells.

  ready(): void {
    this.#usage.restart()
    this.#schedule?.start()
    this.#renegotiator.ready()
    // Like a net.Socket: from the beginning, for only who reads hears that the peer has gone. The face may still be in the making.
    process.nextTick(startReading, this.face)
  }

  data(chunk: Buffer): void {
    this.#usage.received(chunk.length)
    try {
      this.inbox.receive(chunk)
    } catch (error) {
      this.applicationThrew(error)
    }
    this.#schedule?.used()
  }

  end(): void {
    this.#peerEnded = true
    try {
      try {
        this.inbox.end()
      } finally {
        // A listener of the application for data may throw.
        this.#renegotiator.peerEnded()
      }
    } catch (error) {
      this.applicationThrew(error)
    }
  }

  handshakeStarted(): void {
    try {
      this.#renegotiator.handshakeStarted()
    } catch (error) {
      this.applicationThrew(error)
    }
  }

  handshakeDone(): void {
    this.#renegotiator.handshakeDone()
  }

  error(error: Error): void {
    this.face.destroy(this.explain(error))
  }

  closed(): void {
    this.#transportClosed = true
    this.#schedule?.stop()
    // After both ends, what was received may still be waiting for the application to read it.
    if (this.#whenClosed !== undefined) this.#whenClosed()
    else if (!(this.#peerEnded && this.#ended)) this.face.destroy()
  }

  // What the outbox asks and tells.

  room(needed: number): number {
    return this.#schedule?.room(needed) ?? Infinity
  }

  sent(bytes: number): void {
    this.#usage.sent(bytes)
    this.#schedule?.used()
  }

  /** What the application writes on hearing of it, mostly a queue full of chunks on `drain`, goes in one. */
  finished(done: BatchCallback): void {
    this.face.cork()
    try {
      done()
    } finally {
      this.face.uncork()
    }
  }

  failed(error: Error): void {
    this.error(error)
  }

  // What the renegotiator asks and tells.

  keysChanged(): void {
    if (this.#schedule !== undefined) {
      this.#peerHandshakes ??= new PeerHandshakes()
      this.#peerHandshakes.keysChanged(this.#schedule.share)
    }
    this.#usage.restart()
    this.#schedule?.restart()
  }

  exceededPeerLimit(): PeerLimit | undefined {
    const { peerLimit } = this.settings
    const limit = peerLimit ?? this.transport.peerLimit
    // Who has set a limit means it, whatever the schedule is.
    const share = peerLimit === undefined ? (this.#schedule?.share ?? 0) : 0
    if (limit === false) return undefined
    this.#peerHandshakes ??= new PeerHandshakes()
    return this.#peerHandshakes.exceeds(limit, share) ? limit : undefined
  }

  // What the guard asks and tells.

  isOfApplication(error: unknown): boolean {
    return this.#thrownByApplication !== undefined && error === this.#thrownByApplication.error
  }

  transportThrew(error: Error): void {
    this.face.destroy(error)
  }

  /** Remembers it on its way through the transport, which is not to blame. */
  applicationThrew(error: unknown): never {
    this.#thrownByApplication = { error }
    throw error
  }

  #newSchedule(settings: RekeySettings): RekeySchedule {
    const face = this.face
    const renegotiator = this.#renegotiator
    return new RekeySchedule(
      {
        usage: this.#usage,
        unsupported: () => this.transport.unsupported(),
        over: () => renegotiator.isOver,
        busy: () => renegotiator.isBusy || !this.inbox.hasRoom,
        answered: () => renegotiator.state === 'handshaking' && this.transport.peerAnswered,
        renegotiate: () => renegotiator.renegotiate({}, true),
        // In turns of their own: while it is being made, the stream is of no use to a listener; and one that throws is no
        // promise's business.
        cannot: (reason) => {
          process.nextTick(rekeyUnsupported, face, new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', reason))
        },
        failed: (error) => process.nextTick(() => face.emit('renegotiationFailed', error)),
        destroy: (error) => face.destroy(error),
      },
      settings,
    )
  }
}

function ignore(): void {}

function startReading(face: Face): void {
  face.read(0)
}
