import tls, { type TLSSocket } from 'node:tls'
import { invalidType, invalidValue, RenegotiationError } from '../core/errors.ts'
import { type PeerLimit, quote, type RenegotiateOptions } from '../core/options.ts'
import type { CertificatePolicy, HandshakeFailure, Session, Transport, WriteCallback } from '../core/transport.ts'
import { refuseTickets } from './full-handshake.ts'
import { gather, reuse } from './gather.ts'
import {
  certificatePolicy,
  hasBegunAnother,
  isSecured,
  isSecurePending,
  isServer,
  keepTimeout,
  mendJavaScriptStream,
  onHandshakes,
  onHiddenErrors,
  readsIntoBuffer,
  renegotiationDisabled,
  requestedName,
  restoreCertificatePolicy,
  suspendNagle,
  warnWithoutHook,
} from './node-internals.ts'
import { openSSLFailure } from './openssl-failure.ts'
import { ShownSession } from './shown-session.ts'
import { SocketsBelow } from './sockets-below.ts'
import { StreamTransport } from './stream-transport.ts'
import { exportedKeys, identity, notVerified, readSession, verifiedHere } from './tls-session.ts'

/** Node's own, for good: somebody may put another in its place. */
const PlainTLSSocket = tls.TLSSocket

/**
 * A transport over Node's own TLS socket, a client's or a server's.
 *
 * The socket's writes, handshakes and end are the stream's business from then
 * on. Its events still come; its `secure` and `secureConnect` with every
 * handshake, as Node has it.
 *
 * @throws TypeError where `socket` is no tls.TLSSocket, has an encoding set, was
 *   made with `onread`, or is wrapped already.
 */
export function tlsTransport(socket: TLSSocket): Transport {
  return tlsSocketTransport(socket)
}

/** The same, with what a face of a TLS socket needs besides. */
export function tlsSocketTransport(socket: TLSSocket): TLSSocketTransport {
  if (!(socket instanceof PlainTLSSocket)) throw invalidType(`socket must be a tls.TLSSocket, got ${quote(socket)}`)
  // A stream of this package is a TLS socket to all that look, and has none of its own.
  if ('heldBytes' in socket)
    throw invalidValue('socket must not be a stream of this package, which renegotiates already')
  if (socket.readableEncoding !== null) {
    throw invalidValue(`socket must not have an encoding set, it has '${socket.readableEncoding}'`)
  }
  if (readsIntoBuffer(socket))
    throw invalidValue('socket must not be made with the option onread, which takes its data')
  return new TLSSocketTransport(socket)
}

/** A {@link Transport} over a TLS socket; see {@link tlsTransport}. */
export class TLSSocketTransport extends StreamTransport<TLSSocket> {
  /** What a face says of the session. */
  readonly shown: ShownSession
  #ready = false
  #handshaking = false
  /** How often OpenSSL has said that the handshake on its way starts: twice for a server's request and the answer to it. */
  #starts = 0
  /** The handshake on its way is one of ours. */
  #local = false
  /** {@link Session.keys} in the handshake on its way, as they are until the peer's hello. Undefined while there is none. */
  #keysUnanswered: Buffer | undefined
  /** Node will set the socket's timeout to 0 with every handshake. */
  #restoresTimeout = false
  /** The socket's timeout in milliseconds when the handshake began. */
  #timeout: number | undefined
  /** The first name that the client is known to have asked for (SNI), '' for none. */
  #servername: string | undefined
  /** A server's policy, where the handshake on its way has one of its own. */
  #policy: CertificatePolicy | undefined
  /** The server was verified when the handshake began, and Node won't verify it anew. */
  #mustVerify = false
  #removeHook: (() => void) | undefined
  #below: SocketsBelow | undefined
  /** A handshake's messages can get through what lies below the socket, whatever is on its way. */
  #carriesHandshakes = true
  /** Kept only where a handshake can't be seen before its middle, when the keys may be new already. */
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

