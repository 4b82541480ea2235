import type { RenegotiateOptions } from '../options.ts'

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
  /** The last handshake was an abbreviated one: it resumed a session. */
  readonly resumed?: boolean | undefined
  /** The peer's certificate was verified. */
  readonly authorized?: boolean | undefined
  /** Why it was not. */
  readonly authorizationError?: Error | string | undefined
}

/** What a transport can tell about an error that ended a handshake. */
export type HandshakeFailure = 'refused' | 'peer-data' | 'our-data'

/**
 * What a transport tells the stream that sits on it. Every method may be
 * called at any time after {@link Transport.attach}, also from within a call
 * into the transport.
 */
export interface TransportEvents {
  /** Renegotiation is possible from now on: the connection and its first handshake are complete. Call once. */
  ready(): void
  /** Application data arrived. Must not be called after `end` or `closed`. */
  data(chunk: Buffer): void
  /** The peer sent its end (close_notify or FIN), and all data before it was handed to `data`. Call once. */
  end(): void
  /**
   * A handshake begins, the peer's or the next step of ours: from inside this
   * call on, nothing is written until `handshakeDone`. May be called more than
   * once a handshake.
   */
  handshakeStarted(): void
  /** The handshake that `handshakeStarted` told of is complete. `session()` now tells of the new one. */
  handshakeDone(): void
  /** The connection failed. The stream will call `destroy`. */
  error(error: Error): void
  /** Everything is released; nothing will be called any more. Call once, also after `destroy`. */
  closed(): void
}

/** How many handshakes a peer may begin (`max`) in how long (`windowMs`, milliseconds). */
export interface PeerLimit {
  readonly max: number
  readonly windowMs: number
}

/** What a server asks of its clients. */
export interface CertificatePolicy {
  readonly requestCert: boolean
  readonly rejectUnauthorized: boolean
}

/**
 * `error`: the write failed, and with it the connection. `bytesTaken`: how many
 * bytes of what was offered are really on their way; looked at only without an error.
 */
export type WriteCallback = (error: Error | null | undefined, bytesTaken: number) => void

/**
 * What lies below a stream: a TLS socket, another Duplex, a TLS engine. The
 * stream asks for one write at a time and never writes between
 * `handshakeStarted` and `handshakeDone`; in return the transport keeps the
 * contract below. It knows nothing of queues, backpressure or renegotiation
 * policy.
 */
export interface Transport {
  /**
   * Takes the events. Called once, by the stream, before anything else.
   *
   * @throws where the transport already has a stream.
   */
  attach(events: TransportEvents): void
  /**
   * The contract of fs.write: calls `done(error, bytesTaken)` once, when that
   * many bytes are on their way. Fewer than offered: the stream offers the
   * rest of the same memory. None: it offers the identical object again, in a
   * later turn of the event loop; a handshake may come before that, so nothing
   * of it may be pending here. (Where SSL_write wants the same buffer again,
   * the transport keeps it, and calls `done` when it was taken.) There is never a second write before `done`,
   * which need not come any more where `closed` does.
   *
   * An empty buffer is a barrier: its `done` comes when everything written
   * before is on its way and everything received so far has been looked at.
   */
  write(buffer: Uint8Array, done: WriteCallback): void
  /** The same for several buffers in a row; `bytesTaken` counts over all. Where it is missing, they come one by one. */
  writev?(buffers: readonly Uint8Array[], done: WriteCallback): void
  /** Ends our side, after everything written. */
  end(done: (error?: Error | null) => void): void
  /** Stops `data`. A transport starts out paused. */
  pause(): void
  /** Lets `data` come. */
  resume(): void
  /** Releases everything, at once. Ends in `closed`. */
  destroy(): void
  /**
   * Begins a handshake of our own. Called with nothing in flight; reading
   * drives it, `handshakeDone` tells the end. `requestCert` and
   * `rejectUnauthorized` are always there, as they hold for this handshake; the
   * stream judges the certificate by `session()`.
   *
   * @throws where it can't begin; the connection goes on then.
   */
  renegotiate(options: RenegotiateOptions): void
  /** Why this connection can't renegotiate, in a sentence for the error message; undefined where it can. */
  unsupported(): string | undefined
  /** What is known of the session now in force. */
  session(): Session
  /** Tells apart what an error during a handshake means. Undefined: none of these. */
  failure?(error: Error): HandshakeFailure | undefined
  /** On a server: whether the connection was made to ask for a client certificate, and to insist on a valid one. */
  readonly certificatePolicy?: CertificatePolicy | undefined
  /** Where the option `peerLimit` isn't given. */
  readonly peerLimit: PeerLimit | false
  /** Whether our side stays open after the peer's end until the application ends it. */
  readonly allowHalfOpen: boolean
  /** Our side has ended before there was a stream; then so has the stream's writable side, from the beginning. */
  readonly ended?: boolean | undefined
}
