import { invalidType, invalidValue } from '../core/errors.ts'
import { flag, milliseconds, type PeerLimit, quote, type RenegotiateOptions } from '../core/options.ts'
import type {
  CertificatePolicy,
  HandshakeFailure,
  Session,
  Transport,
  TransportEvents,
  WriteCallback,
} from '../core/transport.ts'
import { openSSLFailure } from './openssl-failure.ts'

/** What SSL_read and SSL_write wait for: SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE. Either may come from either. */
export type Want = 'want-read' | 'want-write'

/** The type of a TLS record, as its first byte tells in clear; change cipher spec counts as `handshake`. */
export type RecordType = 'data' | 'handshake' | 'alert'

/**
 * A TLS library with the shape of SSL_read and SSL_write, which never block: a
 * binding of OpenSSL, say. The engine brings its own wire; it tells by
 * `onReady` when there is something to do.
 *
 * What it throws ends the stream. OpenSSL's reason in the message, or in the
 * `code` as Node forms it, tells refusals and data in a handshake from the rest.
 */
export interface TLSEngine {
  /** Reads application data into `into`: how many bytes; 0 at the peer's end. Drives the handshake. Throws when it is fatal. */
  read(into: Uint8Array): number | Want
  /** How many bytes of `from` were taken, maybe not all. After a Want, the very same object comes again. Throws when it is fatal. */
  write(from: Uint8Array): number | Want
  /**
   * Asks for a handshake of our own; the next read() drives it. Gets `requestCert`
   * and `rejectUnauthorized` as they hold for it. Throws where there can't be one.
   */
  renegotiate(options?: object): void
  /** A handshake is due or running: SSL_in_init || SSL_renegotiate_pending. */
  readonly handshaking: boolean
  /**
   * The type of the record that the next read() begins with, or of which a part
   * was read already; undefined where none has come. Left to itself, SSL_read goes on to the next
   * record after one that held no data: it must be given one record at a time,
   * or it reads more than was told. An engine that can't tell doesn't have it.
   */
  readonly nextRecord?: RecordType | undefined
  /** Sends close_notify. Called when all writes are done, and not while `handshaking`. */
  end(): true | Want
  /** Releases everything. What write() has taken still has to go out where either side has ended in order. */
  destroy(error?: Error | null): void
  /**
   * Set by the transport; to be called whenever read(), write() or end() may get
   * further: when bytes have come in from the wire or gone out to it. Not for
   * every call that was answered with a Want, or it would be called for ever.
   */
  onReady: (() => void) | null
  /** What is known of the session; see {@link Session}. Without it, a report can't be `verified`. */
  session?(): Session
  /** On a server that can ask its client for a certificate, see {@link Transport.certificatePolicy}. */
  readonly certificatePolicy?: CertificatePolicy | undefined
}

/** Options of {@link engineTransport}. */
export interface EngineTransportOptions {
  /** Whether our side stays open after the peer's end until the application ends it. Default: false. */
  allowHalfOpen?: boolean | undefined
  /**
   * Milliseconds that a pending write keeps from reading while the engine
   * doesn't tell `nextRecord`. After that it reads all the same: two such ends
   * whose buffers are full would wait for each other for ever. Data is most of
   * what can come then; a handshake record would be the end of the connection.
   * 0: it waits for ever. Default: 30,000. What an engine tells of is read, or
   * not, at once.
   */
  drainTimeout?: number | undefined
}

/**
 * A transport over a TLS engine.
 *
 * It never writes while a handshake is due or running. While a write is pending
 * it reads data and alerts, but no handshake record: to answer one, OpenSSL
 * would have to write, and would run into the record that is half written ("bad
 * length", "bad write retry"). The peer is reading, so the pending write gets
 * through, and then the handshake has its turn. Refusing all reads meanwhile is
 * no way out: two such ends would wait for each other for ever.
 *
 * An engine that doesn't tell `nextRecord` reads nothing while a write is
 * pending, until `drainTimeout`. Under load that is a standstill again and
 * again: an engine that can tell should.
 *
 * It acts on `onReady`, on what the stream asks, and on its own progress; it
 * never waits by asking again.
 *
 * @throws TypeError where `engine` lacks one of its methods; TypeError or
 *   RangeError for a bad option.
 */
