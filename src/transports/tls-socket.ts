/* The transport over a TLS socket of Node. */
import tls, { type TLSSocket } from 'node:tls'
import { RenegotiationError } from '../core/errors.ts'
import { type PeerLimit, refuseServerOptions } from '../core/options.ts'
import type { PeerCertificates } from '../core/peer-certificates.ts'
import type { CertificatePolicy, HandshakeOptions, Session, Transport, WriteCallback } from '../core/transport.ts'
import { refuseTickets } from './full-handshake.ts'
import { writeGathered } from './gather.ts'
import { KeptSettings } from './kept-settings.ts'
import { reportIfLost } from './lost-write.ts'
import {
  certificatePolicy,
  hasBegunAnother,
  isSecured,
  isSecurePending,
  isServer,
  mendJavaScriptStream,
  NOT_MENDED,
  onHandshakes,
  onHiddenErrors,
  renegotiationDisabled,
  restoreCertificatePolicy,
  warnWithoutHook,
} from './node-internals.ts'
import { trustedOption } from './node-internals-socket.ts'
import { openSSLFailure } from './openssl-failure.ts'
import { ShownSession } from './shown-session.ts'
import { SocketsBelow } from './sockets-below.ts'
import { StreamTransport } from './stream-transport.ts'
import { TLSPeerCertificates } from './tls-peer-certificates.ts'
import { exportedKeys, identity, nameAskedFor, notVerified, readSession, verifiedHere } from './tls-session.ts'
import { mustBeWrappable } from './wrappable.ts'

/**
 * Makes a transport over a `tls.TLSSocket` of a client or a server. From then on, do not write to the socket, read
 * from it, end it or renegotiate. It still emits its events, and `secure` and `secureConnect` with every handshake.
 * @throws {TypeError} if `socket` is not a tls.TLSSocket, has an encoding set or was made with the option `onread`.
 *   `new RenegotiationDuplex()` throws one if the socket is wrapped already.
 *
 * @example
 * ```js
 * const socket = tls.connect({ host: 'plant.example', port: 8883, maxVersion: 'TLSv1.2' })
 * const stream = new RenegotiationDuplex(tlsTransport(socket))
 * const { verified } = await stream.renegotiate()
 * ```
 */
export function tlsTransport(socket: TLSSocket): Transport {
  return tlsSocketTransport(socket)
}

/** Like {@link tlsTransport}, with the type that a RenegotiationTLSSocket needs. */
export function tlsSocketTransport(socket: TLSSocket): TLSSocketTransport {
  mustBeWrappable(socket)
  return new TLSSocketTransport(socket)
}

export class TLSSocketTransport extends StreamTransport<TLSSocket> {
  readonly shown: ShownSession
  readonly failure = openSSLFailure
  #ready = false
  #handshaking = false
  /** How often OpenSSL has reported the start of this handshake: twice for a server's request and the answer to it. */
  #starts = 0
  /** Whether this end began the handshake in progress. */
  #local = false
  /** {@link Session.keys} as they are until the peer's hello. Undefined if no handshake is in progress. */
  #keysUnanswered: Buffer | undefined
  #settings: KeptSettings | undefined
  /** The first server name that the client is known to have requested (SNI), '' for none. */
  #servername: string | undefined
  /** The server's usual policy, while a handshake has a different one. */
  #policy: CertificatePolicy | undefined
  /** Whether the server was verified when the handshake began, and Node does not verify it again. */
  #mustVerify = false
  /** Node's `authorized` when the handshake began. */
  #authorized = false
  /** Whether renegotiations may resume the session. Only on a server. */
  #resumption = false
  /** Whether the handshake that this end has begun must be a full one. */
  #full = false
  /** Whether a HelloRequest was taken back. Node may have lost it, and may lose every write from then on. */
  #tookBack = false
  #removeHook: (() => void) | undefined
  #below: SocketsBelow | undefined
  /** Whether the stream below the socket can carry a handshake under traffic. See mendJavaScriptStream(). */
  #carriesHandshakes = true
  /** Kept only without the hook: a handshake is noticed in its middle then, when the keys may be new already. */
  #lastSession: Session | undefined

  constructor(socket: TLSSocket) {
    super(socket)
    this.shown = new ShownSession(socket)
  }

  get isServer(): boolean {
    return isServer(this.stream)
  }

  get peerLimit(): PeerLimit | false {
    return this.isServer && { max: tls.CLIENT_RENEG_LIMIT, windowMs: tls.CLIENT_RENEG_WINDOW * 1000 }
  }

  get certificatePolicy(): CertificatePolicy | undefined {
    return this.#policy ?? certificatePolicy(this.stream)
  }

  get peerCertificates(): PeerCertificates {
    return new TLSPeerCertificates(this.stream, this.shown, trustedOption(this.stream))
  }

