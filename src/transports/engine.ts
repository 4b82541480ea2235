/* The transport over a TLS library with the shape of SSL_read and SSL_write. */
import { invalidType, invalidValue } from '../core/errors.ts'
import type { PeerLimit, RenegotiateOptions } from '../core/options.ts'
import type {
  CertificatePolicy,
  HandshakeFailure,
  Session,
  Transport,
  TransportEvents,
  WriteCallback,
} from '../core/transport.ts'
import { flag, milliseconds, quote } from '../core/values.ts'
import { openSSLFailure } from './openssl-failure.ts'
import { PostHandshakeMessages } from './post-handshake-messages.ts'
import { ReadMemory } from './read-memory.ts'
import type { RecordType, TLSEngine, Want } from './tls-engine.ts'

/** Options of {@link engineTransport}. */
export interface EngineTransportOptions {
  /**
   * Whether this side stays open after the peer has closed its side, until the application ends it.
   * @default false
   */
  allowHalfOpen?: boolean | undefined
  /**
   * Milliseconds that a pending write stops reading if the engine has no `nextRecord`. After that the transport reads
   * all the same, because two such ends with full buffers would wait for each other forever. Usually that reads data; a
   * handshake record would end the connection. 0: no limit.
   * @default 30_000
   */
  drainTimeout?: number | undefined
}

/**
 * Makes a transport over a TLS library with the shape of SSL_read and SSL_write.
 *
 * The transport writes nothing while a handshake is due or in progress. While a write is pending, it reads data and
 * alerts, but no handshake record: OpenSSL would answer it by a write, in the middle of the record that is half written
 * ("bad length", "bad write retry"). It does not stop all reading, because two such ends would wait for each other
 * forever. If the engine has no `nextRecord`, nothing is read while a write is pending, for at most `drainTimeout`.
 * Under load that stops the connection again and again, so an engine should have it.
 *
 * @throws {TypeError} if `engine` lacks one of its methods, or for a bad option.
 * @throws {RangeError} for an option that is out of range.
 *
 * @example
 * ```js
 * // `ssl` is a TLSEngine, for example a binding of OpenSSL
 * const stream = new RenegotiationDuplex(engineTransport(ssl, { allowHalfOpen: true }))
 * const { verified } = await stream.renegotiate()
 * ```
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

/** After so many steps, the rest of the event loop has its turn. */
const STEPS_PER_TURN = 32

interface PendingWrite {
  readonly buffer: Uint8Array
  readonly done: WriteCallback
  /** The engine has returned a Want for it: a record may be half written. */
  offered: boolean
}

// Calls of the engine. As functions of the module, they need no memory for each record.
const nextRecordOf = (engine: TLSEngine) => engine.nextRecord
const handshakingOf = (engine: TLSEngine) => engine.handshaking
const keyUpdatesOf = (engine: TLSEngine) => engine.keyUpdates
const recordsReadOf = (engine: TLSEngine) => engine.recordsRead
const authenticationsOf = (engine: TLSEngine) => engine.authentications

class EngineTransport implements Transport {
  readonly allowHalfOpen: boolean
  readonly peerLimit: PeerLimit | false = false
  readonly #engine: TLSEngine
  readonly #drainTimeout: number
  readonly #messages = new PostHandshakeMessages()
  #events!: TransportEvents

  #ready = false
  #handshaking = true
  #flowing = false
  #peerEnded = false
  #write: PendingWrite | undefined
  /** Runs while a pending write may stop reading. */
  #drainTimer: NodeJS.Timeout | undefined
  /** The timer has expired. */
  #readsAnyway = false
  #end: ((error?: Error | null) => void) | undefined
  #destroyed = false

  readonly #memory = new ReadMemory()
  #driving = false
  #moved = false
  /** Whether {@link #drive} goes on after process.nextTick(). */
  #waitsForTick = false
  /** Whether an immediate is due that continues. It is never cleared: see Outbox.#rest. */
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
    // Not now, because the stream is still being made.
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

  get recordLimit(): number | undefined {
    return this.#engine.recordLimit
  }

