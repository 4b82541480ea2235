import type { RecordType, Session, TLSEngine, Want } from 'renegotiation-duplex'
import { type LibSSL, loadLibSSL, type Pointer } from './libssl.ts'

/*
 * What engineTransport() asks of a TLS library, by SSL_read and SSL_write as
 * they are. SSL sits on one side of a pair of buffers (BIO_s_bio(3)); the other
 * side is the engine's encrypted one, which whoever has the wire empties and
 * fills: carry.ts does so for a socket. Nothing blocks: where a buffer is full
 * or empty, the answer is a Want.
 */

// Macros and constants of OpenSSL's headers, which a binding of functions has not.
const SSL_CTRL_MODE = 33
const SSL_CTRL_SET_MIN_PROTO_VERSION = 123
const SSL_CTRL_SET_MAX_PROTO_VERSION = 124
const TLS1_2_VERSION = 0x303
const SSL_OP_ALLOW_CLIENT_RENEGOTIATION = 2 ** 8
const SSL_MODE_ENABLE_PARTIAL_WRITE = 1
const SSL_VERIFY_PEER = 1
const SSL_ERROR_WANT_READ = 2
const SSL_ERROR_WANT_WRITE = 3
const SSL_ERROR_ZERO_RETURN = 6
const BIO_C_SHUTDOWN_WR = 142

/** RFC 5246, 6.2.1: a record begins with its type (1 byte), version (2) and length (2), in clear. */
const HEADER_BYTES = 5
const recordTypes: Record<number, RecordType> = {
  20: 'handshake', // change cipher spec
  21: 'alert',
  22: 'handshake',
  23: 'data',
}

/** A server shows `cert`. A client insists on one that `ca` has issued for `servername`. All but the name are PEM texts. */
export type EndOptions =
  | { role: 'client'; ca: string; servername: string }
  | { role: 'server'; cert: string; key: string }

export interface EngineOptions {
  /** Which OpenSSL; Node's own by default. */
  libssl?: LibSSL
  /**
   * Bytes between SSL and the wire, each way; 65,536. However small: a
   * ClientHello must fit into all that lies between the two SSLs. Where it gets
   * stuck, that SSL_read does not get to the data which the other end has to be
   * rid of first.
   */
  bufferSize?: number
  /** SSL_MODE_ENABLE_PARTIAL_WRITE: a write ends with the first record that is complete, not only with the last. */
  partialWrites?: boolean
}

export class OpenSSLEngine implements TLSEngine {
  onReady: (() => void) | null = null
  /** Set by whoever has the wire; called when there may be something to carry. */
  onPoke: (() => void) | null = null

  readonly #lib: LibSSL
  /** Null after destroy(). */
  #ssl: Pointer | null
  /** The wire's side of the pair. */
  readonly #network: Pointer
  #session: Session = {}
  #ended = false
  #peerEnded = false
  #error: Error | undefined
  /** What was not sent yet when an end that had ended was destroyed. */
  #rest: Buffer = Buffer.alloc(0)
  /** Of the record that comes in, or came last: its header, how much of it has come, how long it is as far as known. */
  readonly #header = Buffer.alloc(HEADER_BYTES)
  #arrived = 0
  #length = 0
  #incomingEnded = false

