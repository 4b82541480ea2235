/* What the renegotiator needs from the stream. */
import type { AdmissionHost } from './admission.ts'
import type { HandshakeHost } from './handshake.ts'
import type { Outbox } from './outbox.ts'
import type { Origin, RenegotiationReport } from './report.ts'
import type { State } from './state.ts'

export interface RenegotiatorHost extends HandshakeHost, AdmissionHost {
  readonly face: RenegotiatorFace
  readonly outbox: Outbox
  readonly state: State
  /**
   * Called when keys are new: with a handshake both, with a key update of TLS 1.3 those of one direction. `resumed`: the
   * handshake was abbreviated.
   */
  keysChanged(of: 'both' | 'sending' | 'receiving', resumed?: boolean): void
}

/** What the renegotiator needs from the stream that the application sees. */
export interface RenegotiatorFace {
  readonly writableEnded: boolean
  emit(event: 'renegotiating' | 'renegotiated', detail: { origin: Origin } | RenegotiationReport): unknown
  /** Leads to a call of Renegotiator.close(). */
  destroy(error: Error): unknown
}
