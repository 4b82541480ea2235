/* The contract between a stream and the transport below it. */
import type { PeerLimit, RenegotiateOptions } from './options.ts'
import type { PeerCertificates } from './peer-certificates.ts'
import type { PostHandshakeKind } from './report.ts'

/**
 * What a transport knows of its session: the keys in use, and the identity of the peer. The stream compares the
 * sessions before and after a handshake. All properties are optional, because not every transport knows them.
 */
export interface Session {
  /** Bytes that change with the keys, and only with them. They must not be the keys themselves. */
  readonly keys?: Uint8Array | undefined
  /** The identity of the peer, for example its certificate in DER. Absent if it gave none. */
  readonly identity?: Uint8Array | undefined
  /** The identity that belongs to the pre-shared key. Absent if none was used. */
  readonly pskIdentity?: Uint8Array | undefined
  /** On a server: the server name that the client requested (SNI), `''` for none. Absent if it is not known. */
  readonly servername?: string | undefined
  /** Whether the last handshake was abbreviated, so that it resumed a session. */
  readonly resumed?: boolean | undefined
  /** Whether the peer's certificate was verified. */
  readonly authorized?: boolean | undefined
  /** Why the peer's certificate was not verified. */
  readonly authorizationError?: Error | string | undefined
  /** Whether the session has the extended master secret (RFC 7627). */
  readonly extendedMasterSecret?: boolean | undefined
}

/**
 * Why a handshake failed, as a transport can tell from the error.
 *
 * - `refused`: the peer refused.
 * - `insecure`: this end refused, because the peer does not support secure renegotiation (RFC 5746).
 * - `peer-data`: the peer sent application data where the handshake allows none.
 * - `unexpected-message`: the peer sent the alert unexpected_message. If the peer began the handshake, it could not accept
 *   the application data that was on its way to it. If this end began, nothing was on its way: the peer refused. Go and
 *   wolfSSL refuse with this alert.
 * - `broken`: the handshake messages of the peer were invalid.
 */
export type HandshakeFailure = 'refused' | 'insecure' | 'peer-data' | 'unexpected-message' | 'broken'

/**
 * The functions that a transport calls to report to its stream.
 *
 * They may be called at any time from {@link Transport.attach} on, also from inside a call into the transport: `ready`
 * from inside `attach`, `data` from inside `resume`. Call them as methods of the object that `attach` received.
 */
export interface TransportEvents {
  /** The connection and its first handshake are complete: renegotiation is possible from now on. Call it once. */
  ready(): void
  /**
   * Application data was received, at least one byte. The memory then belongs to the stream. Must not be called while
   * the transport is paused, or after `end` or `closed`.
   *
   * @param records of how many TLS records it is the content, for `counters`. Default: 1.
   */
  data(chunk: Buffer, records?: number): void
  /** The peer closed the connection (close_notify or FIN). Call it once, after `data` with everything received. */
  end(): void
  /**
   * A handshake begins: one of the peer, or the next step of one of this end. From inside this call on, the stream
   * writes nothing until `handshakeDone`. May be called more than once for a handshake.
   */
  handshakeStarted(): void
  /**
   * The handshake that {@link Transport.renegotiate} began, or that `handshakeStarted` reported, is complete.
   * {@link Transport.session} must return the new session by now.
   */
  handshakeDone(): void
  /**
   * In TLS 1.3: what {@link Transport.renegotiate} began is sent, a key update or a certificate request. The stream writes
   * again. Must be followed by `requestAnswered`, if the peer answers.
   */
  requestSent(): void
  /**
   * In TLS 1.3: the peer has answered the last request of this kind. The session must include its certificate by now, if
   * one was requested.
   */
  requestAnswered(kind: PostHandshakeKind): void
  /** In TLS 1.3: the peer has updated its keys, or this end has answered a certificate request of the peer. */
  peerUpdated(kind: PostHandshakeKind): void
  /** The connection failed, or was lost without an `end`. The stream then calls `destroy`. */
  error(error: Error): void
  /** Everything is released. Call it once, also after `destroy`, and nothing after it. */
  closed(): void
}

/** Whether a server requests a certificate of its clients, and whether it requires a valid one. */
export interface CertificatePolicy {
  readonly requestCert: boolean
  readonly rejectUnauthorized: boolean
}

/** What a transport is told of a handshake that it must begin. */
export interface HandshakeOptions extends RenegotiateOptions {
  /** Whether the handshake must not resume a session, because a certificate is requested or required in it. */
  readonly full?: boolean | undefined
}

/**
 * The callback of a write. `error`: the write failed, and so did the connection. `bytesTaken`: how many of the offered
 * bytes are really on their way; required unless there is an error.
 */
export type WriteCallback = (error: Error | null | undefined, bytesTaken?: number) => void

/**
 * The interface of what lies below a stream: a TLS socket, another Duplex, a TLS engine, or anything else that carries
 * bytes in both directions, in order. For a transport of your own, implement this interface, and run the tests of
 * `renegotiation-duplex/compliance` on it.
 *
 * The stream makes one write at a time. It makes none between `handshakeStarted` and `handshakeDone`, not even an empty
 * one, except while {@link Transport.awaitsAnswer} is true. After `end()` it only reads; after `destroy()` it calls nothing. The transport needs no queue, no backpressure
 * and no decision when to renegotiate. If it throws, the stream is destroyed with that error, unless stated otherwise.
 *
 * The two directions must not wait for each other: received data must be delivered while a write is in flight.
 * Otherwise two ends with full buffers wait for each other forever.
 */
