import { Duplex, type DuplexOptions, getDefaultHighWaterMark, Writable } from 'node:stream'
import tls from 'node:tls'
import { closedBeforeConnection, endedByPeer, invalidType } from '../core/errors.ts'
import { type Face, Gate } from '../core/gate.ts'
import {
  mustBeObject,
  parseOptions,
  quote,
  type RenegotiateOptions,
  type RenegotiationOptions,
} from '../core/options.ts'
import type { RenegotiationListening, RenegotiationStream } from '../core/renegotiation-stream.ts'
import type { RenegotiationReport } from '../core/report.ts'
import { handleOf, isSecured, offersOnlyHTTP2 } from '../transports/node-internals.ts'
import { type ShownSession, sessionMethods, sessionProperties } from '../transports/shown-session.ts'
import { tlsSocketTransport } from '../transports/tls-socket.ts'
import { addHooks, type Gated, gateHooks } from './gate-hooks.ts'
import { addSocketMembers } from './socket-members.ts'

type Callback = (error?: Error | null) => void
// biome-ignore lint/suspicious/noExplicitAny: EventEmitter's own
type Listener = (...args: any[]) => void

/** What Node's own form of renegotiate() calls back. */
type RenegotiateCallback = (error: Error | null) => void

/** Core's Duplex, to TypeScript a TLS socket; and it is one to `instanceof` too, see the end of this file. */
const DuplexOfTLSSocket = Duplex as unknown as new (
  options: DuplexOptions,
) => RenegotiationListening & tls.TLSSocket & Omit<Gated, 'renegotiate'>

/**
 * The drop-in: everywhere a tls.TLSSocket, to `instanceof` and to TypeScript,
 * but one that can renegotiate in the middle of traffic. What a TLS socket
 * tells and sets, the socket below tells and sets; what goes through it goes
 * through the gate.
 *
 * Differs from Node's own where that is not as it should be: `secureConnect` and
 * `secure` are emitted once; the timeout lives through renegotiations.
 *
 * Besides a TLS socket's events, those of {@link RenegotiationStream}.
 */
export class RenegotiationTLSSocket extends DuplexOfTLSSocket implements RenegotiationStream {
  /** What lies below. To be left alone, but for what it tells. */
  readonly socket: tls.TLSSocket
  /** For tls.connect({ socket }): Node 20 and 22 walk along it to the last one (net.Socket's `_unrefTimer`). */
  readonly _parent = null
  readonly #gate: Gate
  /** What is said of the session: only what a handshake that was judged good has proven. */
  readonly #shown: ShownSession
  /** There has not been a connection yet. Of the socket below, nothing tells it any more when it is destroyed. */
  #connecting = false
  /** The events of the socket below that are passed on, and by what. Most connections have no listener for any. */
  #passing: Map<string | symbol, Listener> | undefined

  constructor(socket: tls.TLSSocket, options?: RenegotiationOptions) {
    const settings = parseOptions(options)
    const transport = tlsSocketTransport(socket)
    const isPaused = socket.isPaused()
    super({
      allowHalfOpen: transport.allowHalfOpen,
      readableHighWaterMark:
        chosen(socket.readableHighWaterMark, options, 'readableHighWaterMark') ?? settings.readableHighWaterMark,
      writableHighWaterMark:
        chosen(socket.writableHighWaterMark, options, 'writableHighWaterMark') ?? settings.writableHighWaterMark,
      // As net.Socket has it: `close` tells whether there was an error.
      emitClose: false,
    })
    this.socket = socket
    this.#shown = transport.shown
    // The tls.Server that accepted it: a property of our own, for http assigns itself to it. Not in every version of the types.
    Object.assign(this, { server: (socket as { server?: unknown }).server })
    this.#gate = new Gate(this as unknown as Face, transport, settings)
    if (socket.connecting) {
      this.#connecting = true
      socket.once('connect', () => {
        this.#connecting = false
      })
    }
    if (!isSecured(socket)) for (const event of passedOnOnce) this.#passOn(event)
    if (transport.ended) this.end()
    if (isPaused) this.pause()
  }

  // What every stream of this package has.

