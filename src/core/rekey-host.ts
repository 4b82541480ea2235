/* Connects the schedule of a stream with the other parts of it. */
import { rekeyUnsupported } from './diagnostics.ts'
import { RenegotiationError } from './errors.ts'
import type { GuardedTransport } from './guarded-transport.ts'
import type { KeyUsage } from './key-usage.ts'
import type { RekeyHost } from './rekey-schedule.ts'
import type { Renegotiator } from './renegotiator.ts'

interface Stream {
  readonly face: {
    emit(event: 'renegotiationFailed', error: Error): unknown
    destroy(error: Error): unknown
  }
  readonly transport: GuardedTransport
}

/** What the schedule needs. `busy` tells whether a renegotiation must wait. */
export function rekeyHost(
  { face, transport }: Stream,
  renegotiator: Renegotiator,
  usage: KeyUsage,
  busy: () => boolean,
): RekeyHost {
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
      process.nextTick(rekeyUnsupported, face, new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', reason))
    },
    failed: (error) => process.nextTick(() => face.emit('renegotiationFailed', error)),
    destroy: (error) => face.destroy(error),
  }
}
