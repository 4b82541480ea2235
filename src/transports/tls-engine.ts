/* What engineTransport() needs from a TLS library. */
import type { CertificatePolicy, Session } from '../core/transport.ts'
import type { PostHandshakeCounts } from './post-handshake-messages.ts'

/** What a call waits for: SSL_ERROR_WANT_READ or SSL_ERROR_WANT_WRITE. Both reads and writes may return either. */
export type Want = 'want-read' | 'want-write'

/** The type of a TLS record: its first byte, which is not encrypted. Change cipher spec counts as `'handshake'`. */
export type RecordType = 'data' | 'handshake' | 'alert'

/**
 * A TLS library with the shape of SSL_read and SSL_write, for example a binding of OpenSSL. Its calls never block. The
 * engine sends and receives on a connection of its own, and calls `onReady` when there is something to do.
 *
 * If it throws, the stream is destroyed with that error. A reason of OpenSSL in the message, or in the `code` as Node
 * forms it, lets the transport recognise a refusal, and data in a handshake.
 */
export interface TLSEngine {
  /**
   * Reads application data into `into`, and drives the handshake. Returns how many bytes were read, 0 after the peer
   * has closed its side, or a {@link Want}. Throws if the connection has failed.
   */
  read(into: Uint8Array): number | Want
  /**
   * Writes application data. Returns how many bytes of `from` were taken, maybe not all, or a {@link Want}. After a
   * Want, the same object is offered again. Throws if the connection has failed.
   */
  write(from: Uint8Array): number | Want
  /**
   * Asks for a handshake; the next read() drives it. `options` has `requestCert` and `rejectUnauthorized`, as they
   * apply to this handshake. Throws if there can be none.
   */
  renegotiate(options?: object): void
  /** Whether a handshake is due or in progress: `SSL_in_init || SSL_renegotiate_pending`. */
  readonly handshaking: boolean
  /**
   * The type of the record that the next read() reads, also if a part of it was read already. Undefined if none has
   * arrived. After a record without data, SSL_read goes on to the next one: give it one record at a time, or it reads
   * more than this property announced. Leave it out if the engine cannot tell.
   */
  readonly nextRecord?: RecordType | undefined
  /**
   * The most bytes that the next read() can return, if that can be more than one record has (16 KiB). Then `into` is as
   * large. 0 or undefined: it cannot, or the engine cannot tell.
   */
  readonly readableBytes?: number | undefined
  /** Of how many TLS records the last read() has returned the data, for `counters`. Default: 1. */
  readonly recordsRead?: number | undefined
  /** Sends close_notify. Returns true or a {@link Want}. Called when all writes are done, never while `handshaking`. */
  end(): true | Want
  /** Releases everything. If either side has ended in order, what write() has taken must still be sent. */
  destroy(error?: Error | null): void
  /**
   * Set by the transport. The engine must call it when read(), write() or end() may get further: when bytes were
   * received or sent. It must not call it after every call that returned a {@link Want}, or that would never end.
   */
  onReady: (() => void) | null
  /**
   * In TLS 1.3, once the first handshake is complete: how many key updates there were. `handshaking` is false from then
   * on, and {@link renegotiate} sends a certificate request if `requestCert` is true, and else a key update. Undefined if
   * the connection can renegotiate.
   */
  readonly keyUpdates?: PostHandshakeCounts | undefined
  /** The same for certificate requests after the handshake. */
  readonly authentications?: PostHandshakeCounts | undefined
  /** In TLS 1.3: see {@link Transport.recordLimit}. */
  readonly recordLimit?: number | undefined
  /** Returns what is known of the session. Without it, no report is `verified`. */
  session?(): Session
  /** On a server that can request a certificate of its client. See {@link Transport.certificatePolicy}. */
  readonly certificatePolicy?: CertificatePolicy | undefined
}
