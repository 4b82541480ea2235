/* The face that can be used wherever a tls.TLSSocket can. */
import { Duplex, type DuplexOptions, getDefaultHighWaterMark, Writable } from 'node:stream'
import tls from 'node:tls'
import { closedBeforeConnection, endedByPeer } from '../core/errors.ts'
import type { Face } from '../core/face.ts'
import { Gate } from '../core/gate.ts'
import { parseOptions, type RenegotiateOptions, type RenegotiationOptions } from '../core/options.ts'
import type { RenegotiationListening, RenegotiationStream } from '../core/renegotiation-stream.ts'
import type { RenegotiationReport } from '../core/report.ts'
import type { Revocation } from '../core/revocation.ts'
import { handleOf, isSecured, offersOnlyHTTP2 } from '../transports/node-internals.ts'
import {
  type ShownSession,
  type ShownTransport,
  sessionMethods,
  sessionProperties,
} from '../transports/shown-session.ts'
import { tlsSocketTransport } from '../transports/tls-socket.ts'
import { addHooks, type Gated, gateHooks } from './gate-hooks.ts'
import { addSocketMembers } from './socket-members.ts'

type Callback = (error?: Error | null) => void
// biome-ignore lint/suspicious/noExplicitAny: EventEmitter's own
type Listener = (...args: any[]) => void

/** Of the form of renegotiate() that Node has. */
type RenegotiateCallback = (error: Error | null) => void

/** Node's Duplex, with the type of a TLS socket. The end of this file does the same for `instanceof`. */
const DuplexOfTLSSocket = Duplex as unknown as new (
  options: DuplexOptions,
) => RenegotiationListening & tls.TLSSocket & Omit<Gated, 'renegotiate'>

/**
 * A drop-in replacement for a `tls.TLSSocket` that can renegotiate while data flows in both directions. `connect()`,
 * `createServer()` and `wrapTLSSocket()` return it.
 *
 * `instanceof` and TypeScript accept it as a `tls.TLSSocket`. Data passes through this stream; all other methods and
 * properties use the socket below. What it reports of the session (certificate, cipher, names) is what the last
 * successful handshake has proven.
 *
 * Differences from Node's socket: `secureConnect` and `secure` are emitted only once, and the timeout stays set through a
 * renegotiation. docs/compatibility.md lists all of them. Events besides those of a TLS socket: see `RenegotiationEvents`.
 */
export class RenegotiationTLSSocket extends DuplexOfTLSSocket implements RenegotiationStream {
  /** For tls.connect({ socket: stream }): `_unrefTimer` of net.Socket (Node 20, 22) follows it until it is null. */
  readonly _parent = null
  readonly #socket: tls.TLSSocket
  readonly #gate: Gate
  /** The answers of the getters about the session. */
  readonly #shown: ShownSession
  /** Whether the socket has not connected yet. After it is destroyed, `socket.connecting` no longer shows this. */
  #connecting = false
  /** The listeners that pass on events of the socket below, by event. Made when needed: most connections have none. */
  #passing: Map<string | symbol, Listener> | undefined