  constructor(options: EndOptions & EngineOptions) {
    const { libssl = loadLibSSL(), bufferSize = 65_536, partialWrites = false } = options
    this.#lib = libssl

    const context = createContext(libssl, options, partialWrites)
    this.#ssl = libssl.SSL_new(context)
    libssl.SSL_CTX_free(context)
    if (options.role === 'server') {
      libssl.SSL_set_accept_state(this.#ssl)
    } else {
      libssl.SSL_set1_host(this.#ssl, options.servername)
      libssl.SSL_set_connect_state(this.#ssl)
    }

    const bio = new BigUint64Array(2)
    if (libssl.BIO_new_bio_pair(bio.subarray(0, 1), bufferSize, bio.subarray(1), bufferSize) !== 1) throw libssl.error()
    const [internal, network] = bio as unknown as [Pointer, Pointer]
    libssl.SSL_set_bio(this.#ssl, internal, internal)
    this.#network = network
  }

  read(into: Uint8Array): number | Want {
    const wasHandshaking = this.handshaking
    const result = this.#call('read', (ssl) => this.#outcome(ssl, this.#lib.SSL_read(ssl, into, into.length)))
    if (result === 0) this.#peerEnded = true
    if (wasHandshaking && !this.handshaking) this.#session = this.#newSession()
    return result
  }

  /**
   * SSL_write(3) has to be called again with the same buffer: it remembers the
   * address of what it could not finish. Here that is the address in `from`:
   * memory of a Uint8Array does not move, not even that of 64 bytes or fewer,
   * which V8 takes off its heap for good as soon as anybody asks Node-API for
   * its address. A binding that copies its arguments needs
   * SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER.
   */
  write(from: Uint8Array): number | Want {
    // SSL_write calls an empty one an error.
    if (from.length === 0) return 0
    return this.#call('write', (ssl) => this.#outcome(ssl, this.#lib.SSL_write(ssl, from, from.length)))
  }

  /** `abbreviated`: the session is resumed, with new keys all the same. */
  renegotiate({ abbreviated = false }: { abbreviated?: boolean } = {}): void {
    this.#call('renegotiate', (ssl) => {
      const { SSL_renegotiate, SSL_renegotiate_abbreviated } = this.#lib
      const begin = abbreviated ? SSL_renegotiate_abbreviated : SSL_renegotiate
      if (begin(ssl) !== 1) throw this.#lib.error()
    })
  }

  /** A server that has sent its HelloRequest is not SSL_in_init until the client answers, but SSL_renegotiate_pending. */
  get handshaking(): boolean {
    const ssl = this.#ssl
    return ssl !== null && (this.#lib.SSL_in_init(ssl) === 1 || this.#lib.SSL_renegotiate_pending(ssl) === 1)
  }

  get nextRecord(): RecordType | undefined {
    if (this.#ssl === null) return undefined
    // What a small read() left of a record comes first.
    if (this.#lib.SSL_pending(this.#ssl) > 0) return 'data'
    // The wire's end is read like an alert, or a pending write, which can't get through any more, would hide it.
    if (this.#incomingEnded && (this.#arrived < this.#length || this.#isRecordTaken())) return 'alert'
    return this.#isRecordTaken() ? undefined : recordTypes[this.#header[0] ?? 0]
  }

  /**
   * Of the last handshake that was completed. In the middle of one, OpenSSL
   * mixes the new with the old: a value from there proves nothing.
   */
  session(): Session {
    return this.#session
  }

  /** SSL_shutdown(3) must not be called in the middle of a handshake; that has to be read to its end first. */
  end(): true | Want {
    return this.#call('end', (ssl) => {
      // To SSL_in_init a failure is a handshake.
      if (this.#error !== undefined) throw this.#error
      if (this.#lib.SSL_in_init(ssl) === 1) return 'want-read'
      // Once more after success, SSL_shutdown would read and drop what the peer still sends.
      if (!this.#ended) {
        const returned = this.#lib.SSL_shutdown(ssl)
        if (returned < 0) return this.#outcome(ssl, returned) as Want
        this.#ended = true
      }
      return true
    })
  }

  destroy(): void {
    if (this.#ssl === null) return
    if (this.#ended || this.#peerEnded) {
      // What write() has taken still has to go, and a close_notify after it; in a dead handshake, there is none.
      this.#rest = Buffer.alloc(this.#lib.BIO_ctrl_pending(this.#network))
      this.outgoing(this.#rest)
    }
    this.#lib.SSL_free(this.#ssl)
    this.#lib.BIO_free(this.#network)
    this.#ssl = null
    this.onPoke?.()
  }

  /** Fills `into` with encrypted bytes that are to be sent; returns how many. */
  outgoing(into: Uint8Array): number {
    if (this.#ssl !== null) return Math.max(0, this.#lib.BIO_read(this.#network, into, into.length))
    const part = this.#rest.subarray(0, into.length)
    into.set(part)
    this.#rest = this.#rest.subarray(part.length)
    return part.length
  }

  /** No more will come out of {@link outgoing}. */
  get outgoingEnded(): boolean {
    return this.#ssl === null && this.#rest.length === 0
  }

  /**
   * Takes encrypted bytes that were received; returns how many, 0: none for the
   * time being.
   *
   * OpenSSL gets one record at a time, the next when it has taken the last. So
   * no read() takes more than `nextRecord` told: left to itself, SSL_read goes
   * on to the next one after a record that held no data.
   */
  incoming(bytes: Uint8Array): number {
    if (this.#ssl === null) return bytes.length
    if (this.#arrived === this.#length) {
      if (!this.#isRecordTaken()) return 0
      this.#arrived = 0
      this.#length = HEADER_BYTES
    }
    const part = bytes.subarray(0, this.#length - this.#arrived)
    const taken = Math.max(0, this.#lib.BIO_write(this.#network, part, part.length))
    if (this.#arrived < HEADER_BYTES) this.#header.set(part.subarray(0, taken), this.#arrived)
    this.#arrived += taken
    if (taken > 0 && this.#arrived === HEADER_BYTES) this.#length = HEADER_BYTES + this.#header.readUInt16BE(3)
    return taken
  }

  /** No more will come in. Without a close_notify before it, read() throws: "unexpected eof". */
  endIncoming(): void {
    if (this.#ssl !== null) this.#lib.BIO_ctrl(this.#network, BIO_C_SHUTDOWN_WR, 0, null)
    this.#incomingEnded = true
  }

  #isRecordTaken(): boolean {
    return this.#arrived === this.#length && this.#lib.BIO_ctrl_wpending(this.#network) === 0
  }

  /** Before each call the queue of errors must be empty, SSL_get_error(3); after it the wire may have something to do. */
  #call<T>(name: string, run: (ssl: Pointer) => T): T {
    if (this.#ssl === null) throw new Error(`${name}() after destroy()`)
    this.#lib.ERR_clear_error()
    try {
      return run(this.#ssl)
    } finally {
      this.onPoke?.()
    }
  }

  /** What a return value of SSL_read, SSL_write or SSL_shutdown means. */
  #outcome(ssl: Pointer, returned: number): number | Want {
    if (returned > 0) return returned
    switch (this.#lib.SSL_get_error(ssl, returned)) {
      case SSL_ERROR_WANT_READ:
        return 'want-read'
      case SSL_ERROR_WANT_WRITE:
        return 'want-write'
      case SSL_ERROR_ZERO_RETURN:
        return 0
      default:
        // Asked again after a fatal error, OpenSSL fails without a word.
        this.#error ??= this.#lib.error()
        throw this.#error
    }
  }

  #newSession(): Session {
    const { SSL_export_keying_material, SSL_get0_peer_certificate, SSL_session_reused, X509_digest } = this.#lib
    const ssl = this.#ssl
    // Not the keys themselves, but a value that is new with them, and equal at both ends: RFC 5705.
    const keys = Buffer.alloc(32)
    const label = 'EXPERIMENTAL renegotiation'
    if (SSL_export_keying_material(ssl, keys, keys.length, label, label.length, null, 0, 0) !== 1) {
      throw this.#lib.error()
    }
    const resumed = SSL_session_reused(ssl) === 1
    const certificate: Pointer | null = SSL_get0_peer_certificate(ssl)
    if (certificate === null) return { keys, resumed }
    const identity = Buffer.alloc(32)
    X509_digest(certificate, this.#lib.EVP_sha256(), identity, null)
    return { keys, resumed, identity }
  }
}

function createContext(lib: LibSSL, end: EndOptions, partialWrites: boolean): Pointer {
  const context = lib.SSL_CTX_new(lib.TLS_method())
  // RFC 8446 has no renegotiation.
  lib.SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, null)
  lib.SSL_CTX_ctrl(context, SSL_CTRL_SET_MAX_PROTO_VERSION, TLS1_2_VERSION, null)
  // Since OpenSSL 3.0 a server refuses its clients' renegotiations by default: SSL_CTX_set_options(3).
  lib.SSL_CTX_set_options(context, SSL_OP_ALLOW_CLIENT_RENEGOTIATION)
  if (partialWrites) lib.SSL_CTX_ctrl(context, SSL_CTRL_MODE, SSL_MODE_ENABLE_PARTIAL_WRITE, null)

  if (end.role === 'server') {
    const certificate = parse(lib, lib.PEM_read_bio_X509, end.cert)
    const key = parse(lib, lib.PEM_read_bio_PrivateKey, end.key)
    if (lib.SSL_CTX_use_certificate(context, certificate) !== 1) throw lib.error()
    if (lib.SSL_CTX_use_PrivateKey(context, key) !== 1) throw lib.error()
    lib.X509_free(certificate)
    lib.EVP_PKEY_free(key)
  } else {
    const certificate = parse(lib, lib.PEM_read_bio_X509, end.ca)
    if (lib.X509_STORE_add_cert(lib.SSL_CTX_get_cert_store(context), certificate) !== 1) throw lib.error()
    lib.X509_free(certificate)
    lib.SSL_CTX_set_verify(context, SSL_VERIFY_PEER, null)
  }
  return context
}

/** What a PEM text says, by one of OpenSSL's PEM_read_bio functions. */
function parse(lib: LibSSL, read: LibSSL['PEM_read_bio_X509'], pem: string): Pointer {
  const text = Buffer.from(pem)
  const bio = lib.BIO_new_mem_buf(text, text.length)
  const parsed: Pointer | null = read(bio, null, null, null)
  lib.BIO_free(bio)
  if (parsed === null) throw lib.error()
  return parsed
}