  /**
   * Without a callback as every stream of this package has it; with one as
   * Node has it: returns whether it could be asked for, and calls back once.
   */
  override renegotiate(options?: RenegotiateOptions): Promise<RenegotiationReport>
  override renegotiate(options: RenegotiateOptions, callback: RenegotiateCallback): boolean | undefined
  override renegotiate(
    options?: RenegotiateOptions,
    callback?: RenegotiateCallback,
  ): Promise<RenegotiationReport> | boolean | undefined {
    if (callback === undefined) return this.#gate.renegotiate(options)
    mustBeObject('options', options)
    if (typeof callback !== 'function') throw invalidType(`callback must be a function, got ${quote(callback)}`)
    const asked = this.destroyed ? undefined : true
    // In a turn of its own: what it throws is an uncaught exception, as with Node, and no rejection.
    this.#gate.renegotiate(options).then(
      () => process.nextTick(callback, null),
      (error: Error) => process.nextTick(callback, error),
    )
    return asked
  }

  // The stream hooks that differ from those of other streams of this package.

  static readonly #hooks = gateHooks(Duplex, Writable, (face: RenegotiationTLSSocket) => face.#gate)
  static {
    addHooks(RenegotiationTLSSocket.prototype, RenegotiationTLSSocket.#hooks)
  }

  // biome-ignore lint/suspicious/noExplicitAny: Writable's own signature
  override write(chunk: any, encoding?: any, callback?: any): boolean {
    if (this.writableEnded && this.readableEnded && !this.allowHalfOpen) {
      return this.#writeAfterEnd(typeof encoding === 'function' ? encoding : callback)
    }
    return RenegotiationTLSSocket.#hooks.write.call(this, chunk, encoding, callback)
  }

  /** As net.Socket does it: who writes has not made the mistake of writing after an end() of its own. */
  #writeAfterEnd(callback: unknown): boolean {
    const error = endedByPeer()
    if (typeof callback === 'function') process.nextTick(callback as Callback, error)
    this.destroy(error)
    return false
  }

  override pause(): this {
    Duplex.prototype.pause.call(this)
    return this
  }

  override resume(): this {
    Duplex.prototype.resume.call(this)
    return this
  }

  override _write(chunk: Buffer, _encoding: string, done: Callback): void {
    this.#gate.write(chunk, this.#connecting ? this.#beforeConnection(done) : done)
  }

  override _writev(chunks: { chunk: Buffer }[], done: Callback): void {
    this.#gate.writev(chunks, this.#connecting ? this.#beforeConnection(done) : done)
  }

  /** As net.Socket has it: what fails to be written because there never was a connection says so, with `close`. */
  #beforeConnection(done: Callback): Callback {
    const neverConnected = () => done(closedBeforeConnection())
    this.once('close', neverConnected)
    return (error) => {
      if (error && this.#connecting) return
      this.off('close', neverConnected)
      done(error)
    }
  }

  override _destroy(reason: Error | null, done: (error: Error | null) => void): void {
    // Both sides of the stream may have ended in the turn in which the socket below failed, which it is still to tell.
    const untold = this.#gate.isTransportClosed ? null : this.socket.errored
    const error = reason ?? (untold && this.#gate.explain(untold))
    this.#gate.destroy(error, () => {
      for (const [event, listener] of this.#passing ?? []) this.socket.off(event, listener)
      // After `error`, even where the socket was closed before it.
      process.nextTick(() => this.emit('close', error !== null))
    })
    // At once, as Node does it: who also listens to a socket of their own below hears why before that closes.
    done(error)
  }

  // What differs from what the socket below says.

  /**
   * None: through it Node's http parser and tls would go past the gate. HTTP/2
   * has that of the socket below, for it has no renegotiation, and without a
   * handle http2 takes a connection for one that is there already, and for
   * one without TLS.
   */
  get _handle(): object | null {
    const { socket } = this
    if (this.#shown.property('alpnProtocol') !== 'h2' && !offersOnlyHTTP2(socket)) return null
    // An http2 session takes over what is in our own buffer, and then the handle. In between, nothing must be left.
    while (socket.read() !== null);
    return handleOf(socket)
  }

  /** Node's other name for it. */
  get ssl(): object | null {
    return this._handle
  }

  override setTimeout(milliseconds: number, callback?: () => void): this {
    this.socket.setTimeout(milliseconds)
    if (callback === undefined) return this
    return milliseconds === 0 ? this.off('timeout', callback) : this.once('timeout', callback)
  }

  // What is said of the session.
  static {
    for (const name of [...sessionMethods, 'exportKeyingMaterial'] as const) {
      define(RenegotiationTLSSocket.prototype, name, {
        writable: true,
        value(...args: unknown[]) {
          return this.#shown.method(name, args)
        },
      })
    }
    for (const name of sessionProperties) {
      define(RenegotiationTLSSocket.prototype, name, {
        enumerable: true,
        get() {
          return this.#shown.property(name)
        },
        // Some set what a socket of Node's has as a plain property.
        set(value: unknown) {
          this.#shown.setProperty(name, value)
        },
      })
    }
  }

  // Out of the way of the types that listening has: those of TLSSocket, and of the events of this package.
  static {
    // Only what somebody listens to is passed on: `session`, `keylog` and `OCSPResponse` are asked of OpenSSL otherwise.
    for (const name of ['on', 'addListener', 'prependListener'] as const) {
      define(RenegotiationTLSSocket.prototype, name, {
        writable: true,
        value(event: string | symbol, listener: Listener) {
          this.#heard(event)
          return Duplex.prototype[name].call(this, event, listener)
        },
      })
    }

    // tls.connect({ socket }) takes a socket without a handle for one that is not connected yet, and waits for it.
    define(RenegotiationTLSSocket.prototype, 'once', {
      writable: true,
      value(event: string | symbol, listener: Listener) {
        Duplex.prototype.once.call(this, event, listener)
        if (event === 'connect' && !this.connecting) {
          process.nextTick(() => {
            if (!this.listeners(event).includes(listener)) return
            this.off(event, listener)
            listener()
          })
        }
        return this
      },
    })
  }

  #heard(event: string | symbol): void {
    if (passedOn.has(event) && !this.#passing?.has(event)) this.#passOn(event)
  }

  /** The event of the socket below is one of ours from now on. */
  #passOn(event: string | symbol): void {
    this.#passing ??= new Map()
    const listener = (...args: unknown[]) => {
      if (passedOnOnce.has(event)) {
        this.socket.off(event, listener)
        this.#passing?.delete(event)
      }
      // A new session comes before the end of its handshake.
      if (event === 'session') this.#shown.whenJudged(() => this.emit(event as string, ...args))
      else this.emit(event as string, ...args)
    }
    this.#passing.set(event, listener)
    this.socket.on(event as string, listener)
  }
}