  /** `transport` carries the data of `socket`. Default: Node's own TLS. `revocation` has the lists of the server. */
  constructor(
    socket: tls.TLSSocket,
    options?: RenegotiationOptions,
    transport: ShownTransport = tlsSocketTransport(socket),
    revocation?: Revocation,
  ) {
    const settings = parseOptions(options)
    const isPaused = socket.isPaused()
    super({
      allowHalfOpen: transport.allowHalfOpen,
      readableHighWaterMark:
        chosen(socket.readableHighWaterMark, options, 'readableHighWaterMark') ?? settings.readableHighWaterMark,
      writableHighWaterMark:
        chosen(socket.writableHighWaterMark, options, 'writableHighWaterMark') ?? settings.writableHighWaterMark,
      // _destroy() emits `close` itself, with the argument that net.Socket gives it: whether there was an error.
      emitClose: false,
    })
    this.#socket = socket
    this.#shown = transport.shown
    // The tls.Server that accepted the socket. An own property, because http assigns to it. Some types don't have it.
    Object.assign(this, { server: (socket as { server?: unknown }).server })
    this.#gate = new Gate(this as unknown as Face, transport, settings, revocation)
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

  /** The socket below this stream. Use it only to look at its properties: do not write to it or read from it. */
  get socket(): tls.TLSSocket {
    return this.#socket
  }

  // What every stream of this package has

  /**
   * Begins a renegotiation when the write in flight has finished, and returns a promise of a report. It never throws; see
   * {@link RenegotiationStream.renegotiate}.
   */
  override renegotiate(options?: RenegotiateOptions): Promise<RenegotiationReport>
  /**
   * The form of Node.js: calls `callback` exactly once, with an error or null. Returns undefined if the stream is
   * already destroyed, else true. The default of `rejectUnauthorized` is what the server was made with.
   *
   * @throws TypeError (`ERR_INVALID_ARG_TYPE`) if `options` is not an object or `callback` is not a function.
   */
  override renegotiate(options: RenegotiateOptions, callback: RenegotiateCallback): boolean | undefined
  override renegotiate(
    options?: RenegotiateOptions,
    callback?: RenegotiateCallback,
  ): Promise<RenegotiationReport> | boolean | undefined {
    if (callback === undefined) return this.#gate.renegotiate(options)
    if (!isPlainObject(options) || typeof callback !== 'function') {
      return this.#socket.renegotiate(options as object, callback) // Node throws its own error.
    }
    const asked = this.destroyed ? undefined : true
    const asMade = this.#gate.transport.certificatePolicy
    const { requestCert, rejectUnauthorized = requestCert && asMade?.rejectUnauthorized } =
      options as RenegotiateOptions
    // In a tick of its own: if the callback throws, that is an uncaught exception, as with Node, not a rejection.
    this.#gate.renegotiate({ ...options, rejectUnauthorized }).then(
      () => process.nextTick(callback, null),
      (error: Error) => process.nextTick(callback, error),
    )
    return asked
  }

  // The stream hooks that differ from those of a RenegotiationDuplex

