import type { PostHandshakeKind } from '../core/report.ts'
import type { TransportEvents } from '../core/transport.ts'
import type { ShownSession } from '../transports/shown-session.ts'
import type { OpenSSLSocket } from './openssl-socket.ts'

/**
 * Judges the peer after a handshake, as Node.js does, and sets `authorized` and `authorizationError` of the socket. Returns
 * the error with which the connection must end.
 */
export type Judge = (socket: OpenSSLSocket) => Error | undefined

/** Passes the events of an engine's transport on to the stream. The peer is judged in between. */
export class JudgedEvents implements TransportEvents {
  /** Whether the end of the peer was passed on. */
  peerEnded = false
  readonly #socket: OpenSSLSocket
  readonly #shown: ShownSession
  readonly #judge: Judge
  readonly #events: TransportEvents
  readonly #over: () => void

  /** `over` is called when the peer has ended, or the engine is destroyed. */
  constructor(socket: OpenSSLSocket, shown: ShownSession, judge: Judge, events: TransportEvents, over: () => void) {
    this.#socket = socket
    this.#shown = shown
    this.#judge = judge
    this.#events = events
    this.#over = over
  }

  ready(): void {
    const socket = this.#socket
    this.#shown.established()
    const error = this.#judge(socket)
    if (error !== undefined) {
      this.#events.error(error)
      return
    }
    socket.established()
    this.#events.ready()
    socket.emit('secure')
    if (!socket._tlsOptions.isServer) socket.emit('secureConnect')
  }

  data(chunk: Buffer, records?: number): void {
    this.#socket.received(chunk.length)
    this.#events.data(chunk, records)
  }

  end(): void {
    this.peerEnded = true
    this.#events.end()
    this.#over()
  }

  handshakeStarted(): void {
    this.#events.handshakeStarted()
  }

  handshakeDone(): void {
    // A server's policy is judged by the stream. If the session was resumed, nothing was verified that was not before.
    const isJudged = this.#socket._tlsOptions.isServer || this.#socket.isSessionReused()
    const error = isJudged ? undefined : this.#judge(this.#socket)
    if (error === undefined) this.#events.handshakeDone()
    else this.#events.error(error)
  }

  requestSent(): void {
    this.#events.requestSent()
  }

  requestAnswered(kind: PostHandshakeKind): void {
    this.#events.requestAnswered(kind)
  }

  peerUpdated(kind: PostHandshakeKind): void {
    this.#events.peerUpdated(kind)
  }

  error(reported: Error): void {
    const error = this.#socket.failure ?? reported
    const isFirst = this.#socket.errored === null
    this.#socket.errored ??= error
    // If the server ends before the handshake, a client emits `end` before `error`, as with Node.js.
    if (!this.#hasEndedEarly) {
      this.#events.error(error)
    } else if (isFirst) {
      // First, because the stream has an error of its own for a peer that ended too early.
      setImmediate(() => this.#events.error(error))
      this.#events.end()
    }
  }

  get #hasEndedEarly(): boolean {
    const { _secureEstablished, _tlsOptions, below } = this.#socket
    return !_secureEstablished && !_tlsOptions.isServer && below.readableEnded
  }

  closed(): void {
    this.#over()
  }
}