export function engineTransport(engine: TLSEngine, options: EngineTransportOptions = {}): Transport {
  for (const method of ['read', 'write', 'renegotiate', 'end', 'destroy'] as const) {
    if (typeof engine?.[method] !== 'function') throw invalidType(`engine must have a method ${method}()`)
  }
  if (typeof engine.handshaking !== 'boolean') {
    throw invalidType(`engine.handshaking must be a boolean, got ${quote(engine.handshaking)}`)
  }
  return new EngineTransport(engine, options)
}

/** The largest record, RFC 5246, 6.2.1: the most that one SSL_read gives. */
const RECORD_BYTES = 16 * 1024
/** Reads are views of memory of this size, one behind the other. */
const POOL_BYTES = 64 * 1024
/** After so many steps in one go, the rest of the event loop has its turn. */
const STEPS_PER_TURN = 32

interface PendingWrite {
  readonly buffer: Uint8Array
  readonly done: WriteCallback
  /** The engine was offered it and wants it again: a record may be half written. */
  offered: boolean
}

class EngineTransport implements Transport {
  readonly allowHalfOpen: boolean
  readonly peerLimit: PeerLimit | false = false
  readonly #engine: TLSEngine
  readonly #drainTimeout: number
  #events!: TransportEvents

  #ready = false
  #handshaking = true
  #flowing = false
  #peerEnded = false
  #write: PendingWrite | undefined
  /** Runs while a write that is pending keeps from reading. */
  #drainTimer: NodeJS.Timeout | undefined
  /** It has run out. */
  #readsAnyway = false
  #end: ((error?: Error | null) => void) | undefined
  #destroyed = false

  #pool = Buffer.alloc(0)
  #driving = false
  #moved = false
  /** It goes on in another turn of the event loop. Never cleared: see Outbox.#rest. */
  #goesOn = false

  constructor(engine: TLSEngine, options: EngineTransportOptions) {
    this.#engine = engine
    this.#drainTimeout = milliseconds(options, 'drainTimeout') ?? 30_000
    this.allowHalfOpen = flag(options, 'allowHalfOpen') ?? false
  }

  get certificatePolicy(): CertificatePolicy | undefined {
    return this.#engine.certificatePolicy
  }

