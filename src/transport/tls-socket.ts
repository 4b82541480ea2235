import tls, { type TLSSocket } from 'node:tls'
import { RenegotiationError } from '../errors.ts'
import { quote, type RenegotiateOptions } from '../options.ts'
import {
  certificatePolicy,
  isServer,
  keepTimeout,
  mendJavaScriptStream,
  onHandshakeStart,
  readsIntoBuffer,
  renegotiationDisabled,
  restoreCertificatePolicy,
  suspendNagle,
  verifiesServer,
  verifyError,
} from '../tls/node-internals.ts'
import { gather, reuse } from './gather.ts'
import { openSSLFailure } from './openssl-failure.ts'
import { StreamTransport } from './stream-transport.ts'
import type { CertificatePolicy, HandshakeFailure, PeerLimit, Session, Transport, WriteCallback } from './transport.ts'

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
  if (!(socket instanceof tls.TLSSocket)) throw new TypeError(`socket must be a tls.TLSSocket, got ${quote(socket)}`)
  if (socket.readableEncoding !== null) {
    throw new TypeError(`socket must not have an encoding set, it has '${socket.readableEncoding}'`)
  }
  if (readsIntoBuffer(socket))
    throw new TypeError('socket must not be made with the option onread, which takes its data')
  return new TLSSocketTransport(socket)
}

class TLSSocketTransport extends StreamTransport<TLSSocket> {
  #ready = false
  #handshaking = false
  /** Handshakes that have started since ours was begun: a server's request for one, and the client's answer. */
  #starts = 0
  /** Node will set the socket's timeout to 0 with every handshake. */
  #restoresTimeout = false
  /** The socket's timeout in milliseconds when the handshake began. */
  #timeout: number | undefined
  /** A server's policy, where the handshake on its way has one of its own. */
  #policy: CertificatePolicy | undefined
  /** The server was verified when the handshake began, and Node won't verify it anew. */
  #mustVerify = false
  #removeHook: (() => void) | undefined
  /** A handshake's messages can get through what lies below the socket, whatever is on its way. */
  #carriesHandshakes = true
  /** Kept only where a handshake can't be seen before its middle, when the keys may be new already. */
  #lastSession: Session | undefined

  get peerLimit(): PeerLimit | false {
    return isServer(this.stream) && { max: tls.CLIENT_RENEG_LIMIT, windowMs: tls.CLIENT_RENEG_WINDOW * 1000 }
  }

  get certificatePolicy(): CertificatePolicy | undefined {
    return this.#policy ?? certificatePolicy(this.stream)
  }

