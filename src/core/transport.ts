import type { PeerLimit, RenegotiateOptions } from './options.ts'

/**
 * What is known of a TLS session (or of whatever a transport calls its keys)
 * between two handshakes. Compared before and after a handshake, it tells
 * whether the keys changed and who the peer is. Everything is optional: a
 * transport tells what it can.
 */
export interface Session {
  /** A value that changes with the keys, and only with them; never the keys themselves. */
  readonly keys?: Uint8Array | undefined
  /** The peer's identity, e.g. its certificate in DER; absent where it gave none. */
  readonly identity?: Uint8Array | undefined
  /** The identity that goes with a pre-shared key; absent where none was used. */
  readonly pskIdentity?: Uint8Array | undefined
  /** On a server: the name that the client asked for (SNI), '' for none; absent where it is not known. */
  readonly servername?: string | undefined
  /** The last handshake was an abbreviated one: it resumed a session. */
  readonly resumed?: boolean | undefined
  /** The peer's certificate was verified. */
  readonly authorized?: boolean | undefined
  /** Why it was not. */
  readonly authorizationError?: Error | string | undefined
  /** The session has the extended master secret (RFC 7627). */
  readonly extendedMasterSecret?: boolean | undefined
}

/**
 * What a transport can tell about an error that ended a handshake: the peer
 * `refused`; it knows no secure renegotiation (RFC 5746), so that our end
 * refused (`insecure`); it sent application data where there must be none
 * (`peer-data`); it could not take ours that was on its way (`our-data`); its
 * messages were not those of a good handshake (`broken`).
 */
export type HandshakeFailure = 'refused' | 'insecure' | 'peer-data' | 'our-data' | 'broken'

/**
 * What a transport tells the stream that sits on it. Every method may be
 * called at any time from {@link Transport.attach} on, also from within a call
 * into the transport: `ready` within `attach`, `data` within `resume`. Always on
 * the object that `attach` was given: it is the stream's own.
 */
export interface TransportEvents {
  /** Renegotiation is possible from now on: the connection and its first handshake are complete. Call once. */
  ready(): void
  /**
   * Application data arrived, one byte or more; the memory is the stream's from
   * then on. Must not be called while paused, nor after `end` or `closed`.
   */
  data(chunk: Buffer): void
  /** The peer sent its end (close_notify or FIN), and all data before it was handed to `data`. Call once. */
  end(): void
  /**
   * A handshake begins, the peer's or the next step of ours: from inside this
   * call on, nothing is written until `handshakeDone`. May be called more than
   * once a handshake.
   */
  handshakeStarted(): void
  /**
   * The handshake is complete that {@link Transport.renegotiate} began or
   * `handshakeStarted` told of. `session()` now tells of the new one.
   */
  handshakeDone(): void
  /** The connection failed, or is gone without an `end`. The stream will call `destroy`. */
  error(error: Error): void
  /** Everything is released; nothing will be called any more. Call once, also after `destroy`. */
  closed(): void
}

/** What a server asks of its clients. */
export interface CertificatePolicy {
  readonly requestCert: boolean
  readonly rejectUnauthorized: boolean
}

/**
 * `error`: the write failed, and with it the connection. `bytesTaken`: how many
 * bytes of what was offered are really on their way; left out only with an error.
 */
export type WriteCallback = (error: Error | null | undefined, bytesTaken?: number) => void

/**
 * What lies below a stream: a TLS socket, another Duplex, a TLS engine, or
 * anything else that carries bytes both ways, in order. To make one, implement
 * this, and run the tests of `renegotiation-duplex/compliance` on it.
 *
 * The stream keeps its side: one write at a time; none, not even an empty one,
 * between `handshakeStarted` and `handshakeDone`; nothing after `end()` but
 * reading, nothing after `destroy()`. In return the transport keeps the
 * contract below, and needs to know nothing of queues, backpressure or when to
 * renegotiate. What it throws, where nothing else is said, destroys the stream
 * with that error.
 *
 * The two directions must not wait for each other: what is received comes while
 * a write is in flight, or two ends with full buffers would stand still.
 */