  attach(events: TransportEvents): void {
    if (this.#engine.onReady) throw invalidValue('The engine has a transport already')
    this.#events = events
    this.#engine.onReady = () => this.#drive()
    // Not now: who attaches is not ready to be told of anything.
    setImmediate(() => this.#drive())
  }

  write(buffer: Uint8Array, done: WriteCallback): void {
    this.#write = { buffer, done, offered: false }
    this.#drive()
  }

  end(done: (error?: Error | null) => void): void {
    this.#end = done
    this.#drive()
  }

  pause(): void {
    this.#flowing = false
  }

  resume(): void {
    this.#flowing = true
    this.#drive()
  }

  destroy(): void {
    this.#destroyed = true
    clearTimeout(this.#drainTimer)
    this.#engine.onReady = null
    this.#engine.destroy()
    process.nextTick(() => this.#events.closed())
  }

  renegotiate(options: RenegotiateOptions): void {
    this.#engine.renegotiate(options)
    this.#drive()
  }

  unsupported(): string | undefined {
    return undefined
  }

  session(): Session {
    return this.#engine.session?.() ?? {}
  }

  failure(error: Error): HandshakeFailure | undefined {
    return openSSLFailure(error)
  }

  /** Step by step, in and out by turns, until nothing moves. */
  #drive(): void {
    this.#moved = true
    if (this.#driving) return
    this.#driving = true
    let steps = 0
    try {
      for (; this.#moved && !this.#destroyed && steps < STEPS_PER_TURN; steps++) {
        this.#moved = false
        this.#readStep()
        this.#tellHandshake()
        this.#writeStep()
      }
    } finally {
      this.#driving = false
      // Enough for one turn; or a listener of the application has thrown, and the rest goes on without it.
      if (this.#moved && !this.#destroyed && !this.#goesOn) {
        this.#goesOn = true
        setImmediate(this.#goOn)
      }
    }
  }

  readonly #goOn = (): void => {
    this.#goesOn = false
    this.#drive()
  }

  /** What a call into the engine returns; undefined where it throws, which is the end of the connection. */
  #call<T>(call: (engine: TLSEngine) => T): T | undefined {
    try {
      return call(this.#engine)
    } catch (error) {
      this.#events.error(error as Error)
      return undefined
    }
  }

  /** True where the engine cannot say, for nothing may be written then. */
  #isHandshaking(): boolean {
    return this.#call((engine) => engine.handshaking) ?? true
  }

  #readStep(): void {
    if (!this.#mayRead()) return
    if (this.#pool.length < RECORD_BYTES) this.#pool = Buffer.allocUnsafe(POOL_BYTES)
    const got = this.#call((engine) => counted('read', engine.read(this.#pool), this.#pool))
    if (typeof got !== 'number') return
    this.#moved = true
    if (got === 0) {
      this.#peerEnded = true
      this.#events.end()
    } else {
      const chunk = this.#pool.subarray(0, got)
      this.#pool = this.#pool.subarray(got)
      this.#events.data(chunk)
    }
  }

  #mayRead(): boolean {
    if (this.#peerEnded || this.#destroyed) return false
    if (!this.#flowing && this.#ready) return false
    if (this.#write?.offered !== true) return true
    const nextRecord = this.#call((engine) => engine.nextRecord)
    if (this.#destroyed) return false
    return nextRecord === undefined ? this.#readsAnyway : nextRecord !== 'handshake'
  }

  /** The engine doesn't call when a handshake begins or is over, but neither happens outside of read(). */
  #tellHandshake(): void {
    if (this.#destroyed) return
    const handshaking = this.#isHandshaking()
    if (this.#destroyed || handshaking === this.#handshaking) return
    this.#handshaking = handshaking
    this.#moved = true
    if (handshaking) {
      this.#events.handshakeStarted()
    } else if (this.#ready) {
      this.#events.handshakeDone()
    } else {
      this.#ready = true
      this.#events.ready()
    }
  }

  #writeStep(): void {
    if (this.#destroyed) return
    const write = this.#write
    if (write === undefined) this.#endStep()
    if (write === undefined || this.#isHandshaking()) return
    const taken =
      write.buffer.length === 0 ? 0 : this.#call((engine) => counted('write', engine.write(write.buffer), write.buffer))
    if (typeof taken !== 'number') {
      if (!write.offered && !this.#destroyed) this.#startDrainTimer()
      write.offered = true
      return
    }
    this.#moved = true
    this.#write = undefined
    clearTimeout(this.#drainTimer)
    this.#readsAnyway = false
    write.done(null, taken)
  }

  #startDrainTimer(): void {
    if (this.#drainTimeout === 0) return
    this.#drainTimer = setTimeout(() => {
      this.#readsAnyway = true
      this.#drive()
    }, this.#drainTimeout)
  }

  #endStep(): void {
    const done = this.#end
    if (done === undefined) return
    if (this.#isHandshaking()) {
      // The peer's end in the middle of a handshake: that will never be over, and no end can be sent in it.
      if (!this.#peerEnded) return
    } else if (this.#call((engine) => engine.end()) !== true) {
      return
    }
    this.#end = undefined
    done()
  }
}

/** SSL_read's own -1, say, must not go for a count of bytes. */
function counted(method: 'read' | 'write', result: number | Want, { length }: Uint8Array): number | Want {
  if (result === 'want-read' || result === 'want-write') return result
  if (Number.isInteger(result) && result >= 0 && result <= length) return result
  throw new RangeError(
    `engine.${method}() must return 'want-read', 'want-write' or a count up to ${length}, got ${quote(result)}`,
  )
}
