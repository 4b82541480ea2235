/* What a stream of this package adds to a Duplex: its methods, properties and events. */
import type { Duplex } from 'node:stream'
import type { RenegotiateOptions } from './options.ts'
import type { Origin, RenegotiationCounters, RenegotiationReport } from './report.ts'
import type { CRL } from './revocation-input.ts'
import type { CRLUpdateReport } from './revocation-update.ts'
import type { State } from './state.ts'

/** The events that every stream of this package has in addition to those of a Duplex. */
export interface RenegotiationEvents {
  /** A handshake begins, and new writes are held. `origin` says which end began it. */
  renegotiating: [detail: { origin: Origin }]
  /** A handshake of either end is complete, and writes are released. */
  renegotiated: [report: RenegotiationReport]
  /** A renegotiation of the schedule (`rekey`) failed, and the stream goes on. It is tried again. */
  renegotiationFailed: [error: Error]
}

type Event = keyof RenegotiationEvents
type Listener<E extends Event> = (...args: RenegotiationEvents[E]) => void

/** Methods that add listeners for these events, with the types of their arguments. */
export interface RenegotiationListening {
  on<E extends Event>(event: E, listener: Listener<E>): this
  once<E extends Event>(event: E, listener: Listener<E>): this
  addListener<E extends Event>(event: E, listener: Listener<E>): this
  prependListener<E extends Event>(event: E, listener: Listener<E>): this
  prependOnceListener<E extends Event>(event: E, listener: Listener<E>): this
}

/** The overloads of RenegotiationListening come first, because those of a Duplex accept any event and any listener. */
type ListeningDuplex = RenegotiationListening & Duplex

/** A stream of this package: a Duplex that can renegotiate. */
export interface RenegotiationStream extends ListeningDuplex {
  /**
   * Begins a renegotiation when the write in flight has finished. New writes are held until it is complete and the keys
   * are proven to have changed. Waits for the first handshake of the connection if that is not complete.
   *
   * Several calls are carried out one after the other, each with a renegotiation of its own. If a handshake of the peer
   * completes while a call waits for its turn, that handshake counts for the call, except with `requestCert: true`.
   *
   * @returns a promise that settles exactly once, in every case. An unhandled rejection does not end the process.
   * @throws {RenegotiationError} as a rejection, if the renegotiation failed. If that ended the connection, the stream
   *   emits `error` with the same error.
   * @throws {AbortError} as a rejection, if `signal` fired.
   * @throws {TypeError | RangeError} as a rejection, for a bad option.
   *
   * @example
   * ```js
   * import { connect } from 'renegotiation-duplex'
   *
   * const stream = connect({ host: 'plant.example', port: 8883, maxVersion: 'TLSv1.2' })
   * stream.pipe(process.stdout)
   * stream.write('Hello\n')
   * const { verified, drainMs, handshakeMs } = await stream.renegotiate()
   * console.log(`new keys: ${verified}, writes held for ${Math.round(drainMs + handshakeMs)} ms`)
   * ```
   */
  renegotiate(options?: RenegotiateOptions): Promise<RenegotiationReport>
  /**
   * Puts certificate revocation lists in force for this stream, and judges its peer by them: in a full handshake, or, if
   * there can be none, by the certificates of the last one. A revoked peer ends with `ERR_RENEGOTIATION_REVOKED`. So does
   * one that brings a revoked certificate in any later handshake.
   *
   * `crl` is PEM, with one or several lists, or DER. A list replaces that of the same authority; the lists of others stay.
   * The authority must be one that this end trusts, or have its certificate beside the list in PEM, issued by such a one.
   * A list that expires stays in force, and ends no connection.
   *
   * @returns a promise that settles exactly once, when the stream is judged.
   * @throws Error as a rejection, with a {@link RevocationListErrorCode}, if a list cannot be used. Then nothing has changed.
   * @throws TypeError as a rejection, if `crl` is neither.
   * @throws {RenegotiationError} as a rejection, `ERR_RENEGOTIATION_UNSUPPORTED`, if the transport shows no certificates.
   */
  updateCRL(crl: CRL): Promise<CRLUpdateReport>
  /** What the stream is doing. Writes are held while it is not `'open'`. */
  readonly state: State
  /** Bytes that the application has written and that were not yet given to the transport. */
  readonly heldBytes: number
  /** Bytes that were given to the transport, which has not called back for them. */
  readonly bytesInFlight: number
  /** How many renegotiations there were, how long writes were held, and more. A new copy with each access. */
  readonly counters: RenegotiationCounters
  /**
   * Returns the data that never reached the transport, in order, after the stream was destroyed. Before that, the array
   * is empty. The Buffers are views of the memory that the application wrote. Data that was in flight is not included,
   * because it may or may not have arrived.
   */
  unsent(): Buffer[]
}
