/*
 * Theory of operation
 * ===================
 *
 * TLS up to 1.2 can change its keys in the middle of a connection: either end
 * begins another handshake, and application data may flow until the new keys
 * are in force. TLS libraries take that freedom away in two ways:
 *
 *   1. Whoever *writes* while a handshake is on its way drives the handshake by
 *      that write, and a handshake driven by a write takes no application data
 *      in between. What the peer sent before it knew of the handshake then is a
 *      fatal "unexpected record". (OpenSSL: in_read_app_data,
 *      ossl_statem_app_data_allowed.)
 *   2. Whoever lets a handshake begin while a record is half written can't
 *      answer: the handshake's message runs into the pending record. ("bad
 *      write retry", "bad length".) A short write has to be offered again, the
 *      same buffer, before anything else.
 *
 * Hence the one rule of this house:
 *
 *   > While a handshake is on its way, only reading drives it. So: hold new
 *   > writes, finish the one in flight, and only then begin; keep reading all
 *   > the while; let go when it is done and proven.
 *
 * Who does what:
 *
 *   application ──▶ face ──▶ outbox ──▶ transport ──▶ tls.TLSSocket, ...
 *               ◀──      ◀── inbox  ◀──
 *                        renegotiator (moves the state, sets the gate)
 *
 *   - The face is the Duplex that the application sees. This file is one.
 *   - The outbox has one write in flight, and parks one batch while held. The
 *     Writable's own queue is the only queue.
 *   - The inbox is ordinary backpressure while `open`, and reads on whether the
 *     application reads or not while a handshake is due or running.
 *   - The renegotiator takes requests one by one: `open`, `draining`,
 *     `handshaking`, `flushing`, `open`. A peer's handshake takes any of them
 *     straight to `handshaking`. state.ts has the table.
 *   - A transport (transport/transport.ts) knows how to write, read, begin a
 *     handshake and tell that one began or is over. Nothing else.
 *   - The gate (gate.ts) puts the parts together, for any face.
 */

import { Duplex, type DuplexOptions, Writable } from 'readable-stream'
import { invalidType } from '../core/errors.ts'
import { type Face, Gate } from '../core/gate.ts'
import { parseOptions, quote, type RenegotiationOptions } from '../core/options.ts'
import type { RenegotiationListening, RenegotiationStream } from '../core/renegotiation-stream.ts'
import type { Transport } from '../core/transport.ts'
import { addHooks, type Gated, gateHooks } from './gate-hooks.ts'

/** To TypeScript, one whose listeners know what the events of this package carry. */
const ListeningDuplex = Duplex as unknown as new (options: DuplexOptions) => RenegotiationListening & Duplex & Gated

/**
 * A Duplex (readable-stream's) over a transport whose keys can be renegotiated
 * while data flows both ways, without losing a byte or the connection.
 *
 * Besides a Duplex's events:
 * - `renegotiating` ({ origin }): a handshake begins; new writes are held.
 * - `renegotiated` (RenegotiationReport): it is complete, writes go again. For
 *   both origins.
 * - `renegotiationFailed` (Error): one that the option `rekey` asked for has
 *   failed, and the stream goes on.
 *
 * Errors of the connection come as they are; those of a renegotiation that
 * ended the stream are a RenegotiationError, see RenegotiationErrorCode.
 */
export class RenegotiationDuplex extends ListeningDuplex implements RenegotiationStream {
  /** What lies below. */
  readonly transport: Transport
  readonly #gate: Gate

  /**
   * @throws TypeError or RangeError for a bad argument, before the transport is
   *   touched; TypeError where the transport already has a stream.
   */
  constructor(transport: Transport, options?: RenegotiationOptions) {
    if (typeof transport?.attach !== 'function') {
      const help = 'tlsTransport() and duplexTransport() make one of a socket or a Duplex'
      throw invalidType(`transport must be a Transport (${help}), got ${quote(transport)}`)
    }
    const settings = parseOptions(options)
    super({
      allowHalfOpen: transport.allowHalfOpen,
      readableHighWaterMark: settings.readableHighWaterMark,
      writableHighWaterMark: settings.writableHighWaterMark,
    })
    this.transport = transport
    this.#gate = new Gate(this as unknown as Face, transport, settings)
    if (transport.ended) this.end()
  }

  static {
    addHooks(
      RenegotiationDuplex.prototype,
      gateHooks(Duplex, Writable, (face: RenegotiationDuplex) => face.#gate),
    )
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    // `close` is the last event: the callback of a write that was not sent comes a turn later than this.
    this.#gate.destroy(error, () => process.nextTick(done, error))
  }
}