  /** The hello of either end changes the exported keying material, because its random is part of it. */
  get peerAnswered(): boolean {
    if (this.#keysUnanswered === undefined || this.stream.destroyed) return false
    return !exportedKeys(this.stream).equals(this.#keysUnanswered)
  }

  /** After the HelloRequest, OpenSSL takes data as before. The hook reports the ClientHello before it is processed. */
  get awaitsAnswer(): boolean | undefined {
    if (!this.isServer) return undefined
    return this.#local && this.#starts === 1 && this.#removeHook !== undefined
  }

  protected override attached(): void {
    const socket = this.stream
    onHiddenErrors(socket, (error) => this.events.error(error))
    this.#below = SocketsBelow.watch(socket, () => this.#closedBelow())
    socket.on('secure', this.#onSecure)
    // Must run before Node's own listener, which emits `secureConnect`.
    if (isSecured(socket)) this.#firstHandshakeDone()
    else socket.prependOnceListener('secure', this.#onEstablished)
  }

  protected override detached(): void {
    this.#removeHook?.()
    this.stream.off('secure', this.#onEstablished)
    this.stream.off('secure', this.#onSecure)
    this.stream.off('keylog', this.#onHandshakeStart)
  }

  /**
   * Copies the buffers into one, because Node does that more slowly: each buffer goes through its Writable, and then
   * they are copied (TLSWrap::DoWrite). Node does not need the memory any more when it calls back.
   */
  override writev(buffers: readonly Uint8Array[], done: WriteCallback): void {
    writeGathered(this, buffers, done)
  }

  allowResumption(allowed: boolean): void {
    if (!this.isServer) refuseServerOptions({ resumption: allowed })
    this.#resumption = allowed
  }

  renegotiate({ requestCert, full }: HandshakeOptions): void {
    const socket = this.stream
    const policy = certificatePolicy(socket)
    this.#begin()
    this.#local = true
    this.#full = full === true
    // With `rejectUnauthorized`, an invalid certificate makes Node destroy the socket without an error.
    const options = policy && { requestCert: requestCert === true, rejectUnauthorized: false }
    this.#policy = policy
    // A callback would stay on the socket as a listener for `secure`.
    const begun = (socket.renegotiate as (options: object) => boolean | undefined)(options ?? {})
    if (begun === false) {
      this.#over()
      this.shown.unchanged()
      throw new Error('socket.renegotiate() returned false: OpenSSL does not allow it in this context or state')
    }
  }

  /** Possible after a HelloRequest, which a client may ignore (RFC 5246, 7.4.1.1), and does after its close_notify. */
  takeBack(): boolean {
    if (!this.isServer || this.#removeHook === undefined || this.#starts > 1) return false
    this.#tookBack = true
    this.#over()
    this.shown.unchanged()
    return true
  }

  accepted(session: Session): void {
    this.shown.accept(session)
    this.#servername ??= session.servername
    // Without the hook, the next handshake is noticed only after its first messages were processed.
    if (this.#removeHook === undefined) this.shown.freeze()
  }

  override write(buffer: Uint8Array, done: WriteCallback): void {
    if (!this.#below?.isClosing) super.write(buffer, this.#tookBack ? reportIfLost(this.stream, done) : done)
  }

  override destroy(): void {
    // Otherwise #closedBelow() destroys the socket.
    if (!this.#below?.isClosing) super.destroy()
  }

  #closedBelow(): void {
    // Node may or may not have destroyed the socket, and may or may not have emitted `close`.
    this.#below = undefined
    this.stream.destroy()
    setImmediate(() => this.assumeClosed())
  }

  unsupported(): string | undefined {
    const socket = this.stream
    if (socket.getProtocol() === 'TLSv1.3') {
      return "TLS 1.3 has no renegotiation (RFC 8446, 4.1.2); connect with maxVersion: 'TLSv1.2' to have it"
    }
    if (socket.alpnProtocol === 'h2') return 'HTTP/2 forbids renegotiation (RFC 9113, 9.2.1)'
    if (!this.#carriesHandshakes) return NOT_MENDED
    if (renegotiationDisabled(socket)) return 'disableRenegotiation() was called on the socket'
    return undefined
  }

  session(): Session {
    if (this.stream.destroyed) return {}
    return this.#lastSession ?? this.#readSession()
  }

  /** The first handshake is complete, and Node is about to check the certificate. */
  readonly #onEstablished = (): void => {
    if (!this.#isUnjudged()) this.shown.established()
  }

  /** Node emits `secure` for every completed handshake, and also for one that was refused. */
  readonly #onSecure = (): void => {
    if (this.stream.destroyed) return
    if (!this.#ready) this.#firstHandshakeDone()
    else if (this.#removeHook === undefined) this.#onHandshakeDone()
    else this.#restorePolicy()
  }

  readonly #onHandshakeStart = (): void => {
    this.#begin()
    this.#starts++
    if (!this.isServer) setImmediate(this.#onClientHello)
    if (this.#starts > (this.#local && this.isServer ? 2 : 1) || isSecurePending(this.stream)) {
      this.#failUnjudged('A handshake began before the previous one was complete')
    } else {
      this.events.handshakeStarted()
    }
    // Last, so that listeners for `renegotiating` still see the server's own ticket keys. Without the hook, OpenSSL has
    // processed the ClientHello already.
    const mayResume = this.#resumption && !this.#full
    if (this.isServer && !mayResume && this.#removeHook !== undefined && !this.awaitsAnswer) refuseTickets(this.stream)
  }

  /** OpenSSL has sent the ClientHello by now: it does so right after it has reported the start. */
  readonly #onClientHello = (): void => {
    if (this.#handshaking && !this.stream.destroyed) this.#keysUnanswered = exportedKeys(this.stream)
  }

  readonly #onHandshakeDone = (): void => {
    if (this.#starts === 0 && this.#removeHook !== undefined) {
      this.#failUnjudged('A handshake completed whose start was not seen')
      return
    }
    this.#over()
    // If the session was resumed, nothing was verified. Node does not check the name then, and says that it is authorized.
    if (!this.isServer && this.stream.isSessionReused()) this.stream.authorized = this.#authorized
    if (this.#lastSession !== undefined) this.#lastSession = this.#readSession()
    if (this.#mustVerify && !this.session().authorized) this.events.error(notVerified(this.session()))
    else this.events.handshakeDone()
  }

  /** Hooks are set only now, because Node may replace the handle while it connects (autoSelectFamily). */
  #firstHandshakeDone(): void {
    const socket = this.stream
    this.#ready = true
    if (this.#isUnjudged()) {
      // Asynchronous, because attach() may be on the stack.
      process.nextTick(() =>
        this.#failUnjudged(
          'Another handshake began before the socket was wrapped, or before Node had processed the first one',
        ),
      )
      return
    }
    this.shown.established()
    if (this.isServer) this.#servername = this.#requestedName()
    this.#settings = new KeptSettings(socket)
    this.#carriesHandshakes = mendJavaScriptStream(socket)
    if (socket.getProtocol() !== 'TLSv1.3') {
      this.#removeHook = onHandshakes(socket, this.#onHandshakeStart, this.#onHandshakeDone)
      if (this.#removeHook === undefined) {
        warnWithoutHook()
        this.#lastSession = this.#readSession()
        this.shown.freeze()
        // Emitted in the middle of a handshake, when the master secret is known.
        socket.on('keylog', this.#onHandshakeStart)
      }
    }
    // http2 does this itself, but not through a stream in JavaScript. Nagle's algorithm makes it several times slower.
    if (socket.alpnProtocol === 'h2') socket.setNoDelay()
    this.events.ready()
  }

  /** Whether another handshake has begun that nobody has checked. In TLS 1.3 there is none. */
  #isUnjudged(): boolean {
    const socket = this.stream
    return this.#removeHook === undefined && hasBegunAnother(socket) && socket.getProtocol() !== 'TLSv1.3'
  }

  /** Ends the connection, because no handshake may complete without a verdict. See judge(). */
  #failUnjudged(what: string): void {
    this.events.error(new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', `${what}, so it cannot be judged`))
  }

  #begin(): void {
    if (this.#handshaking) return
    this.#handshaking = true
    this.shown.freeze()
    // On a client, they are read after its own hello, which changes them too. See #onClientHello.
    if (this.isServer) this.#keysUnanswered = exportedKeys(this.stream)
    this.#authorized = this.stream.authorized
    this.#mustVerify = verifiedHere(this.stream) && this.session().authorized === true
    this.#settings?.begin()
  }

  #over(): void {
    const socket = this.stream
    this.#handshaking = this.#local = this.#full = false
    this.#starts = 0
    this.#keysUnanswered = undefined
    this.#settings?.restore()
    // While `secure` is pending, Node has yet to check the certificate, and must not destroy the socket for it.
    if (!isSecurePending(socket)) this.#restorePolicy()
  }

  #restorePolicy(): void {
    const socket = this.stream
    if (this.#policy !== undefined) restoreCertificatePolicy(socket, this.#policy, identity(socket) !== undefined)
    this.#policy = undefined
  }

  #requestedName(): string | undefined {
    return nameAskedFor(this.stream, this.#servername)
  }

  #readSession(): Session {
    return readSession(this.stream, this.isServer ? this.#requestedName() : undefined)
  }
}