/** The socket's own high water mark in bytes, where somebody has chosen it, and nothing else for the stream. */
function chosen(
  highWaterMark: number,
  { highWaterMark: both, ...options }: RenegotiationOptions = {},
  name: 'readableHighWaterMark' | 'writableHighWaterMark',
): number | undefined {
  if ((options[name] ?? both) !== undefined || highWaterMark === getDefaultHighWaterMark(false)) return undefined
  return highWaterMark
}

/** Events of the socket below that are events of ours, from when somebody listens to them. */
const passedOn = new Set<string | symbol>([
  'lookup',
  'connect',
  'ready',
  'timeout',
  'connectionAttempt',
  'connectionAttemptFailed',
  'connectionAttemptTimeout',
  'session',
  'keylog',
  'OCSPResponse',
])
/** Node emits them with every handshake. Passed on from the beginning: later, nothing tells whether they have been. */
const passedOnOnce = new Set<string | symbol>(['secure', 'secureConnect'])

function define(
  prototype: RenegotiationTLSSocket,
  name: string,
  descriptor: PropertyDescriptor & ThisType<RenegotiationTLSSocket>,
): void {
  Object.defineProperty(prototype, name, { configurable: true, ...descriptor })
}

const { prototype } = RenegotiationTLSSocket

/*
 * On the prototype chain of a TLS socket, whose constructor isn't run: that would make a socket of its own. The one that
 * is run is the class's own prototype, Duplex.
 */
Object.setPrototypeOf(prototype, tls.TLSSocket.prototype)
addSocketMembers(prototype)
