import { refusesConnection } from './admission.ts'
import { RenegotiationError, streamDestroyed } from './errors.ts'
import type { Face } from './face.ts'
import { applyOptions, GuardedTransport, type GuardHost } from './guarded-transport.ts'
import { Inbox } from './inbox.ts'
import { KeyUsage } from './key-usage.ts'
import type { PeerLimit, RenegotiateOptions, Settings } from './options.ts'
import { type BatchCallback, Outbox, type OutboxHost } from './outbox.ts'
import { PeerHandshakes } from './peer-limit.ts'
import { rekeyHost } from './rekey-host.ts'
import { RekeySchedule } from './rekey-schedule.ts'
import { Renegotiator } from './renegotiator.ts'
import type { RenegotiatorHost } from './renegotiator-host.ts'
import type { RenegotiationCounters, RenegotiationKind, RenegotiationReport } from './report.ts'
import type { Revocation } from './revocation.ts'
import type { CRL } from './revocation-input.ts'
import type { CRLUpdateReport } from './revocation-update.ts'
import { noteFailure, publishFailure, rememberPeer } from './security-failure.ts'
import type { State } from './state.ts'
import { type RevocationHost, StreamRevocation } from './stream-revocation.ts'
import type { Transport, TransportEvents } from './transport.ts'

/**
 * Connects the parts of one stream. It stands between the face, which is the Duplex that the application sees, and the
 * transport. The face passes its stream hooks on to the methods of the same name, and has no policy of its own.
 *
 * The parts and the transport call methods of the gate directly. With a closure for each, the closures would take most
 * of the memory of an idle connection.
 */
export class Gate implements TransportEvents, OutboxHost, RenegotiatorHost, RevocationHost, GuardHost {
  readonly face: Face
  readonly transport: GuardedTransport
  readonly settings: Settings
  readonly isServer: boolean
  /** Whether the first handshake was complete. */
  isSecure = false
  readonly outbox: Outbox
  readonly inbox: Inbox
  readonly #renegotiator: Renegotiator
  readonly #usage = new KeyUsage()
  readonly #schedule: RekeySchedule | undefined
  /** Made when it is first needed, because most connections never need it. */
  #peerHandshakes: PeerHandshakes | undefined
  /** Made when there are revocation lists, or there may be. */
  #revocation: StreamRevocation | undefined
  /** What a listener or callback of the application has thrown inside a call from the transport. */
  #thrownByApplication: { readonly error: unknown } | undefined
  #peerEnded = false
  #ended = false
  /** Whether the transport has closed, so that it reports nothing more. */
  isTransportClosed = false
  #whenClosed: (() => void) | undefined
  #unsent: Uint8Array[] = []

