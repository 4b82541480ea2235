/* The transport over any Duplex of bytes. */
import type { Duplex } from 'node:stream'
import tls from 'node:tls'
import { invalidType, invalidValue } from '../core/errors.ts'
import { checkedSession } from '../core/guarded-transport.ts'
import type { RenegotiateOptions } from '../core/options.ts'
import type { HandshakeFailure, Session, Transport, WriteCallback } from '../core/transport.ts'
import { quote } from '../core/values.ts'
import { StreamTransport } from './stream-transport.ts'

const { TLSSocket } = tls

/** The functions that report a renegotiation begun by the peer. See {@link DuplexTransportOptions.peerHandshakes}. */
export interface PeerHandshakes {
  /** The peer begins to change the keys. From inside this call on, nothing is written to the Duplex. */
  started(): void
  /** The change of the keys is complete. Writes are released. */
  done(): void
}

/** Options of {@link duplexTransport}. */
export interface DuplexTransportOptions {
  /**
   * Changes the keys. Called when no write is in flight. Writes are released when it returns, or, if it returns a
   * promise, when that is fulfilled. `handshakeTimeout` limits the time.
   *
   * If it throws, nothing has begun: the stream goes on, and the renegotiation fails with
   * `ERR_RENEGOTIATION_UNSUPPORTED`. If the promise is rejected, it is unknown which keys are in use: the stream is
   * destroyed with `ERR_RENEGOTIATION_REFUSED`. The error is the `cause` in both cases.
   * @default none: every renegotiation fails with `ERR_RENEGOTIATION_UNSUPPORTED`
   */
  renegotiate?: ((options: RenegotiateOptions) => unknown) | undefined
  /**
   * Called once, with two functions: call `started()` when the peer begins to change the keys, and `done()` when that
   * is complete. Both may be called for a renegotiation of this end as well. Needs `renegotiate`.
   * @default none: the peer begins no renegotiation, or writes need not be held for it
   */
  peerHandshakes?: ((peer: PeerHandshakes) => void) | undefined
  /**
   * Returns what is known of the keys in use.
   * @default none: no report is `verified`
   */
  session?: (() => Session) | undefined
}

/**
 * Makes a transport over any Duplex of bytes, with your own way of changing the keys, for example a cipher of your own
 * over TCP.
 *
 * `duplex` is a Duplex of Node.js, or of readable-stream 4 or newer. It must emit `close`. A write that it has called
 * back for counts as being on its way.
 *
 * @throws {TypeError} if `duplex` is not a Duplex, is a tls.TLSSocket (use {@link tlsTransport} for one), is in object
 *   mode or has an encoding set; if an option is not a function; if `session()` returns keys that are not bytes; or if
 *   there is `peerHandshakes` without `renegotiate`.
 *
 * @example
 * ```js
 * const stream = new RenegotiationDuplex(
 *   duplexTransport(cipher, {
 *     renegotiate: () => cipher.rekey(),
 *     peerHandshakes: ({ started, done }) => cipher.on('rekeying', started).on('rekeyed', done),
 *     session: () => ({ keys: cipher.fingerprint }), // bytes that change with the keys
 *   }),
 * )
 * ```
 */
export function duplexTransport(duplex: Duplex, options: DuplexTransportOptions = {}): Transport {
  // Other streams do not call back or do not show their state. Older ones end by themselves despite `allowHalfOpen`.
  if (typeof duplex?.closed !== 'boolean' || typeof duplex.writableLength !== 'number') {
    throw invalidType(`duplex must be a Duplex of Node's, or of readable-stream 4 or newer, got ${quote(duplex)}`)
  }
  if (duplex instanceof TLSSocket) throw invalidValue('duplex must not be a tls.TLSSocket; tlsTransport() is for that')
  if (duplex.readableObjectMode || duplex.writableObjectMode) throw invalidValue('duplex must not be in object mode')
  if (duplex.readableEncoding) {
    throw invalidValue(`duplex must not have an encoding set, it has '${duplex.readableEncoding}'`)
  }
  for (const name of ['renegotiate', 'peerHandshakes', 'session'] as const) {
    const value: unknown = options[name]
    if (value !== undefined && typeof value !== 'function') {
      throw invalidType(`${name} must be a function, got ${quote(value)}`)
    }
  }
  if (options.peerHandshakes !== undefined && options.renegotiate === undefined) {
    throw invalidValue('peerHandshakes needs renegotiate: where there is none, the peer can begin none')
  }
  const transport = new DuplexTransport(duplex, options)
  // Without a _writev() of its own, the Duplex queues the buffers, and still writes them after a handshake has begun.
  if (typeof duplex._writev !== 'function') Object.assign(transport, { writev: undefined })
  return transport
}

class DuplexTransport extends StreamTransport<Duplex> {
  readonly peerLimit = false
  readonly #options: DuplexTransportOptions
  /** Which end has a renegotiation in progress. Both may: the peer can begin one during one of this end. */
  readonly #running = { local: false, peer: false }
  #rejection: Error | undefined

  constructor(duplex: Duplex, options: DuplexTransportOptions) {
    super(duplex)
    this.#options = options
    // Throws now if `session()` returns a wrong type, not in the middle of a renegotiation.
    this.session()
  }

  protected override attached(): void {
    this.#options.peerHandshakes?.({
      started: () => {
        this.#running.peer = true
        this.events.handshakeStarted()
      },
      done: () => this.#over('peer'),
    })
    this.events.ready()
  }

  protected override detached(): void {}

  /** Skips an empty write, which some Duplexes would send as a message. Nothing is in flight that it could wait for. */
  override write(buffer: Uint8Array, done: WriteCallback): void {
    if (buffer.length === 0) done(null, 0)
    else super.write(buffer, done)
  }

  override renegotiate(options: RenegotiateOptions): void {
    this.#running.local = true
    let renegotiated: unknown
    try {
      renegotiated = this.#options.renegotiate?.(options)
    } catch (error) {
      this.#running.local = false
      throw error
    }
    Promise.resolve(renegotiated).then(
      () => this.#over('local'),
      (reason: unknown) => this.#failed(reason),
    )
  }

  override unsupported(): string | undefined {
    return this.#options.renegotiate ? undefined : 'duplexTransport() was given no way to renegotiate'
  }

  override session(): Session {
    return checkedSession(this.#options.session?.() ?? {})
  }

  override failure(error: Error): HandshakeFailure | undefined {
    return error === this.#rejection ? 'refused' : undefined
  }

  #over(whose: 'local' | 'peer'): void {
    // A destroyed Duplex reports by `error` and `close` only.
    if (!this.#running[whose] || this.stream.destroyed) return
    this.#running[whose] = false
    if (!this.#running.local && !this.#running.peer) this.events.handshakeDone()
  }

  #failed(reason: unknown): void {
    if (this.stream.destroyed) return
    this.#rejection = reason instanceof Error ? reason : new Error(`renegotiate() was rejected with ${quote(reason)}`)
    this.events.error(this.#rejection)
  }
}