  protected override attached(): void {
    const socket = this.stream
    socket.on('secure', this.#onSecure)
    if (isSecured(socket)) this.#firstHandshakeDone()
  }

  protected override detached(): void {
    this.#removeHook?.()
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
    this.#starts = 0
    // A certificate that doesn't verify makes Node destroy the socket without a word; so it must not look.
    const options = policy && { requestCert: requestCert === true, rejectUnauthorized: false }
    this.#policy = policy
    // Without a callback, which would stay on the socket as a listener for `secure`.
    const begun = (socket.renegotiate as (options: object) => boolean | undefined)(options ?? {})
    if (begun === false) {
      this.#over()
      throw new Error('socket.renegotiate() returned false: OpenSSL does not allow it in this context or state')
    }
  }

  /** A HelloRequest, which a client may ignore (RFC 5246, 7.4.1.1), and ignores when it has sent its end. */
  takeBack(): boolean {
    if (!isServer(this.stream) || this.#removeHook === undefined || this.#starts > 1) return false
    this.#over()
    return true
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

  /** Node's `secure`: a handshake is complete, also one that was refused. */
  readonly #onSecure = (): void => {
    if (this.stream.destroyed) return
    if (!this.#ready) {
      this.#firstHandshakeDone()
      return
    }
    this.#over()
    if (this.#lastSession !== undefined) this.#lastSession = this.#readSession()
    if (this.#mustVerify && !this.session().authorized) this.events.error(notVerified(this.session()))
    else this.events.handshakeDone()
  }

  readonly #onHandshakeStart = (): void => {
    this.#begin()
    this.#starts++
    this.events.handshakeStarted()
  }

  /** Only now: while connecting, Node may put another handle in the place of the first (autoSelectFamily). */
  #firstHandshakeDone(): void {
    const socket = this.stream
    this.#ready = true
    this.#restoresTimeout = !keepTimeout(socket)
    this.#carriesHandshakes = mendJavaScriptStream(socket)
    if (socket.getProtocol() !== 'TLSv1.3') {
      this.#removeHook = onHandshakeStart(socket, this.#onHandshakeStart)
      if (this.#removeHook === undefined) {
        warnWithoutHook()
        this.#lastSession = this.#readSession()
        // Its middle, when the master secret is there.
        socket.on('keylog', this.#onHandshakeStart)
      }
    }
    // As http2 would do, but can't through a stream in JavaScript. With Nagle's algorithm it is several times slower.
    if (socket.alpnProtocol === 'h2') socket.setNoDelay()
    this.events.ready()
  }

  #begin(): void {
    if (this.#handshaking) return
    this.#handshaking = true
    this.#timeout = this.stream.timeout
    this.#mustVerify = verifiedHere(this.stream) && this.session().authorized === true
    suspendNagle(this.stream, true)
  }

  #over(): void {
    const socket = this.stream
    this.#handshaking = false
    if (this.#restoresTimeout && this.#timeout) socket.setTimeout(this.#timeout)
    if (this.#policy !== undefined) restoreCertificatePolicy(socket, this.#policy, identity(socket) !== undefined)
    this.#policy = undefined
    // The last messages of the handshake are written after `secure`, and must not wait either.
    setImmediate(() => {
      if (!this.#handshaking) suspendNagle(socket, false)
    })
  }

  #readSession(): Session {
    const socket = this.stream
    const common = { keys: exportedKeys(socket), identity: identity(socket), resumed: socket.isSessionReused() }
    if (verifiesServer(socket)) {
      const { authorized, authorizationError } = socket
      return { ...common, authorized, authorizationError: authorized ? undefined : authorizationError }
    }
    if (common.identity === undefined) return common
    const error = verifyError(socket) ?? (isServer(socket) ? undefined : wrongName(socket))
    return { ...common, authorized: error === undefined, authorizationError: error }
  }
}

/** Its first handshake is complete. `secureConnecting` stays true on a server's socket that tls.createServer didn't make. */
export function isSecured(socket: TLSSocket): boolean {
  return Boolean(socket.getFinished() && socket.getPeerFinished())
}

/** Keying material (RFC 5705) changes with every handshake, and tells nothing about the keys in use. */
function exportedKeys(socket: TLSSocket): Buffer {
  return socket.exportKeyingMaterial(32, 'EXPERIMENTAL-renegotiation-duplex', Buffer.alloc(0))
}

/**
 * The peer's certificate in DER. Not by getPeerX509Certificate(): on a client, Node 20's takes the certificate out of
 * OpenSSL's chain (X509Certificate::GetPeerCert: sk_X509_delete), and the next to ask, Node's own check of the host name
 * among them, finds none.
 */
function identity(socket: TLSSocket): Buffer | undefined {
  return socket.getPeerCertificate()?.raw
}

/** A client that was made by `new tls.TLSSocket()`: whoever made it has verified the server, and will not do so again. */
function verifiedHere(socket: TLSSocket): boolean {
  return !isServer(socket) && !verifiesServer(socket)
}

/** Why the server's certificate is not for the host that the client has asked for, if it has named one. */
function wrongName(socket: TLSSocket): Error | undefined {
  const { servername } = socket as { servername?: string | false | null }
  return servername ? tls.checkServerIdentity(servername, socket.getPeerCertificate()) : undefined
}

function notVerified({ authorizationError }: Session): RenegotiationError {
  const message = `The server was verified before the renegotiation, and now is not: ${authorizationError}`
  return new RenegotiationError('ERR_RENEGOTIATION_IDENTITY_CHANGED', message, authorizationError)
}

let warned = false

function warnWithoutHook(): void {
  if (warned) return
  warned = true
  process.emitWarning(
    "This Node.js doesn't tell when a TLS handshake starts. Renegotiations begun here work; those that the peer " +
      'begins are seen too late to be guarded.',
    { type: 'RenegotiationWarning', code: 'RENEGOTIATION_NO_HANDSHAKE_HOOK' },
  )
}
