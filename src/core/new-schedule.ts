import { rekeyUnsupported } from './diagnostics.ts'
import { RenegotiationError } from './errors.ts'
import type { Inbox } from './inbox.ts'
import type { KeyUsage } from './key-usage.ts'
import type { RekeySettings } from './rekey-options.ts'
import { RekeySchedule } from './rekey-schedule.ts'
import type { Renegotiator } from './renegotiator.ts'
import type { RenegotiatorHost } from './renegotiator-host.ts'

/** The parts of the stream that its schedule needs, besides the renegotiator. */
interface ScheduledStream {
  readonly face: RenegotiatorHost['face'] & { emit(event: 'renegotiationFailed', error: Error): unknown }
  readonly transport: RenegotiatorHost['transport']
  readonly inbox: Inbox
}

/** Makes the schedule of a stream. */
export function newSchedule(
  { face, transport, inbox }: ScheduledStream,
  usage: KeyUsage,
  renegotiator: Renegotiator,
  settings: RekeySettings,
): RekeySchedule {
  return new RekeySchedule(
    {
      usage,
      unsupported: () => transport.unsupported(),
      recordLimit: () => transport.recordLimit,
      hasKeyUpdates: () => transport.hasKeyUpdates,
      over: () => renegotiator.isOver,
      busy: () => renegotiator.isBusy || !inbox.hasRoom,
      answered: () => renegotiator.state === 'handshaking' && transport.peerAnswered,
      resumed: () => transport.session().resumed === true,
      renegotiate: (full) => renegotiator.renegotiate({}, true, full),
      // Both asynchronous: the stream may still be being made, and a listener that throws must not reject a promise.
      cannot: (reason) => {
        process.nextTick(rekeyUnsupported, face, new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', reason))
      },
      failed: (error) => process.nextTick(() => face.emit('renegotiationFailed', error)),
      destroy: (error) => face.destroy(error),
    },
    settings,
  )
}
