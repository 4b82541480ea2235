import type { CertificatePolicy, HandshakeOptions, Session } from '../core/transport.ts'
import type { PostHandshakeCounts } from '../transports/post-handshake-messages.ts'
import type { RecordType, TLSEngine, Want } from '../transports/tls-engine.ts'
import type { Connection } from './connection.ts'
import { type OpenSSLEngineOptions, openConnection } from './engine-options.ts'
import type { Pointer } from './ffi-types.ts'
import { HandshakeProgress } from './handshake-progress.ts'
import { noLeak, watchForLeak } from './leak.ts'
import type { OpenSSL } from './library.ts'
import { endedInHandshake, notTLS } from './openssl-error.ts'
import { recordLimit } from './record-limit.ts'
import { RecordReader } from './record-reader.ts'
import { Renegotiation } from './renegotiation.ts'

/*
 * Theory of operation. OpenSSL sits between two memory BIOs, which take all that is written to them. So SSL_write()
 * never stops in the middle of a record, and a handshake can begin at any time. The price is that OpenSSL has no
 * backpressure, so it is made here: write() takes nothing while too much waits to be sent, and the wire stops receiving
 * while input waits.
 *
 * OpenSSL gets one record at a time, inside read(). So it is known what a record is before it is read, and what it did.
 * Without a handshake, it gets several records of data, and stops at one that is another message of TLS 1.3.
 */

export type { OpenSSLEngineOptions } from './engine-options.ts'

/** At most so many bytes are given to one SSL_write(), which makes four records of them. */
const WRITE_BYTES = 65_536
/** What may wait beyond the limit of write(): one more write, and answers to requests. Beyond that, read() stops. */
const ANSWER_BYTES = 66_560
/** After so many records without data, the rest of the event loop has its turn. */
const RECORDS_PER_READ = 32

/**
 * A TLS connection by OpenSSL, TLS 1.2 or 1.3. A {@link Wire} carries its encrypted bytes.
 *
 * After destroy(), each call throws, and the properties have the value of a connection without a handshake or input.
 */
export class OpenSSLEngine implements TLSEngine {
  onReady: (() => void) | null = null
  /** Set by the wire. Called when there may be something to send, or room to receive, and after destroy(). */
  onWire: (() => void) | null = null
  /** Called before a record of a renegotiation is read. From then on, OpenSSL shows what the peer claims in it. */
  onHandshake: (() => void) | null = null
  readonly isServer: boolean
  readonly certificatePolicy: CertificatePolicy | undefined
  readonly renegotiation: Renegotiation

  readonly #openssl: OpenSSL
  readonly #connection: Connection
  readonly #reader: RecordReader
  readonly #maxOutputBytes: number
  readonly #progress: HandshakeProgress
  /** The next read() calls SSL_read() even if no record has arrived. A client begins that way. */
  #readDue: boolean
  /** Nothing more will be received. */
  #inputEnded = false
  /** Nothing more can be sent. */
  #outputClosed = false
  /** The connection has failed below TLS. */
  #broken: Error | undefined
  /** The peer has closed its side. */
  #peerEnded = false
  /** close_notify was sent. */
  #ended = false
  #isPoked = false

