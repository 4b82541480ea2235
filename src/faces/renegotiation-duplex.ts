/*
 * Theory of operation
 * ===================
 *
 * TLS up to 1.2 can change its keys in the middle of a connection. Either end
 * begins another handshake, and application data may flow until the new keys
 * are in use. TLS libraries take that freedom away in two ways:
 *
 *   1. Application data meets a handshake. If a write drives the handshake,
 *      OpenSSL accepts no application data in between. Data that the peer sent
 *      before it knew of the handshake is then a fatal "unexpected record".
 *      (OpenSSL: in_read_app_data, ossl_statem_app_data_allowed.)
 *   2. A handshake meets a record that is half written. The answer to the
 *      handshake runs into the pending record: "bad length", formerly "bad
 *      write retry". After a short write, the same buffer must be offered again
 *      before anything else is written.
 *
 * So this package follows one rule:
 *
 *   > While a handshake is in progress, only reading drives it. So: hold new
 *   > writes, finish the write in flight, and only then begin. Keep reading all
 *   > the while. Release the writes when the handshake is complete and proven.
 *
 * The parts:
 *
 *   application ──▶ face ──▶ outbox ──▶ transport ──▶ tls.TLSSocket, ...
 *               ◀──      ◀── inbox  ◀──
 *                        renegotiator (moves the state)
 *
 *   - src/faces/: a face is the Duplex that the application sees. It has no
 *     policy of its own. This file is one face, renegotiation-tls-socket.ts is
 *     the other.
 *   - src/core/gate.ts: the gate puts the parts of one stream together and
 *     connects them to its face.
 *   - src/core/outbox.ts: the outbox has one write in flight, and parks one
 *     batch while writes are held. The Writable's own queue is the only queue.
 *   - src/core/inbox.ts: the inbox is ordinary backpressure while the stream is
 *     `open`. While a handshake is due or in progress, it reads on, whether the
 *     application reads or not.
 *   - src/core/renegotiator.ts: the renegotiator takes requests one by one, and
 *     alone moves the state: `open`, `draining`, `handshaking`, `flushing`,
 *     `open`. A handshake of the peer leads from any of them straight to
 *     `handshaking`. src/core/state.ts has the table.
 *   - src/transports/: a transport can write, read, begin a handshake, and
 *     report that one has begun or is complete. It has no queue and no policy.
 *     src/core/transport.ts has the contract.
 *
 * docs/design.md has the same with diagrams.
 */

import { Duplex, type DuplexOptions, Writable } from 'readable-stream'
import { invalidType } from '../core/errors.ts'
import type { Face } from '../core/face.ts'
import { Gate } from '../core/gate.ts'
import { parseOptions, type RenegotiationOptions } from '../core/options.ts'
import type { RenegotiationListening, RenegotiationStream } from '../core/renegotiation-stream.ts'
import type { Transport } from '../core/transport.ts'
import { quote } from '../core/values.ts'
import { addHooks, type Gated, gateHooks } from './gate-hooks.ts'

/** readable-stream's Duplex, with typed listeners for the events of this package. */
const ListeningDuplex = Duplex as unknown as new (options: DuplexOptions) => RenegotiationListening & Duplex & Gated

/**
 * A Duplex over any {@link Transport} that can renegotiate its keys while data
 * flows in both directions, without losing a byte or the connection.
 *
 * It extends the Duplex of readable-stream and has no methods of a TLS socket.
 * For a `tls.TLSSocket`, use `wrapTLSSocket()`.
 *
 * Events besides those of a Duplex:
 * - `renegotiating` (`{ origin }`): a handshake begins, and new writes are held.
 * - `renegotiated` (`RenegotiationReport`): a handshake of either end is
 *   complete, and writes are released.
 * - `renegotiationFailed` (`Error`): a renegotiation of the schedule (option
 *   `rekey`) failed, and the stream goes on.
 *
 * An error of the connection is emitted unchanged. If a renegotiation ended the
 * stream, the error is a `RenegotiationError`; see `RenegotiationErrorCode`.
 */
export class RenegotiationDuplex extends ListeningDuplex implements RenegotiationStream {
  /** The transport below this stream. */
  readonly transport: Transport
  readonly #gate: Gate

  /**
   * @param transport It must not have a stream yet.
   * @throws TypeError (`ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`) or
   *   RangeError (`ERR_OUT_OF_RANGE`) for a bad argument. The transport has not
   *   been touched then.
   * @throws TypeError if the transport already has a stream.
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
    // `close` must be the last event. The callbacks of unsent writes come a tick later than this one.
    this.#gate.destroy(error, () => process.nextTick(done, error))
  }
}
