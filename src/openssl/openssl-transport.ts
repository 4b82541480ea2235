/* The transport over an OpenSSL engine, with what a face of a TLS socket needs in addition. */
import { finished } from 'node:stream'
import tls from 'node:tls'
import type { PeerLimit } from '../core/options.ts'
import type { PeerCertificates } from '../core/peer-certificates.ts'
import type {
  CertificatePolicy,
  HandshakeFailure,
  HandshakeOptions,
  Session,
  Transport,
  TransportEvents,
  WriteCallback,
} from '../core/transport.ts'
import { engineTransport } from '../transports/engine.ts'
import { writeGathered } from '../transports/gather.ts'
import { ShownSession } from '../transports/shown-session.ts'
import { TLSPeerCertificates } from '../transports/tls-peer-certificates.ts'
import type { OpenSSLEngine } from './engine.ts'
import { type Judge, JudgedEvents } from './judged-events.ts'
import type { OpenSSLSocket } from './openssl-socket.ts'

/** As many key updates as a peer makes with one every 100 ms. OpenSSL is about to close connections with more. */
const KEY_UPDATE_LIMIT: PeerLimit = { max: 600, windowMs: 60_000 }

/**
 * Passes everything on between a stream and {@link engineTransport}. In between, it keeps what the stream shows of the
 * session: while a handshake is in progress, what was proven before it. It judges the peer as Node.js does, and waits
 * for the stream below to close.
 */
export class OpenSSLTransport implements Transport {
  readonly shown: ShownSession
  readonly allowHalfOpen: boolean
  readonly peerCertificates: PeerCertificates
  readonly #socket: OpenSSLSocket
  readonly #engine: OpenSSLEngine
  readonly #inner: Transport
  readonly #judge: Judge
  #events!: TransportEvents
  #judged!: JudgedEvents
  #servername = ''
  /** To be called when the stream below has ended. */
  #ended: (() => void) | undefined
  #isDestroyed = false
  #isClosedBelow = false
  #isClosed = false

  /** `ca` is the option of the connection. */
  constructor(socket: OpenSSLSocket, judge: Judge, allowHalfOpen: boolean, ca?: unknown) {
    this.#socket = socket
    this.#engine = socket.engine
    this.#judge = judge
    this.allowHalfOpen = allowHalfOpen
    this.shown = new ShownSession(socket as unknown as tls.TLSSocket)
    this.peerCertificates = new TLSPeerCertificates(socket as unknown as tls.TLSSocket, this.shown, ca)
    // OpenSSL shows what the peer claims in a handshake before it has proven it.
    this.#engine.onHandshake = () => this.shown.freeze()
    this.#inner = engineTransport(this.#engine, { allowHalfOpen })
  }

  attach(events: TransportEvents): void {
    this.#events = events
    this.#judged = new JudgedEvents(this.#socket, this.shown, this.#judge, events, () => this.#checkClosed())
    this.#inner.attach(this.#judged)
    const { below } = this.#socket
    const closed = () => {
      this.#isClosedBelow = true
      this.#tellEnded()
      this.#checkClosed()
    }
    if (below.closed) setImmediate(closed)
    else below.once('close', closed)
  }

  allowResumption(allowed: boolean): void {
    this.#engine.renegotiation.allowResumption(allowed)
  }

  get isServer(): boolean {
    return this.#engine.isServer
  }

  get peerLimit(): PeerLimit | false {
    if (this.hasKeyUpdates) return KEY_UPDATE_LIMIT
    return this.isServer && { max: tls.CLIENT_RENEG_LIMIT, windowMs: tls.CLIENT_RENEG_WINDOW * 1000 }
  }

  get certificatePolicy(): CertificatePolicy | undefined {
    return this.#engine.certificatePolicy
  }

  get hasKeyUpdates(): boolean {
    return this.#engine.keyUpdates !== undefined
  }

  get recordLimit(): number | undefined {
    return this.#engine.recordLimit
  }

  write(buffer: Uint8Array, done: WriteCallback): void {
    this.#inner.write(buffer, (error, bytes = 0) => {
      this.#socket.sent(bytes)
      done(error, bytes)
    })
  }

  /** Copies small buffers into one, so that OpenSSL makes one record of them. */
  writev(buffers: readonly Uint8Array[], done: WriteCallback): void {
    writeGathered(this, buffers, done)
  }

  /** Calls back when the stream below has ended as well, or has closed, as with Node.js. */
  end(done: (error?: Error | null) => void): void {
    this.#inner.end(() => {
      this.#ended = done
      // In the middle of a handshake that the peer has left, no close_notify was sent.
      if (this.#engine.handshaking) this.#engine.endOutput()
      finished(this.#socket.below, { readable: false }, () => this.#tellEnded())
    })
  }

  #tellEnded(): void {
    const ended = this.#ended
    this.#ended = undefined
    ended?.()
  }

  pause(): void {
    this.#inner.pause()
  }

  resume(): void {
    this.#inner.resume()
  }

  destroy(): void {
    this.#isDestroyed = true
    this.#socket.ended()
    this.#inner.destroy()
  }

  renegotiate(options: HandshakeOptions): void {
    if (this.hasKeyUpdates && options.requestCert === true && this.#socket.alpnProtocol === 'h2') {
      throw new Error('HTTP/2 forbids to ask for a certificate after the handshake (RFC 9113, 9.2.3)')
    }
    // From now on, a certificate may come at any time. OpenSSL shows it before the peer has proven that it is its own.
    if (!this.hasKeyUpdates || options.requestCert === true) this.shown.freeze()
    try {
      this.#inner.renegotiate(options)
    } catch (error) {
      this.shown.unchanged()
      throw error
    }
  }

  accepted(session: Session): void {
    // After a key update, when the certificate is still to come. OpenSSL shows it before its proof.
    const { sent = 0, answered = 0 } = this.#engine.authentications ?? {}
    if (sent === answered) this.shown.accept(session)
  }

  unsupported(): string | undefined {
    if (this.hasKeyUpdates) return undefined
    const { alpnProtocol, renegotiationDisabled } = this.#socket
    if (alpnProtocol === 'h2') return 'HTTP/2 forbids renegotiation (RFC 9113, 9.2.1)'
    return renegotiationDisabled ? 'disableRenegotiation() was called on the socket' : undefined
  }

  session(): Session {
    const session = this.#inner.session()
    if (this.isServer) {
      // A client may leave it out of a renegotiation.
      this.#servername = session.servername || this.#servername
      return { ...session, servername: this.#servername }
    }
    // The engine does not know the host name that the certificate must have.
    const { authorized, authorizationError } = this.#socket
    return { ...session, authorized, authorizationError: authorizationError ?? undefined }
  }

  failure(error: Error): HandshakeFailure | undefined {
    return this.#inner.failure?.(error)
  }

  /**
   * Reports the end of everything, once. After destroy(), what is left is still sent, and the stream below closes later.
   * If that closes before, the engine may still have data that the application has not read.
   */
  #checkClosed(): void {
    if (this.#isClosed || !this.#isClosedBelow) return
    const { readableEnded } = this.#socket.below
    if (!this.#isDestroyed && readableEnded && !this.#judged.peerEnded) return
    this.#isClosed = true
    if (!this.#isDestroyed) this.destroy()
    this.#events.closed()
  }
}