  static readonly #hooks = gateHooks(Duplex, Writable, (face: RenegotiationTLSSocket) => face.#gate)
  static {
    addHooks(RenegotiationTLSSocket.prototype, RenegotiationTLSSocket.#hooks)
    addSocketMembers<RenegotiationTLSSocket>(
      RenegotiationTLSSocket.prototype,
      (face) => face.#socket,
      (face) => face.#gate.heldBytes,
    )
  }

  // biome-ignore lint/suspicious/noExplicitAny: Writable's own signature
  override write(chunk: any, encoding?: any, callback?: any): boolean {
    if (this.writableEnded && this.readableEnded && !this.allowHalfOpen) {
      return this.#writeAfterEnd(typeof encoding === 'function' ? encoding : callback)
    }
    return RenegotiationTLSSocket.#hooks.write.call(this, chunk, encoding, callback)
  }

  /** Fails with EPIPE, as net.Socket does after the peer's end: the application need not have called end() itself. */
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

  /**
   * Wraps the callback of a write that waits for the connection. If the socket never connects, the callback gets
   * ERR_SOCKET_CLOSED_BEFORE_CONNECTION when `close` is emitted, as with net.Socket.
   */
  #beforeConnection(done: Callback): Callback {
    const neverConnected = () => {
      if (this.#connecting) done(closedBeforeConnection())
    }
    this.once('close', neverConnected)
    return (error) => {
      if (error && this.#connecting) return
      this.off('close', neverConnected)
      done(error)
    }
  }

  override _destroy(reason: Error | null, done: (error: Error | null) => void): void {
    // The socket below may have failed in the turn in which both sides of the stream ended, with `error` still to come.
    const untold = this.#gate.isTransportClosed ? null : this.#socket.errored
    const error = reason ?? (untold && this.#gate.explain(untold))
    this.#gate.destroy(error, () => {
      for (const [event, listener] of this.#passing ?? []) this.#socket.off(event, listener)
      // In a later tick, so that it follows `error` even if the socket below had already closed.
      process.nextTick(() => this.emit('close', error !== null))
    })
    // At once, as Node does: an application that also has the TCP socket below gets `error` before that socket closes.
    done(error)
  }

  // Members that differ from those of the socket below

  /**
   * Null, except for HTTP/2: Node's HTTP parser and tls would use the handle to bypass the gate. HTTP/2 gets the handle of
   * the socket below. It forbids renegotiation, and without a handle, http2 would assume that the socket is connected
   * already and not encrypted.
   */
  get _handle(): object | null {
    const socket = this.#socket
    if (this.#shown.property('alpnProtocol') !== 'h2' && !offersOnlyHTTP2(socket)) return null
    // An http2 session takes over this stream's buffer, then the handle. What the socket holds must not stay behind.
    while (socket.read() !== null);
    return handleOf(socket)
  }

  /** Node's other name for `_handle`. */
  get ssl(): object | null {
    return this._handle
  }

  override setTimeout(milliseconds: number, callback?: () => void): this {
    this.#socket.setTimeout(milliseconds, typeof callback === 'function' ? undefined : callback) // Node throws its error.
    if (callback === undefined) return this
    return milliseconds === 0 ? this.off('timeout', callback) : this.once('timeout', callback)
  }

  // The getters about the session
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
        // With Node, these are plain properties, and some programs assign to them.
        set(value: unknown) {
          this.#shown.setProperty(name, value)
        },
      })
    }
  }

  // Defined here and not as methods, which would have to repeat all overloads of TLSSocket and of this package.
  static {
    // Events are passed on only to listeners: listening for `session`, `keylog` or `OCSPResponse` costs OpenSSL work.
    for (const name of ['on', 'addListener', 'prependListener'] as const) {
      define(RenegotiationTLSSocket.prototype, name, {
        writable: true,
        value(event: string | symbol, listener: Listener) {
          this.#heard(event)
          return Duplex.prototype[name].call(this, event, listener)
        },
      })
    }

    // tls.connect({ socket: stream }) assumes that a socket without a handle is not connected, and waits for `connect`.
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

  /** From now on, emits this event of the socket below on this stream as well. */
  #passOn(event: string | symbol): void {
    this.#passing ??= new Map()
    const listener = (...args: unknown[]) => {
      if (passedOnOnce.has(event)) {
        if (!this.#gate.admits()) return
        this.#socket.off(event, listener)
        this.#passing?.delete(event)
      }
      // OpenSSL reports a new session before the end of its handshake.
      if (event === 'session') this.#shown.whenJudged(() => this.emit(event as string, ...args))
      else this.emit(event as string, ...args)
    }
    this.#passing.set(event, listener)
    this.#socket.on(event as string, listener)
  }
}

function isPlainObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The socket's high water mark in bytes, if it was set explicitly and the options of the stream set none. */
function chosen(
  highWaterMark: number,
  { highWaterMark: both, ...options }: RenegotiationOptions = {},
  name: 'readableHighWaterMark' | 'writableHighWaterMark',
): number | undefined {
  if ((options[name] ?? both) !== undefined || highWaterMark === getDefaultHighWaterMark(false)) return undefined
  return highWaterMark
}

/** Events of the socket below that are passed on once they have a listener. */
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
/**
 * Events that Node emits with every handshake, and this stream only with the first. Passed on from the beginning, because
 * nothing shows later whether they have been emitted.
 */
const passedOnOnce = new Set<string | symbol>(['secure', 'secureConnect'])

type Member = PropertyDescriptor & ThisType<RenegotiationTLSSocket>

function define(prototype: object, name: string, descriptor: Member): void {
  Object.defineProperty(prototype, name, { configurable: true, ...descriptor })
}

/*
 * Puts instances on the prototype chain of tls.TLSSocket, so that `instanceof` accepts them. super() still calls Duplex,
 * the prototype of the class itself: the constructor of TLSSocket would make a socket of its own.
 */
Object.setPrototypeOf(RenegotiationTLSSocket.prototype, tls.TLSSocket.prototype)