export interface Transport {
  /**
   * Takes the events. Called once, by the stream, before anything else.
   *
   * @throws where the transport already has a stream.
   */
  attach(events: TransportEvents): void
  /**
   * The contract of fs.write: calls `done(error, bytesTaken)` exactly once,
   * before it returns or later, when that many bytes from the beginning of
   * `buffer` are on their way. There is never a second write before `done`,
   * which need not come any more where `closed` does.
   *
   * - All of them: well.
   * - Fewer: the stream offers the rest of the same memory next.
   * - None: it offers the identical object again, in a later turn of the event
   *   loop. A handshake may come before that, so nothing of it may be pending
   *   below. Where SSL_write has stopped in the middle of a record and wants the
   *   same buffer again, the transport keeps it, offers it again itself, and
   *   calls `done` when it was taken.
   * - `error`: the connection is lost. The stream will call `destroy`.
   *
   * `buffer` is the application's own memory: not to be changed, and not to be
   * looked at after `done`.
   *
   * An empty buffer is a barrier, of which nothing is sent: its `done` comes
   * when everything received so far has been looked at.
   */
  write(buffer: Uint8Array, done: WriteCallback): void
  /** The same for several buffers in a row; `bytesTaken` counts over all. Where it is missing, they come one by one. */
  writev?(buffers: readonly Uint8Array[], done: WriteCallback): void
  /**
   * Ends our side, after everything written; the peer's `end` tells it there.
   * Called with nothing in flight, and `done` called once. Reading goes on.
   */
  end(done: (error?: Error | null) => void): void
  /**
   * Stops `data` at once, also when called within it; what has been received is
   * kept. A transport starts out paused. The first handshake goes on all the
   * same, up to `ready`.
   */
  pause(): void
  /** Lets `data` come, and with it `end`, and the handshakes that stand behind data. */
  resume(): void
  /** Releases everything, at once, whatever is in flight; called once. Ends in `closed`. */
  destroy(): void
  /**
   * Begins a handshake of our own. Called with nothing in flight; reading
   * drives it, `handshakeDone` tells the end. `handshakeStarted` need not tell
   * of it, and may. `requestCert` and
   * `rejectUnauthorized` are always there, as they hold for this handshake; the
   * stream judges the certificate by `session()`.
   *
   * @throws where it can't begin; the connection goes on then.
   */
  renegotiate(options: RenegotiateOptions): void
  /**
   * The peer has ended while a handshake of our own was on its way: takes it
   * back, where nothing but a request has been sent that the peer need not
   * answer. Returns whether writes can go on. Where it is missing, they can't.
   */
  takeBack?(): boolean
  /**
   * The stream has judged the handshake good that `handshakeDone` told of:
   * `session` is what is known of it. Called within `handshakeDone`. A transport
   * that tells the application of its session tells of the new one from now on,
   * and not before.
   */
  accepted?(session: Session): void
  /**
   * While a handshake runs: whether the peer has taken part in it, so that it
   * can send no more data with the old keys. Where it is missing, nobody knows,
   * and a handshake does not make up for keys that have reached `rekey.hardLimit`.
   */
  readonly peerAnswered?: boolean | undefined
  /** Why this connection can't renegotiate, in a sentence for the error message; undefined where it can. */
  unsupported(): string | undefined
  /** What is known of the session now in force. */
  session(): Session
  /** Tells apart what an error during a handshake means. Undefined: none of these. */
  failure?(error: Error): HandshakeFailure | undefined
  /**
   * On a server: whether the connection was made to ask for a client
   * certificate, and to insist on a valid one. Where it is missing, this end
   * can't ask: `requestCert: true` fails with `ERR_RENEGOTIATION_UNSUPPORTED`.
   */
  readonly certificatePolicy?: CertificatePolicy | undefined
  /** Where the option `peerLimit` isn't given. */
  readonly peerLimit: PeerLimit | false
  /**
   * It was accepted from a client. An error of the stream without a listener
   * does not end the process then, as with the sockets of a tls.Server.
   */
  readonly isServer?: boolean | undefined
  /** Whether our side stays open after the peer's end until the application ends it. */
  readonly allowHalfOpen: boolean
  /** Our side has ended before there was a stream; then so has the stream's writable side, from the beginning. */
  readonly ended?: boolean | undefined
}