export interface Transport {
  /**
   * Stores the functions to report to. The stream calls it once, before anything else.
   *
   * @throws if the transport already has a stream.
   */
  attach(events: TransportEvents): void
  /**
   * Sets whether renegotiations of this server may resume the session, except for those with
   * {@link HandshakeOptions.full}. Called at most once, before {@link attach}, if the option `resumption` is given. Without
   * this method, that option is a TypeError.
   *
   * @throws TypeError on a client.
   */
  allowResumption?(allowed: boolean): void
  /**
   * Writes `buffer`, with the contract of fs.write(): calls `done(error, bytesTaken)` exactly once, before it returns
   * or later, when that many bytes from the beginning of `buffer` are on their way. There is no second write before
   * `done`. After `closed`, `done` is not needed any more.
   *
   * - Fewer bytes taken than offered: the stream offers the rest of the same memory next.
   * - None taken: the stream offers the identical object again, in a later turn of the event loop. A handshake may come
   *   in between, so no part of it may be pending below. If SSL_write has stopped in the middle of a record and needs
   *   the same buffer again, the transport keeps the buffer, offers it again itself, and then calls `done`.
   * - `error`: the connection is lost. The stream then calls `destroy`.
   *
   * `buffer` is memory of the application: do not change it, and do not access it after `done`.
   *
   * An empty buffer is a barrier, or a write of the application that has no bytes. It sends nothing; call `done` when
   * everything received so far was looked at, and not before the connection is established.
   */
  write(buffer: Uint8Array, done: WriteCallback): void
  /** Writes several buffers like one; `bytesTaken` counts all. Without this method, they are written one by one. */
  writev?(buffers: readonly Uint8Array[], done: WriteCallback): void
  /**
   * Ends this side of the connection after everything written, and calls `done` once. The transport of the peer then
   * reports `end`. Called when no write is in flight. Reading goes on.
   */
  end(done: (error?: Error | null) => void): void
  /**
   * Stops `data` at once, also when called from inside `data`. What was received is kept. A transport is paused at
   * first; its first handshake proceeds all the same, up to `ready`.
   */
  pause(): void
  /** Lets `data` and `end` be reported, and the handshakes that come after the data. */
  resume(): void
  /** Releases everything at once, whatever is in flight. Called once. The transport then calls `closed`. */
  destroy(): void
  /**
   * Begins a handshake. Called when no write is in flight. Reading drives the handshake; the transport calls
   * `handshakeDone` when it is complete, and may call `handshakeStarted` for it. `requestCert` and `rejectUnauthorized`
   * are always set, to what applies to this handshake, and so is `full`. The stream itself checks the certificate, by
   * `session()`.
   *
   * If {@link hasKeyUpdates} is true, it sends a certificate request if `requestCert` is true, and else a key update,
   * and calls `requestSent`.
   *
   * @throws if the handshake cannot begin. The stream goes on then.
   */
  renegotiate(options: HandshakeOptions): void
  /**
   * Takes back a handshake of this end, after the peer has closed its side. That is possible if only a request was sent
   * that the peer does not have to answer. Returns whether writes can continue. Without this method, they cannot.
   */
  takeBack?(): boolean
  /**
   * The stream has accepted the handshake that `handshakeDone` reported; `session` is its session. Called from inside
   * `handshakeDone`. A transport that shows its session to the application shows the new one from now on, not earlier.
   */
  accepted?(session: Session): void
  /**
   * During a handshake: whether the peer has answered, so that it can send no more data with the old keys. Without this
   * property, the stream is destroyed when the keys reach `rekey.hardLimit`, even during a handshake.
   */
  readonly peerAnswered?: boolean | undefined
  /**
   * On a server that can send data after its request for a handshake: whether a request was sent, and the answer has not
   * been processed yet. The transport must call `handshakeStarted` for the answer, before it is processed. With the option
   * `holdFrom: 'answer'`, the stream writes while this is true. Undefined if the transport cannot tell.
   */
  readonly awaitsAnswer?: boolean | undefined
  /** Whether this connection has key updates in place of renegotiations (TLS 1.3). */
  readonly hasKeyUpdates?: boolean | undefined
  /**
   * With {@link hasKeyUpdates}: how many records the cipher allows with one key, Infinity if it needs no limit. For
   * `rekey: 'auto'`.
   */
  readonly recordLimit?: number | undefined
  /** Returns why this connection cannot renegotiate, as a sentence for the error message. Undefined if it can. */
  unsupported(): string | undefined
  /** Returns what is known of the current session. */
  session(): Session
  /** Returns what an error during a handshake means. Undefined if it is none of these failures. */
  failure?(error: Error): HandshakeFailure | undefined
  /**
   * On a server: whether the connection was made to request a client certificate, and to require a valid one. If it is
   * undefined, this end cannot request one: `requestCert: true` is rejected with `ERR_RENEGOTIATION_UNSUPPORTED`.
   */
  readonly certificatePolicy?: CertificatePolicy | undefined
  /** What is known of the peer's certificates. Without it, `updateCRL()` is rejected with `ERR_RENEGOTIATION_UNSUPPORTED`. */
  readonly peerCertificates?: PeerCertificates | undefined
  /** The default of the option `peerLimit`. */
  readonly peerLimit: PeerLimit | false
  /**
   * Whether the connection was accepted from a client. If so, an error of the stream without an `error` listener does
   * not end the process, as with the sockets of a tls.Server.
   */
  readonly isServer?: boolean | undefined
  /** Whether this side stays open after the peer has closed its side, until the application ends it. */
  readonly allowHalfOpen: boolean
  /** Whether this side had ended before the stream was made. The stream's writable side has ended then, too. */
  readonly ended?: boolean | undefined
}