  constructor(openssl: OpenSSL, options: OpenSSLEngineOptions) {
    const { isServer, requestCert = false, rejectUnauthorized = true, maxOutputBytes = 65_536 } = options
    this.#openssl = openssl
    this.#connection = openConnection(openssl, options)
    watchForLeak(this, this.#connection)
    this.#reader = new RecordReader(this.#connection)
    this.#progress = new HandshakeProgress(this.#connection)
    this.#maxOutputBytes = maxOutputBytes
    this.#readDue = !isServer
    this.isServer = isServer
    this.renegotiation = new Renegotiation(this.#connection, isServer)
    this.certificatePolicy = isServer ? { requestCert, rejectUnauthorized } : undefined
  }

  /** The SSL, for functions of OpenSSL that the engine does not call. Throws after destroy(). */
  get ssl(): Pointer {
    return this.#connection.ssl
  }

  /** On a server: the server name in a ClientHello (SNI), '' for none. session() has it after the handshake. */
  set requestedName(servername: string) {
    this.#connection.requestedName = servername
  }

  read(into: Uint8Array): number | Want {
    if (into.length === 0) throw new RangeError('into must not be empty')
    this.#check()
    const wasHandshaking = this.#progress.handshaking
    const type = this.nextRecord
    for (let records = 0; records < RECORDS_PER_READ; records++) {
      if (this.#peerEnded) return 0
      if (!this.#canRead()) return this.#inputEnded ? this.#endOfInput() : 'want-read'
      if (this.#connection.outputBytes > this.#maxOutputBytes + ANSWER_BYTES) return 'want-write'
      const result = this.#readRecord(into)
      if (typeof result === 'number') return result
      // The transport must see that a handshake has begun or ended, what came after the handshake of TLS 1.3, and of
      // what type the next record is.
      const hasHandshakes = this.#progress.postHandshake === undefined && this.#progress.handshaking === wasHandshaking
      if (!hasHandshakes || this.nextRecord !== type) break
    }
    if (this.nextRecord !== undefined) this.#poke()
    return 'want-read'
  }

  write(from: Uint8Array): number | Want {
    this.#check()
    if (this.#outputClosed) throw Object.assign(new Error('The connection is closed'), { code: 'EPIPE' })
    if (from.length === 0) return 0
    if (this.#connection.outputBytes > this.#maxOutputBytes) return 'want-write'
    this.#progress.isFlightDue = false
    this.#progress.postHandshake?.settle()
    const taken = this.#connection.call((ssl) => this.#openssl.SSL_write(ssl, from, Math.min(from.length, WRITE_BYTES)))
    this.onWire?.()
    return taken
  }

  /**
   * TLS 1.2: a renegotiation. `requestCert` makes a server request a certificate of the client, in a full handshake.
   *
   * TLS 1.3: with `requestCert` on a server, a request for a certificate of the client. Otherwise a key update, which
   * requests one of the peer. Either is written at once.
   */
  renegotiate(options: Pick<HandshakeOptions, 'requestCert' | 'full'> = {}): void {
    this.#check()
    const { requestCert = this.certificatePolicy?.requestCert ?? false, full = false } = options
    if (this.#progress.postHandshake === undefined) this.#renegotiate(requestCert, full)
    else if (this.isServer && requestCert) this.#progress.postHandshake.requestCertificate()
    else this.#progress.postHandshake.requestKeyUpdate()
    this.onWire?.()
  }

  get handshaking(): boolean {
    return this.#progress.handshaking && !this.#connection.freed
  }

  get nextRecord(): RecordType | undefined {
    // The end is read like an alert. Otherwise a pending write, which cannot get through any more, would hide it.
    return this.#reader.type ?? (this.#inputEnded && !this.#peerEnded ? 'alert' : undefined)
  }

  /** More than 0 if the next read() can read several records of data. */
  get readableBytes(): number {
    const { runBytes } = this.#reader
    if (runBytes === 0 || this.#progress.handshaking || this.#progress.session === undefined) return 0
    return this.#progress.postHandshake?.isAuthenticating ? 0 : runBytes
  }

  /** Of how many records the last read() has returned the data. */
  get recordsRead(): number {
    return this.#reader.recordsRead
  }

  /** Key updates since the first handshake of TLS 1.3. Undefined before it, and in TLS 1.2. */
  get keyUpdates(): PostHandshakeCounts | undefined {
    return this.#progress.postHandshake?.keyUpdates
  }

  /**
   * Requests for a certificate after the first handshake of TLS 1.3. On a client, `byPeer` counts those of the server
   * that it has answered. Undefined before the first handshake, and in TLS 1.2.
   */
  get authentications(): PostHandshakeCounts | undefined {
    return this.#progress.postHandshake?.authentications
  }

  /** In TLS 1.3: how many records the cipher allows with one key. */
  get recordLimit(): number | undefined {
    return this.#progress.postHandshake && recordLimit(this.#openssl, this.ssl)
  }

  /** What is known since the last handshake that was completed. Nothing before the first one. */
  session(): Session {
    return this.#progress.session ?? {}
  }

  end(): true | Want {
    this.#check()
    // Twice, SSL_shutdown() would read, and drop what the peer still sends.
    if (this.#ended) return true
    // While the client sends its certificate after the handshake, OpenSSL cannot send close_notify.
    if (this.#openssl.SSL_in_init(this.ssl) === 0) {
      // It returns -1 on failure, 0 if the peer has not closed its side yet, and 1 otherwise.
      this.#connection.call((ssl) => this.#openssl.SSL_shutdown(ssl) + 1)
    } else if (!this.#peerEnded) {
      // The next records end that.
      return 'want-read'
    }
    this.endOutput()
    return true
  }

  /** Ends this side as it is. In a handshake that the peer has left, nothing can be sent any more. */
  endOutput(): void {
    this.#ended = true
    this.onWire?.()
  }

  /**
   * What waits to be sent is still sent: all of it if either side has ended in order, and else only what the wire takes
   * at once. If nothing was sent since the first handshake, nothing is: a peer that is not accepted must not believe that
   * it is.
   */
  destroy(): void {
    if (this.#connection.freed) return
    this.#reader.discard()
    noLeak(this.#connection)
    this.#connection.free(this.#broken === undefined && !this.#progress.isFlightDue)
    this.onWire?.()
  }

  /** Goes on with a handshake that a callback has stopped to wait for something, as SSL_CTX_set_client_hello_cb(3) can. */
  proceed(): void {
    this.#readDue = true
    this.#poke()
  }

  /** For the wire: takes received bytes. They must not change any more. */
  receive(bytes: Uint8Array): void {
    if (this.#connection.freed || this.#inputEnded || this.#peerEnded) return
    this.#reader.input.push(bytes)
    if (this.#reader.input.type !== undefined) this.onReady?.()
  }

  /** For the wire: copies the received bytes that wait, because their memory is about to change. */
  keepInput(): void {
    this.#reader.input.keep()
  }

  /** For the wire: how many received bytes wait to be read. It should stop receiving until they are. */
  get inputBytes(): number {
    return this.#reader.input.waitingBytes
  }

  /** For the wire: no more will be received. Without a close_notify before it, this is the end, as in Node.js. */
  endInput(): void {
    this.#inputEnded = true
    this.onReady?.()
  }

  /** For the wire: nothing more can be sent. */
  closeOutput(): void {
    this.#outputClosed = true
    this.onReady?.()
  }

  /** For the wire: the connection is lost. The next call throws `error`. */
  break(error: Error): void {
    this.#broken ??= error
    this.onReady?.()
  }

  /** For the wire: how many bytes are to be sent. */
  get outputBytes(): number {
    return this.#connection.outputBytes
  }

  /** For the wire: whether the peer will send nothing more. */
  get peerEnded(): boolean {
    return this.#peerEnded || this.#inputEnded
  }

  /** For the wire: fills `into` with bytes to send. Returns how many; 0: there are none. */
  take(into: Uint8Array): number {
    const taken = this.#connection.take(into)
    this.#progress.isFlightDue = false
    if (!this.#connection.freed) this.#settle()
    return taken
  }

  /** For the wire: what to do when there are no more bytes to send. 'failed': do not wait until they are sent. */
  get outputState(): 'open' | 'ended' | 'destroyed' | 'failed' {
    if (!this.#connection.freed) return this.#ended ? 'ended' : 'open'
    return this.#ended || this.#peerEnded ? 'destroyed' : 'failed'
  }

  #renegotiate(requestCert: boolean, full: boolean): void {
    this.renegotiation.begin(requestCert, full)
    this.#progress.handshaking = true
    this.#readDue = true
  }

  #canRead(): boolean {
    return this.#readDue || (!this.#connection.isStopped && this.#reader.type !== undefined)
  }

  /** Lets OpenSSL read one record at most, or what is left of the last one. */
  #readRecord(into: Uint8Array): number | Want {
    if (this.#reader.type === 'handshake' && this.#progress.session !== undefined) this.onHandshake?.()
    const { readableBytes } = this
    const isRun = readableBytes > 0 && into.length >= readableBytes
    try {
      const result = isRun ? this.#reader.readRun(into, this.#progress.isTLS13) : this.#reader.readRecord(into)
      this.#peerEnded = result === 0
      if (typeof result === 'string') this.#recordRead()
      else if (isRun && this.#progress.isTLS13) this.#runRead()
      return result
    } finally {
      this.onWire?.()
    }
  }

  /** A record without data was read: it was a part of a handshake, or another message. */
  #recordRead(): void {
    this.#readDue = false
    if (this.#reader.input.malformed && this.#reader.type === undefined) throw notTLS()
    this.#progress.recordRead()
    this.#settle()
  }

  /** Data was read, and maybe a message of TLS 1.3 after it. If that fails, the data still comes first. */
  #runRead(): void {
    if (this.#connection.freed || this.#connection.failure !== undefined) return
    try {
      this.#progress.recordRead()
      this.#settle()
    } catch (error) {
      this.#broken ??= error as Error
    }
  }

  /** Answers the peer's request for a key update, unless too much waits to be sent already, or nothing may follow. */
  #settle(): void {
    if (this.#ended || this.#connection.failure !== undefined) return
    if (this.#connection.outputBytes <= this.#maxOutputBytes) this.#progress.postHandshake?.settle()
  }

  #endOfInput(): 0 {
    if (this.#progress.session === undefined) throw endedInHandshake(this.isServer)
    this.#peerEnded = true
    return 0
  }

  /** Before each call. Throws after destroy(), and if the connection has failed. */
  #check(): void {
    void this.#connection.ssl
    const failure = this.#broken ?? this.#connection.failure
    if (failure !== undefined) throw failure
  }

  /** Lets the transport go on in a later turn. */
  #poke(): void {
    if (this.#isPoked) return
    this.#isPoked = true
    setImmediate(() => {
      this.#isPoked = false
      this.onReady?.()
    })
  }
}