  get hasKeyUpdates(): boolean {
    return this.#engine.keyUpdates !== undefined
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

  /**
   * Writes and reads by turns, until neither makes progress.
   *
   * After data was read, no write finishes before process.nextTick(), as with a socket of Node.js. The http module of
   * Node.js 26 depends on it: what a listener for `data` writes to a message goes to the socket only then. The message
   * counts it together with what the socket has to write at the moment, and waits for a `drain` that never came if the
   * socket had finished that in between.
   */
  #drive(): void {
    this.#moved = true
    if (this.#driving || this.#waitsForTick) return
    this.#driving = true
    let steps = 0
    try {
      for (; this.#moved && !this.#destroyed && steps < STEPS_PER_TURN; steps++) {
        this.#moved = false
        this.#writeStep()
        // Before the end of the peer is read, or a request that was sent would count as a handshake in its middle.
        this.#tellMessages()
        const hasRead = this.#readStep()
        this.#tellHandshake()
        this.#tellMessages()
        if (hasRead && this.#write !== undefined && !this.#destroyed) {
          this.#moved = false
          this.#waitsForTick = true
          process.nextTick(this.#ticked)
        }
      }
    } finally {
      this.#driving = false
      // Either these were enough steps for one turn, or a listener of the application has thrown.
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

  readonly #ticked = (): void => {
    this.#waitsForTick = false
    this.#drive()
  }

  /**
   * Calls the engine. If it throws, reports the error, which ends the connection, and returns undefined. If the call was
   * to read a record of a handshake, it may have begun one and rejected it at once: the stream must know of it first.
   */
  #call<T>(call: (engine: TLSEngine) => T, readsHandshake = false): T | undefined {
    try {
      return call(this.#engine)
    } catch (error) {
      if (readsHandshake && !this.#handshaking) this.#events.handshakeStarted()
      if (!this.#destroyed) this.#events.error(error as Error)
      return undefined
    }
  }

  /** True if the engine throws, because nothing may be written then. */
  #isHandshaking(): boolean {
    return this.#call(handshakingOf) ?? true
  }

  /** Returns whether there was data. */
  #readStep(): boolean {
    if (this.#peerEnded || this.#destroyed || (this.#ready && !this.#flowing)) return false
    // After a failed read, the engine does not know any more what the record was.
    const nextRecord = this.#call(nextRecordOf)
    if (this.#destroyed || !this.#mayRead(nextRecord)) return false
    const got = this.#call(this.#read, nextRecord === 'handshake')
    // A callback of the engine may have destroyed the stream.
    if (typeof got !== 'number' || this.#destroyed) return false
    this.#moved = true
    if (got === 0) {
      this.#peerEnded = true
      this.#events.end()
    } else {
      this.#events.data(this.#memory.take(got), this.#call(recordsReadOf))
    }
    return got > 0
  }

  readonly #read = (engine: TLSEngine): number | Want => {
    const room = this.#memory.room(engine.readableBytes)
    return counted('read', engine.read(room), room)
  }

  readonly #isDestroyed = (): boolean => this.#destroyed

  #mayRead(nextRecord: RecordType | undefined): boolean {
    if (this.#write?.offered !== true) return true
    return nextRecord === undefined ? this.#readsAnyway : nextRecord !== 'handshake'
  }

  /** Called after read(): only there can a handshake begin or end, and the engine does not report it. */
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

  /** Reports the messages of TLS 1.3 that the engine has sent or read. */
  #tellMessages(): void {
    if (this.#destroyed || !this.#ready) return
    const keyUpdates = this.#call(keyUpdatesOf)
    if (keyUpdates === undefined) return
    const authentications = this.#call(authenticationsOf)
    if (this.#messages.report(keyUpdates, authentications, this.#events, this.#isDestroyed)) this.#moved = true
  }

  #writeStep(): void {
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
      // If the peer has closed its side, this handshake never ends, and no close_notify can be sent in it.
      if (!this.#peerEnded) return
    } else if (this.#call((engine) => engine.end()) !== true) {
      return
    }
    this.#end = undefined
    done()
  }
}

/** Checks a result of the engine. The -1 of SSL_read, for example, must not be taken for a count of bytes. */
function counted(method: 'read' | 'write', result: number | Want, { length }: Uint8Array): number | Want {
  if (result === 'want-read' || result === 'want-write') return result
  if (Number.isInteger(result) && result >= 0 && result <= length) return result
  throw new RangeError(
    `engine.${method}() must return 'want-read', 'want-write' or a count up to ${length}, got ${quote(result)}`,
  )
}