  /** Either hello changes the value that keys are told apart by: its random is part of it. */
  get peerAnswered(): boolean {
    if (this.#keysUnanswered === undefined || this.stream.destroyed) return false
    return !exportedKeys(this.stream).equals(this.#keysUnanswered)
  }

  protected override attached(): void {
    const socket = this.stream
    onHiddenErrors(socket, (error) => this.events.error(error))
    this.#below = SocketsBelow.watch(socket, () => this.#closedBelow())
    socket.on('secure', this.#onSecure)
    // Before Node's own listener, which emits `secureConnect`.
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
   * Several buffers are gathered here, for otherwise Node does it, more slowly:
   * it has each go through its Writable and copies them together then
   * (TLSWrap::DoWrite). It has no use for them when it calls back.
   */
  override writev(buffers: readonly Uint8Array[], done: WriteCallback): void {
    const gathered = gather(buffers)
    this.write(gathered, (error, bytesTaken) => {
      reuse(gathered)
      done(error, bytesTaken)
    })
  }

  renegotiate({ requestCert }: RenegotiateOptions): void {
    const socket = this.stream
    const policy = certificatePolicy(socket)
    this.#begin()
    this.#local = true
    // A certificate that doesn't verify makes Node destroy the socket without a word; so it must not look.
    const options = policy && { requestCert: requestCert === true, rejectUnauthorized: false }
    this.#policy = policy
    // Without a callback, which would stay on the socket as a listener for `secure`.
    const begun = (socket.renegotiate as (options: object) => boolean | undefined)(options ?? {})
    if (begun === false) {
      this.#over()
      this.shown.unchanged()
      throw new Error('socket.renegotiate() returned false: OpenSSL does not allow it in this context or state')
    }
  }

  /** A HelloRequest, which a client may ignore (RFC 5246, 7.4.1.1), and ignores when it has sent its end. */
  takeBack(): boolean {
    if (!this.isServer || this.#removeHook === undefined || this.#starts > 1) return false
    this.#over()
    this.shown.unchanged()
    return true
  }

  accepted(session: Session): void {
    this.shown.accept(session)
    this.#servername ??= session.servername
    // Without the hook, the next handshake is seen when its first messages have been looked at.
    if (this.#removeHook === undefined) this.shown.freeze()
  }

  override write(buffer: Uint8Array, done: WriteCallback): void {
    if (!this.#below?.isClosing) super.write(buffer, done)
  }

  override destroy(): void {
    // Else it is destroyed when they have closed.
    if (!this.#below?.isClosing) super.destroy()
  }

  #closedBelow(): void {
    // Node may have destroyed it, or not, and have told of that, or not.
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
    if (!this.#carriesHandshakes) {
      return (
        'The TLS socket runs on a stream in JavaScript instead of a net.Socket, ' +
        'where Node may fail an assertion of its own in a renegotiation under traffic'
      )
    }
    if (renegotiationDisabled(socket)) return 'disableRenegotiation() was called on the socket'
    return undefined
  }

  session(): Session {
    if (this.stream.destroyed) return {}
    return this.#lastSession ?? this.#readSession()
  }

  failure(error: Error): HandshakeFailure | undefined {
    return openSSLFailure(error)
  }

  /** The first handshake is complete, and Node is about to judge it. */
  readonly #onEstablished = (): void => {
    if (!this.#isUnjudged()) this.shown.established()
  }

  /** Node's `secure`: a handshake is complete, also one that was refused. */
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
      this.#failUnjudged('A handshake began before the one before it was complete')
    } else {
      this.events.handshakeStarted()
    }
    this.#requireFullHandshake()
  }

  /** Called last, so that listeners which were told of the start still see the server's own ticket keys. */
  #requireFullHandshake(): void {
    const isHelloRequest = this.#local && this.#starts === 1
    // Without the hook it is too late.
    if (this.isServer && this.#removeHook !== undefined && !isHelloRequest) refuseTickets(this.stream)
  }

  /** OpenSSL has sent our hello by now: right after it has told of the start. */
  readonly #onClientHello = (): void => {
    if (this.#handshaking && !this.stream.destroyed) this.#keysUnanswered = exportedKeys(this.stream)
  }

  readonly #onHandshakeDone = (): void => {
    if (this.#starts === 0 && this.#removeHook !== undefined) {
      this.#failUnjudged('A handshake is complete whose beginning was not seen')
      return
    }
    this.#over()
    if (this.#lastSession !== undefined) this.#lastSession = this.#readSession()
    if (this.#mustVerify && !this.session().authorized) this.events.error(notVerified(this.session()))
    else this.events.handshakeDone()
  }

  /** Only now: while connecting, Node may put another handle in the place of the first (autoSelectFamily). */
  #firstHandshakeDone(): void {
    const socket = this.stream
    this.#ready = true
    if (this.#isUnjudged()) {
      // Not within attach(), for that may be on the stack.
      process.nextTick(() =>
        this.#failUnjudged(
          'Another handshake began on the socket before it was wrapped, or its first was taken note of',
        ),
      )
      return
    }
    this.shown.established()
    if (this.isServer) this.#servername = this.#requestedName()
    this.#restoresTimeout = !keepTimeout(socket)
    this.#carriesHandshakes = mendJavaScriptStream(socket)
    if (socket.getProtocol() !== 'TLSv1.3') {
      this.#removeHook = onHandshakes(socket, this.#onHandshakeStart, this.#onHandshakeDone)
      if (this.#removeHook === undefined) {
        warnWithoutHook()
        this.#lastSession = this.#readSession()
        this.shown.freeze()
        // Its middle, when the master secret is there.
        socket.on('keylog', this.#onHandshakeStart)
      }
    }
    // As http2 would do, but can't through a stream in JavaScript. With Nagle's algorithm it is several times slower.
    if (socket.alpnProtocol === 'h2') socket.setNoDelay()
    this.events.ready()
  }

  /** A later handshake has begun, and nobody can tell what it has come to. In TLS 1.3 there is none. */
  #isUnjudged(): boolean {
    const socket = this.stream
    return this.#removeHook === undefined && hasBegunAnother(socket) && socket.getProtocol() !== 'TLSv1.3'
  }

  /** No handshake may complete without a verdict; see judge(). */
  #failUnjudged(what: string): void {
    this.events.error(new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', `${what}, so it cannot be judged`))
  }

  #begin(): void {
    if (this.#handshaking) return
    this.#handshaking = true
    this.shown.freeze()
    // A client's own hello changes them, too.
    if (this.isServer) this.#keysUnanswered = exportedKeys(this.stream)
    this.#timeout = this.stream.timeout
    this.#mustVerify = verifiedHere(this.stream) && this.session().authorized === true
    suspendNagle(this.stream, true)
  }

  #over(): void {
    const socket = this.stream
    this.#handshaking = this.#local = false
    this.#starts = 0
    this.#keysUnanswered = undefined
    if (this.#restoresTimeout && this.#timeout) socket.setTimeout(this.#timeout)
    // Else Node is still to look at the certificate, and must not destroy the socket for it.
    if (!isSecurePending(socket)) this.#restorePolicy()
    // The last messages of the handshake are written after it is done, and must not wait either.
    setImmediate(() => {
      if (!this.#handshaking) suspendNagle(socket, false)
    })
  }

  #restorePolicy(): void {
    const socket = this.stream
    if (this.#policy !== undefined) restoreCertificatePolicy(socket, this.#policy, identity(socket) !== undefined)
    this.#policy = undefined
  }

  /**
   * The client's SNI; that of the connection where this handshake named none; '' where there never was one. OpenSSL has
   * not kept it where the session was resumed (SSL_get_servername). Undefined where it is not known for that reason.
   */
  #requestedName(): string | undefined {
    return requestedName(this.stream) || (this.#servername ?? (this.stream.isSessionReused() ? undefined : ''))
  }

  #readSession(): Session {
    return readSession(this.stream, this.isServer ? this.#requestedName() : undefined)
  }
}
