import type { Duplex } from 'node:stream'
import tls from 'node:tls'
import { invalidType, invalidValue } from '../core/errors.ts'
import { checkedSession } from '../core/guarded-transport.ts'
import { quote, type RenegotiateOptions } from '../core/options.ts'
import type { HandshakeFailure, Session, Transport, WriteCallback } from '../core/transport.ts'
import { StreamTransport } from './stream-transport.ts'

const { TLSSocket } = tls

/** How a Duplex tells of the renegotiations that its peer begins. */
export interface PeerHandshakes {
  /** One begins. From inside this call on nothing is written to the Duplex. */
  started(): void
  /** It is complete: writes go again. */
  done(): void
}

/** Options of {@link duplexTransport}. */
export interface DuplexTransportOptions {
  /**
   * Renegotiates. Called with no write in flight, and none comes before it is
   * complete: when it returns, or, where it returns a promise, when that is
   * fulfilled. Where it throws, nothing has begun: the stream goes on, and the
   * renegotiation fails with `ERR_RENEGOTIATION_UNSUPPORTED`. Where the promise
   * is rejected, nobody knows which keys hold at which end: the stream is
   * destroyed with `ERR_RENEGOTIATION_REFUSED`. The error is the `cause` of
   * either. `handshakeTimeout` limits it.
   *
   * Default: none; then every renegotiation fails with
   * `ERR_RENEGOTIATION_UNSUPPORTED`.
   */
  renegotiate?: ((options: RenegotiateOptions) => unknown) | undefined
  /**
   * Called once, with what is to be called when the peer begins a renegotiation
   * and when that is complete. It may be called for our own as well. Default:
   * none; then the peer begins none, or writes need not be held for it.
   */
  peerHandshakes?: ((peer: PeerHandshakes) => void) | undefined
  /** What is known of the keys in use, see {@link Session}. Default: nothing, and no report is `verified`. */
  session?: (() => Session) | undefined
}

/**
 * A transport over any Duplex of bytes, core's or readable-stream's (4 or newer),
 * with a way of renegotiating of your own: the rekey of a cipher of your own, say.
 *
 * The Duplex must emit `close`, as all do unless told otherwise. What it has
 * called back for counts as on its way.
 *
 * @throws TypeError where `duplex` is no Duplex, a tls.TLSSocket (which has
 *   {@link tlsTransport}), in object mode, or has an encoding set; where an
 *   option is no function, `session` tells of keys that are no bytes, or there is
 *   `peerHandshakes` without `renegotiate`.
 */
export function duplexTransport(duplex: Duplex, options: DuplexTransportOptions = {}): Transport {
  // Streams of other kinds don't call back or don't tell their state; older ones end by themselves whatever they are told.
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
  // Without a _writev() of its own, the Duplex would queue what comes, and still write when a handshake has begun.
  if (typeof duplex._writev !== 'function') Object.assign(transport, { writev: undefined })
  return transport
}

class DuplexTransport extends StreamTransport<Duplex> {
  readonly peerLimit = false
  readonly #options: DuplexTransportOptions
  /** Whose renegotiation is on its way. Both can be: one of both ends, or the next of the peer upon ours. */
  readonly #running = { local: false, peer: false }
  #rejection: Error | undefined

  constructor(duplex: Duplex, options: DuplexTransportOptions) {
    super(duplex)
    this.#options = options
    // What it tells wrongly it had better tell now.
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

  /** An empty write would be a message to some. There is nothing in flight, and the Duplex has had its turn. */
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
    // Of a Duplex that is destroyed, `error` and `close` tell all.
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
