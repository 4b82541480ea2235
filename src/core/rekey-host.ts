/* Connects the schedule of a stream with the other parts of it. */
import { rekeyUnsupported } from './diagnostics.ts'
import { RenegotiationError } from './errors.ts'
import type { GuardedTransport } from './guarded-transport.ts'
import type { KeyUsage } from './key-usage.ts'
import type { RekeyHost } from './rekey-schedule.ts'
import type { Renegotiator } from './renegotiator.ts'
import { type FailedEnd, publishFailedSchedule } from './security-failure.ts'

interface Stream extends FailedEnd {
  readonly face: FailedEnd['face'] & {
    emit(event: 'renegotiationFailed', error: Error): unknown
    destroy(error: Error): unknown
  }
  readonly transport: GuardedTransport
}

/** What the schedule needs. `busy` tells whether a renegotiation must wait. */
export function rekeyHost(stream: Stream, renegotiator: Renegotiator, usage: KeyUsage, busy: () => boolean): RekeyHost {
  const { face, transport } = stream
  return {
    usage,
    busy,
    unsupported: () => transport.unsupported(),
    recordLimit: () => transport.recordLimit,
    hasKeyUpdates: () => transport.hasKeyUpdates,
    over: () => renegotiator.isOver,
    answered: () => renegotiator.state === 'handshaking' && transport.peerAnswered,
    resumed: () => transport.session().resumed === true,
    renegotiate: (full) => renegotiator.renegotiate({}, true, full),
    // Both asynchronous: the stream may still be being made, and a listener that throws must not reject a promise.
    cannot: (reason) => {
      const error = new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', reason)
      publishFailedSchedule(error, stream)
      process.nextTick(rekeyUnsupported, face, error)
    },
    failed: (error) => {
      publishFailedSchedule(error, stream)
      process.nextTick(() => face.emit('renegotiationFailed', error))
    },
    destroy: (error) => face.destroy(error),
  }
}
