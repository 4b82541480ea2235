import type { Duplex } from 'node:stream'
import type { RenegotiateOptions } from './options.ts'
import type { Origin, RenegotiationCounters, RenegotiationReport } from './report.ts'
import type { State } from './state.ts'

/** The events of every stream of this package besides a Duplex's. */
export interface RenegotiationEvents {
  /** A handshake begins; new writes are held. */
  renegotiating: [detail: { origin: Origin }]
  /** It is complete, writes go again. For both origins. */
  renegotiated: [report: RenegotiationReport]
  /** One that the option `rekey` asked for has failed, and the stream goes on; it is tried again. */
  renegotiationFailed: [error: Error]
}

type Event = keyof RenegotiationEvents
type Listener<E extends Event> = (...args: RenegotiationEvents[E]) => void

/** Listening to those events, with listeners that know what they carry. */
export interface RenegotiationListening {
  on<E extends Event>(event: E, listener: Listener<E>): this
  once<E extends Event>(event: E, listener: Listener<E>): this
  addListener<E extends Event>(event: E, listener: Listener<E>): this
  prependListener<E extends Event>(event: E, listener: Listener<E>): this
  prependOnceListener<E extends Event>(event: E, listener: Listener<E>): this
}

/** Its own events come first: the types of a Duplex take any event, with a listener for anything. */
type ListeningDuplex = RenegotiationListening & Duplex

/** What every stream of this package offers besides being a Duplex. */
export interface RenegotiationStream extends ListeningDuplex {
  /**
   * Renegotiates: lets the write in flight finish, holds the others, begins,
   * and lets them go when the keys are proven to have changed. Calls are
   * carried out one after the other, each with a renegotiation of its own.
   * Before the connection is complete, it waits for that.
   *
   * Never throws. The promise settles exactly once, in every case; nobody has
   * to look at it. It rejects with a RenegotiationError, with an AbortError
   * (`signal`), or with a TypeError or RangeError for bad options.
   */
  renegotiate(options?: RenegotiateOptions): Promise<RenegotiationReport>
  /** What the stream is doing. */
  readonly state: State
  /** Bytes taken from the application and not yet given to the transport. */
  readonly heldBytes: number
  /** Bytes given to the transport, which it hasn't called back for. */
  readonly bytesInFlight: number
  /** What has happened so far, and how it is now: made anew with every look. */
  readonly counters: RenegotiationCounters
  /**
   * After the stream was destroyed: what never reached the transport, in order,
   * as views of the memory that the application wrote. What was in flight is in
   * neither state and not among it. Before that: empty.
   */
  unsent(): Buffer[]
}