  /** `revocation`: that of the server, whose lists judge the peer. */
  constructor(face: Face, transport: Transport, settings: Settings, revocation?: Revocation) {
    applyOptions(transport, settings)
    this.face = face
    this.transport = new GuardedTransport(transport, this)
    this.settings = settings
    this.isServer = transport.isServer === true
    this.outbox = new Outbox(this.transport, this)
    this.inbox = new Inbox(face, this.transport, settings)
    this.#renegotiator = new Renegotiator(this)
    this.#revocation = revocation && new StreamRevocation(this, this.#renegotiator, revocation)
    const busy = () => this.#renegotiator.isBusy || !this.inbox.hasRoom
    this.#schedule =
      settings.rekey && new RekeySchedule(rekeyHost(this, this.#renegotiator, this.#usage, busy), settings.rekey)
    // Like a tls.Server: an error of a client's connection without an `error` listener does not end the process.
    if (this.isServer) face.on('error', ignore)
    transport.attach(this)
  }

  get state(): State {
    return this.#renegotiator.state
  }

  get counters(): RenegotiationCounters {
    const { counts, hold } = this.#renegotiator
    return { ...counts, hold: hold.summary, heldBytes: this.heldBytes, keys: this.#usage.counters }
  }

  /** writableLength includes the whole current batch until its callback, also what the transport was given of it. */
  get heldBytes(): number {
    return this.face.writableLength - this.outbox.bytesGiven
  }

  get bytesInFlight(): number {
    return this.outbox.bytesInFlight
  }

  renegotiate(options?: RenegotiateOptions): Promise<RenegotiationReport> {
    return this.#renegotiator.renegotiate(options)
  }

  updateCRL(crl: CRL): Promise<CRLUpdateReport> {
    this.#revocation ??= new StreamRevocation(this, this.#renegotiator)
    return this.#revocation.update(crl)
  }

  /** Judges the first handshake, and its peer by revocation lists. Returns whether the stream goes on. */
  admits(): boolean {
    return !refusesConnection(this) && (this.#revocation?.admits() ?? true)
  }

  revokedPeer(): RenegotiationError | undefined {
    return this.#revocation?.completed()
  }

  write(chunk: Buffer, done: BatchCallback): void {
    this.outbox.offer([chunk], done)
  }

  writev(chunks: readonly { chunk: Buffer }[], done: BatchCallback): void {
    // A plain loop is faster than map() or push(), and there may be a thousand small chunks.
    const buffers = new Array<Buffer>(chunks.length)
    for (let index = 0; index < chunks.length; index++) buffers[index] = (chunks[index] as { chunk: Buffer }).chunk
    this.outbox.offer(buffers, done)
  }

  /** Called after every write, end and uncork of the application, and after every batch. */
  written(): void {
    this.outbox.flush()
    if (!this.#renegotiator.hold.isHolding || this.state === 'closed') return
    const { maxHeldBytes } = this.settings
    if (this.heldBytes <= maxHeldBytes) return
    const message = `${this.heldBytes} bytes are held, more than maxHeldBytes (${maxHeldBytes})`
    this.face.destroy(new RenegotiationError('ERR_RENEGOTIATION_HOLD_OVERFLOW', message))
  }

  /** The Readable has room. */
  read(): void {
    this.inbox.want()
  }

  /** Called after every read() of the application, or of the Readable in its place. */
  wasRead(size: number | undefined): void {
    // When a `readable` listener is added, the Readable calls read(0).
    if (size !== 0 || this.face.listenerCount('readable') > 0) this.inbox.wasRead()
  }

  /** Ends this side when everything is written, and the renegotiations that were requested before are over. */
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

  /** Calls `closed` exactly once, after the transport has closed. */
  destroy(error: Error | null, closed: () => void): void {
    if (error !== null) publishFailure(error, this)
    const { unsent, done: batchDone, taken } = this.outbox.close()
    this.#unsent = [...unsent, ...this.face.writableBuffer.map(({ chunk }) => chunk)]
    this.#schedule?.stop()
    this.#revocation?.leave()
    this.inbox.close()
    // Called after the `error` event, as with a net.Socket. A face may emit that in the next tick.
    if (batchDone !== null) process.nextTick(process.nextTick, batchDone, taken ? null : (error ?? streamDestroyed()))
    try {
      // A listener of the application may have thrown.
      this.#renegotiator.close(error)
    } finally {
      if (this.isTransportClosed) {
        process.nextTick(closed)
      } else {
        this.#whenClosed = closed
        if (!this.transport.destroy()) process.nextTick(() => this.closed())
      }
    }
  }

  /** Returns the error for the application: one that explains a failed handshake, or else `error` itself. */
  explain(error: Error): Error {
    return this.#renegotiator.explain(error)
  }

  unsent(): Buffer[] {
    return this.#unsent.map((view) => Buffer.from(view.buffer, view.byteOffset, view.byteLength))
  }

  // TransportEvents: called by the transport.

  ready(): void {
    rememberPeer(this)
    if (!this.admits()) return
    this.#revocation?.join()
    this.isSecure = true
    this.#usage.restart('both')
    this.#schedule?.start()
    this.#renegotiator.ready()
    // Read from the beginning, like a net.Socket, or a closed connection would go unnoticed. Asynchronous, because the
    // face may still be being constructed.
    process.nextTick(startReading, this.face)
  }

  data(chunk: Buffer, records?: number): void {
    this.#usage.received(chunk.length, records)
    try {
      this.inbox.receive(chunk)
    } catch (error) {
      this.applicationThrew(error)
    }
    this.#schedule?.used()
  }

  end(): void {
    this.#peerEnded = true
    this.#tell(() => {
      try {
        this.inbox.end()
      } finally {
        // A `data` listener of the application may have thrown.
        this.#renegotiator.peerEnded()
      }
    })
  }

  handshakeStarted(): void {
    this.#tell(() => this.#renegotiator.handshakeStarted())
  }

  handshakeDone(): void {
    this.#renegotiator.handshakeDone()
  }

  requestSent(): void {
    this.#tell(() => this.#renegotiator.requestSent())
  }

  requestAnswered(kind: RenegotiationKind): void {
    this.#tell(() => this.#renegotiator.postHandshake.answered(kind))
  }

  peerUpdated(kind: RenegotiationKind): void {
    this.#tell(() => this.#renegotiator.postHandshake.peerUpdated(kind))
  }

  error(error: Error): void {
    const explained = this.explain(error)
    noteFailure(explained)
    this.face.destroy(explained)
  }

  closed(): void {
    this.isTransportClosed = true
    this.#schedule?.stop()
    // If both sides have ended, do not destroy: received data may still wait for the application to read it.
    if (this.#whenClosed !== undefined) this.#whenClosed()
    else if (!(this.#peerEnded && this.#ended)) this.face.destroy()
  }

  // OutboxHost: called by the outbox.

  room(needed: number): number {
    return this.#schedule?.room(needed) ?? Infinity
  }

  sent(bytes: number): void {
    this.#usage.sent(bytes)
    this.#schedule?.used()
  }

  /** Corked, so that what the application writes in the callback or on `drain` is sent as one batch. */
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

  // RenegotiatorHost: called by the renegotiator.

  keysChanged(of: 'both' | 'sending' | 'receiving', resumed = false): void {
    if (this.#schedule !== undefined && of === 'both') {
      this.#peerHandshakes ??= new PeerHandshakes()
      this.#peerHandshakes.keysChanged(this.#schedule.share)
    }
    this.#usage.restart(of)
    if (of !== 'receiving') this.#schedule?.restart(!resumed)
  }

  exceededPeerLimit(): PeerLimit | undefined {
    const { peerLimit } = this.settings
    const limit = peerLimit ?? this.transport.peerLimit
    // A schedule excuses handshakes only from the default limit, not from one that the application has set.
    const share = peerLimit === undefined ? (this.#schedule?.share ?? 0) : 0
    if (limit === false) return undefined
    this.#peerHandshakes ??= new PeerHandshakes()
    return this.#peerHandshakes.exceeds(limit, share) ? limit : undefined
  }

  // GuardHost: called by the guarded transport.

  isOfApplication(error: unknown): boolean {
    return this.#thrownByApplication !== undefined && error === this.#thrownByApplication.error
  }

  transportThrew(error: Error): void {
    noteFailure(error)
    this.face.destroy(error)
  }

  /** Remembers `error`, so that it is not taken for an error of the transport that it passes through. */
  applicationThrew(error: unknown): never {
    this.#thrownByApplication = { error }
    throw error
  }

  /** Passes a report of the transport on. It calls listeners of the application, which may throw. */
  #tell(report: () => void): void {
    try {
      report()
    } catch (error) {
      this.applicationThrew(error)
    }
  }
}

function ignore(): void {}

function startReading(face: Face): void {
  face.read(0)
}
