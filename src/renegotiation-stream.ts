import type { Duplex } from 'node:stream'
import type { RenegotiateOptions } from './options.ts'
import type { RenegotiationCounters, RenegotiationReport } from './report.ts'
import type { State } from './state.ts'

/** What every stream of this package offers besides being a Duplex. */
export interface RenegotiationStream extends Duplex {
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
  /** What has happened so far. */
  readonly counters: Readonly<RenegotiationCounters>
  /**
   * After the stream was destroyed: what never reached the transport, in order,
   * as views of the memory that the application wrote. What was in flight is in
   * neither state and not among it. Before that: empty.
   */
  unsent(): Buffer[]
}
