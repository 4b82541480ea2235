import assert from 'node:assert/strict'
import diagnostics, { subscribe, unsubscribe } from 'node:diagnostics_channel'
import sinon from 'sinon'
import t, { type Test } from 'tap'
import type { RenegotiationOptions } from '../../src/core/options.ts'
import type { RekeyOptions } from '../../src/core/rekey-options.ts'
import { RekeySchedule } from '../../src/core/rekey-schedule.ts'
import { rekeyTurns } from '../../src/core/rekey-turns.ts'
import type { RenegotiationStream } from '../../src/core/renegotiation-stream.ts'
import { scriptedStream } from '../fixtures/scripted-stream.ts'
import { type Script, turn } from '../fixtures/scripted-transport.ts'

const EXPIRED = { name: 'RenegotiationError', code: 'ERR_RENEGOTIATION_KEYS_EXPIRED' }

let clock: sinon.SinonFakeTimers
/** The streams of one test. All tests share the turns of the process, so none may be left. */
const made: RenegotiationStream[] = []
t.beforeEach(() => {
  clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
t.afterEach(async () => {
  for (const stream of made.splice(0)) stream.destroy()
  await turn()
  clock.tick(5)
  clock.restore()
  sinon.restore()
  assert.deepEqual([rekeyTurns.taken, rekeyTurns.waiting], [0, 0], 'a turn was not given back')
})

/** A stream with a schedule, and how many renegotiations it has begun. */
function scheduled(
  rekey: RekeyOptions | 'auto',
  script: Script & { reads?: boolean } = {},
  options?: RenegotiationOptions,
) {
  const scripted = scriptedStream(script, { rekey, ...options })
  const failures: Error[] = []
  made.push(scripted.stream)
  scripted.stream.on('renegotiationFailed', (error) => failures.push(error))
  return {
    ...scripted,
    failures,
    async begun(): Promise<number> {
      await turn()
      await turn()
      return scripted.transport.renegotiations.length
    },
    async completes(): Promise<void> {
      scripted.transport.peerFinishes()
      await turn()
      await turn()
    },
  }
}

t.test('everyMs begins a renegotiation that long after the last handshake', async (t) => {
  const { begun, completes, stream } = scheduled({ everyMs: 1000 })
  clock.tick(999)
  t.equal(await begun(), 0)
  clock.tick(1)
  t.equal(await begun(), 1)
  clock.tick(500)
  await completes()
  clock.tick(999)
  t.equal(await begun(), 1, 'the period begins at the end of the last handshake')
  clock.tick(1)
  t.equal(await begun(), 2)
  await completes()
  t.match(stream.counters, { renegotiations: 2, byPeer: 0, failed: 0 })
})

t.test('everyMs: [min, max] picks another random delay from the range each time', async (t) => {
  const random = sinon.stub(Math, 'random')
  random.onCall(0).returns(0)
  random.onCall(1).returns(0.5)
  random.onCall(2).returns(0.999)
  const { begun, completes } = scheduled({ everyMs: [1000, 2000] })
  for (const [index, milliseconds] of [1000, 1500, 1999].entries()) {
    clock.tick(milliseconds - 1)
    t.equal(await begun(), index)
    clock.tick(1)
    t.equal(await begun(), index + 1)
    await completes()
  }
})

t.test('the first period begins when the first handshake is complete', async (t) => {
  const { begun, transport } = scheduled({ everyMs: 1000 }, { ready: false })
  clock.tick(5000)
  t.equal(await begun(), 0)
  transport.becomesReady()
  clock.tick(999)
  t.equal(await begun(), 0)
  clock.tick(1)
  t.equal(await begun(), 1)
})

t.test('everyBytes counts sent and received bytes', async (t) => {
  const { begun, completes, stream, transport } = scheduled({ everyBytes: 10 })
  stream.write('12345')
  transport.peerSends('6789')
  t.equal(await begun(), 0)
  transport.peerSends('0')
  t.equal(await begun(), 1)
  stream.write('held: this is more than ten bytes long')
  await completes()
  t.equal(await begun(), 2, 'held bytes count for the new keys')
})

t.test('everyRecords counts each 16 KiB sent and each chunk received as a record', async (t) => {
  const { begun, stream, transport } = scheduled({ everyRecords: 5 })
  stream.write(Buffer.alloc(2 * 16384 + 1))
  transport.peerSends('abc')
  await turn()
  t.equal(stream.counters.keys.records, 4)
  t.equal(await begun(), 0)
  transport.peerSends('abc')
  t.equal(await begun(), 1)
})

for (const [who, happens] of Object.entries({
  'the peer': async ({ transport, completes }: ReturnType<typeof scheduled>) => {
    transport.peerBegins()
    await completes()
  },
  'the application': async ({ stream, completes }: ReturnType<typeof scheduled>) => {
    const renegotiated = stream.renegotiate()
    await turn()
    await completes()
    await renegotiated
  },
})) {
  t.test(`a handshake that ${who} began resets all counts of the schedule`, async (t) => {
    const it = scheduled({ everyMs: 1000, everyBytes: 10, everyRecords: 3 })
    clock.tick(900)
    it.transport.peerSends('123456789')
    await happens(it)
    const before = await it.begun()
    t.match(it.stream.counters.keys, { bytes: 0, records: 0, ageMs: 0 })
    clock.tick(900)
    it.transport.peerSends('123456789')
    t.equal(await it.begun(), before)
    clock.tick(100)
    t.equal(await it.begun(), before + 1)
  })
}

t.test('the schedule begins nothing during a handshake of the peer, and counts anew after it', async (t) => {
  const { begun, completes, transport } = scheduled({ everyMs: 1000, everyBytes: 10 })
  transport.peerBegins()
  transport.peerSends('1234567890')
  clock.tick(1500)
  t.equal(await begun(), 0)
  await completes()
  clock.tick(999)
  t.equal(await begun(), 0)
  clock.tick(1)
  t.equal(await begun(), 1)
})

t.test('the schedule begins only one renegotiation if both bytes and time call for one', async (t) => {
  const { begun, transport } = scheduled({ everyMs: 1000, everyBytes: 10 })
  transport.peerSends('1234567890')
  t.equal(await begun(), 1)
  clock.tick(5000)
  t.equal(await begun(), 1)
})

for (const [due, rekey] of Object.entries({ bytes: { everyBytes: 10 }, time: { everyMs: 500 } })) {
  for (const then of ['after a second', 'with the next chunk']) {
    t.test(`if the ${due} ran out in a failed handshake of the peer, the schedule goes on ${then}`, async (t) => {
      const { begun, transport } = scheduled(rekey)
      transport.peerBegins()
      transport.peerSends('1234567890')
      if (due === 'time') clock.tick(500)
      transport.peerSends('1234567890')
      transport.peerRefuses()
      t.equal(await begun(), 0)
      clock.tick(999)
      t.equal(await begun(), 0)
      if (then === 'after a second') clock.tick(1)
      else transport.peerSends('x')
      t.equal(await begun(), 1)
      clock.tick(10_000)
      t.equal(await begun(), 1)
    })
  }
}

t.test('the schedule waits until the application has read what was read ahead', async (t) => {
  const options = { maxInboundBytes: 100, highWaterMark: 10 }
  const { begun, completes, stream, transport } = scheduled({ everyMs: 1000 }, { reads: false }, options)
  stream.read(0)
  clock.tick(1000)
  t.equal(await begun(), 1, 'nothing is unread yet')
  transport.peerSends(Buffer.alloc(51))
  await completes()
  clock.tick(60_000)
  t.equal(await begun(), 1)
  t.equal(stream.state, 'open')
  stream.read()
  clock.tick(1000)
  t.equal(await begun(), 2)
})

for (const [what, happens] of Object.entries({
  'end()': ({ stream }: ReturnType<typeof scheduled>) => stream.end(),
  'the peer has ended': ({ transport }: ReturnType<typeof scheduled>) => transport.peerEnds(),
})) {
  t.test(`after ${what}, the schedule begins no renegotiation`, async (t) => {
    const it = scheduled({ everyMs: 1000, everyBytes: 10 })
    happens(it)
    await turn()
    clock.tick(100_000)
    t.equal(await it.begun(), 0)
    t.same(it.failures, [])
    t.match(it.stream.counters, { failed: 0 })
  })
}

t.test('after end(), a handshake of the peer does not start the timers of the schedule again', async (t) => {
  const it = scheduled({ everyMs: 1000, hardLimit: { ms: 2000 } })
  it.stream.end()
  await turn()
  t.equal(clock.countTimers(), 0)
  it.transport.peerBegins()
  await it.completes()
  t.equal(it.stream.counters.byPeer, 1)
  t.equal(clock.countTimers(), 0)
})

t.test('a destroyed stream leaves no timer behind', async (t) => {
  const { stream } = scheduled({ everyMs: 1000, hardLimit: { ms: 2000 } })
  t.equal(clock.countTimers(), 2)
  stream.destroy()
  t.equal(clock.countTimers(), 0)
})

t.test('a failed scheduled renegotiation is reported, and retried with growing delays until it succeeds', async (t) => {
  const it = scheduled({ everyMs: 1000 }, { takes: 'when told' }, { drainTimeout: 100 })
  const { stream, failures, transport } = it
  stream.write('in flight for long')
  clock.tick(1000)
  const waits = [1, 2, 4, 8, 16, 32, 60, 60].map((seconds) => seconds * 1000)
  for (const [index, wait] of waits.entries()) {
    t.equal(stream.state, 'draining')
    clock.tick(100)
    await turn()
    t.match(failures[index], { code: 'ERR_RENEGOTIATION_DRAIN_TIMEOUT' })
    t.equal(stream.state, 'open')
    clock.tick(wait - 1)
    t.equal(stream.state, 'open')
    clock.tick(1)
  }
  t.equal(failures.length, waits.length)
  t.equal(stream.counters.failed, waits.length)
  await transport.takeAll()
  t.equal(await it.begun(), 1)
  await it.completes()
  await transport.takeAll()
  stream.write('in flight again')
  clock.tick(1000)
  clock.tick(100)
  await turn()
  t.equal(failures.length, waits.length + 1)
  clock.tick(1000)
  t.equal(stream.state, 'draining', 'the delays begin with one second again')
})

t.test('an exception in a renegotiationFailed listener is an uncaught exception', async (t) => {
  const { stream } = scheduled({ everyMs: 1000 }, { takes: 'when told' }, { drainTimeout: 100 })
  const oops = new Error('oops')
  stream.on('renegotiationFailed', () => {
    throw oops
  })
  const uncaught = new Promise((resolve) => process.setUncaughtExceptionCaptureCallback(resolve))
  stream.write('in flight')
  clock.tick(1100)
  t.equal(await uncaught, oops)
  process.setUncaughtExceptionCaptureCallback(null)
})

t.test('a scheduled renegotiation that fails with new keys is reported, and retried a full period later', async (t) => {
  const certificatePolicy = { requestCert: true, rejectUnauthorized: true }
  const it = scheduled({ everyMs: 5000 }, { certificatePolicy })
  const events: unknown[] = []
  const listener = (event: unknown) => void events.push(event)
  subscribe('renegotiation-duplex:security', listener)
  t.teardown(() => unsubscribe('renegotiation-duplex:security', listener))
  clock.tick(5000)
  t.equal(await it.begun(), 1)
  it.transport.peerFinishes({ resumed: true, authorized: false })
  t.equal(await it.begun(), 1)
  t.match(it.failures, [{ code: 'ERR_RENEGOTIATION_NO_CERTIFICATE' }])
  t.match(events, [{ name: 'renegotiation-failed', code: 'ERR_RENEGOTIATION_NO_CERTIFICATE' }])
  t.equal(events.length, 1)
  clock.tick(4999)
  t.equal(await it.begun(), 1)
  clock.tick(1)
  t.equal(await it.begun(), 2)
})

t.test('a scheduled renegotiation that destroys the stream does not emit renegotiationFailed as well', async (t) => {
  const it = scheduled({ everyMs: 1000 }, {}, { handshakeTimeout: 100 })
  clock.tick(1000)
  t.equal(await it.begun(), 1)
  clock.tick(100)
  await turn()
  t.match(it.errors, [{ code: 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT' }])
  t.same(it.failures, [])
})

t.test('if renegotiation is unsupported, the schedule warns only once, and data goes on', async (t) => {
  const why = `This one can't (${Math.random()})`
  const warnings: Error[] = []
  const warned = (warning: Error) => warnings.push(warning)
  process.on('warning', warned)
  const traces: unknown[] = []
  const traced = (message: unknown) => traces.push(message)
  diagnostics.subscribe('tracing:renegotiation-duplex:renegotiate:error', traced)
  t.teardown(() => {
    process.off('warning', warned)
    diagnostics.unsubscribe('tracing:renegotiation-duplex:renegotiate:error', traced)
  })
  for (const _ of [1, 2]) {
    const { stream, transport, begun, failures } = scheduled({ everyMs: 1000, everyBytes: 5 }, { ready: false })
    transport.why = why
    transport.becomesReady()
    stream.write('1234567890')
    clock.tick(100_000)
    t.equal(await begun(), 0)
    t.equal(transport.taken.toString(), '1234567890')
    t.equal(stream.state, 'open')
    t.same(failures, [])
    t.match(traces.at(-1), { stream, origin: 'local', scheduled: true, error: { message: why } })
  }
  t.equal(traces.length, 2)
  t.match(warnings, [{ name: 'RenegotiationWarning', code: 'RENEGOTIATION_REKEY_UNSUPPORTED', message: why }])
})

t.test('the schedule stops silently if renegotiation becomes unsupported', async (t) => {
  const { stream, transport, begun, failures } = scheduled({ everyMs: 1000 })
  transport.why = 'disabled in the meantime'
  clock.tick(1000)
  t.equal(await begun(), 0)
  t.same(failures, [])
  transport.peerSends('and data goes on')
  t.equal(stream.counters.failed, 0)
  clock.tick(100_000)
  t.equal(await begun(), 0)
})

t.test('hardLimit.ms destroys the stream when the keys are that old', async (t) => {
  const { stream, errors } = scheduled({ hardLimit: { ms: 1000 } })
  clock.tick(999)
  t.notOk(stream.destroyed)
  clock.tick(1)
  await turn()
  t.match(errors, [EXPIRED])
  t.match(errors, [{ message: /0 bytes, 0 records, 1000 ms/ }])
})

t.test('hardLimit.ms does not apply during a handshake that the peer has answered', async (t) => {
  const { stream, transport, begun, completes } = scheduled({ everyMs: 1000, hardLimit: { ms: 2000 } })
  clock.tick(1500)
  t.equal(await begun(), 1)
  transport.peerAnswered = true
  clock.tick(1500)
  t.equal(stream.state, 'handshaking')
  await completes()
  clock.tick(999)
  t.equal(stream.state, 'open')
})

t.test('hardLimit.ms applies during a drain, because the old keys are still in use', async (t) => {
  const { stream, errors } = scheduled({ everyMs: 1000, hardLimit: { ms: 2000 } }, { takes: 'when told' })
  stream.write('in flight for long')
  clock.tick(1500)
  t.equal(stream.state, 'draining')
  clock.tick(500)
  await turn()
  t.match(errors, [EXPIRED])
})

t.test('hardLimit.bytes: no byte beyond the limit is sent, and unsent() returns the rest', async (t) => {
  const { stream, transport, errors } = scheduled({ hardLimit: { bytes: 10 } })
  transport.peerSends('123')
  const sent = sinon.spy()
  stream.write('4567', sent)
  stream.write('890 not sent')
  await turn()
  await turn()
  await turn()
  t.match(errors, [EXPIRED])
  t.equal(transport.taken.toString(), '4567890')
  t.equal(Buffer.concat(stream.unsent()).toString(), ' not sent')
  t.equal(sent.callCount, 1)
  t.notOk(sent.firstCall.args[0])
})

t.test('hardLimit.bytes: a write that reaches the limit exactly is called back as sent', async (t) => {
  const { stream, errors } = scheduled({ hardLimit: { bytes: 10 } })
  const sent = sinon.spy()
  stream.write('1234567890', sent)
  await turn()
  t.match(errors, [EXPIRED])
  t.equal(sent.callCount, 1)
  t.notOk(sent.firstCall.args[0])
  t.same(stream.unsent(), [])
})

t.test('hardLimit.records: no record beyond the limit is sent', async (t) => {
  const { stream, transport, errors } = scheduled({ hardLimit: { records: 3 } })
  transport.peerSends('a record')
  stream.write(Buffer.alloc(16384 * 4))
  await turn()
  await turn()
  t.match(errors, [EXPIRED])
  t.equal(transport.taken.length, 2 * 16384)
})

t.test('hardLimit.bytes counts received bytes, too', async (t) => {
  const { transport, errors } = scheduled({ hardLimit: { bytes: 10 } })
  transport.peerSends('12345678901')
  await turn()
  t.match(errors, [EXPIRED])
})

t.test('hardLimit applies even if renegotiation is unsupported', async (t) => {
  const { stream, transport, errors } = scheduled({ everyMs: 500, hardLimit: { ms: 1000 } }, { ready: false })
  transport.why = 'TLS 1.3'
  transport.becomesReady()
  clock.tick(999)
  t.notOk(stream.destroyed)
  clock.tick(1)
  await turn()
  t.match(errors, [EXPIRED])
})

t.test('hardLimit alone begins no renegotiation, and does not warn if that is unsupported', async (t) => {
  const { stream, transport, begun } = scheduled({ hardLimit: { ms: 1000, bytes: 100 } }, { ready: false })
  transport.why = 'an unheard-of reason'
  const warned = sinon.stub(process, 'emitWarning')
  transport.becomesReady()
  clock.tick(999)
  t.equal(await begun(), 0)
  t.equal(warned.callCount, 0)
  t.equal(stream.state, 'open')
})

t.test("'auto' updates the keys when one direction has half of the records that the cipher allows", async (t) => {
  const { begun, transport, stream } = scheduled('auto', { hasKeyUpdates: true, recordLimit: 8 })
  clock.tick(100)
  stream.write(Buffer.alloc(3 * 16_384))
  for (let i = 0; i < 3; i++) transport.peerSends('record')
  t.equal(await begun(), 0)
  transport.peerSends('record')
  t.equal(await begun(), 1)
  transport.sendsRequest()
  transport.peerAnswers()
  stream.write(Buffer.alloc(16_384))
  clock.tick(100)
  t.equal(await begun(), 1)
  stream.write(Buffer.alloc(3 * 16_384))
  t.equal(await begun(), 2)
})

t.test("'auto' does nothing without key updates, or if the cipher has no limit; false is no schedule", async (t) => {
  const warned = sinon.stub(process, 'emitWarning')
  for (const { rekey, ...script } of [
    { rekey: 'auto' as const },
    { rekey: 'auto' as const, hasKeyUpdates: true },
    { rekey: false as const, hasKeyUpdates: true, recordLimit: 1 },
  ]) {
    const { stream, transport } = scriptedStream(script, { rekey })
    stream.write(Buffer.alloc(100 * 16_384))
    await turn()
    await turn()
    t.equal(transport.renegotiations.length, 0)
  }
  t.equal(warned.callCount, 0)
})

t.test('two key updates of a schedule are at least 100 ms apart', async (t) => {
  const { begun, transport, stream } = scheduled({ everyBytes: 1 }, { hasKeyUpdates: true })
  stream.write('x')
  t.equal(await begun(), 0)
  clock.tick(99)
  t.equal(await begun(), 0)
  clock.tick(1)
  t.equal(await begun(), 1)
  transport.sendsRequest()
  transport.peerAnswers()
  await turn()
  stream.write('x')
  t.equal(await begun(), 1)
  clock.tick(100)
  t.equal(await begun(), 2)
})

t.test('hardLimit.ms is also checked before each write, because a timer may be late', async (t) => {
  const destroy = sinon.spy()
  const usage = { bytes: 0, records: 0, ageMs: 999 }
  const host = { usage, destroy, answered: () => false, unsupported: () => undefined }
  const limits = { ms: 1000, bytes: Infinity, records: Infinity, fullMs: Infinity }
  const settings = {
    auto: false,
    everyMs: undefined,
    fullEveryMs: undefined,
    everyBytes: Infinity,
    everyRecords: Infinity,
    hardLimit: limits,
    concurrency: 8,
  }
  const schedule = new RekeySchedule(host as never, settings)
  t.equal(schedule.room(1), Infinity, 'there are no keys yet')
  schedule.start()
  t.equal(schedule.room(1), Infinity)
  usage.ageMs = 1000
  t.equal(schedule.room(1), 0)
  t.match(destroy.args, [[EXPIRED]])
})

t.test('handshakes that the peer begins on the same schedule do not count against peerLimit', async (t) => {
  const peerLimit = { max: 1, windowMs: 600_000 }
  const { stream, transport, errors, completes } = scheduled({ everyMs: [1000, 2000], everyBytes: 100 }, { peerLimit })
  for (let i = 0; i < 20; i++) {
    if (i % 2) clock.tick(1450)
    else transport.peerSends(Buffer.alloc(98))
    transport.peerBegins()
    await completes()
  }
  t.match(stream.counters, { byPeer: 20 })
  for (let i = 0; i < 2; i++) {
    clock.tick(400)
    transport.peerBegins()
    await completes()
  }
  t.match(errors, [{ code: 'ERR_RENEGOTIATION_LIMIT' }])
})

t.test('a schedule exempts no more handshakes from peerLimit than it would begin itself', async (t) => {
  const peerLimit = { max: 3, windowMs: 600_000 }
  for (const rekey of [{ everyMs: [1, 600_000] as const }, { everyBytes: 1000 }, { everyRecords: 4 }]) {
    const { stream, transport, errors, completes } = scheduled(rekey, { peerLimit })
    for (let i = 0; i < 100; i++) {
      clock.tick(2)
      transport.peerSends('x')
      transport.peerBegins()
      await completes()
    }
    t.match(errors, [{ code: 'ERR_RENEGOTIATION_LIMIT' }])
    const expected = 'everyRecords' in rekey ? 100 / 4 : 100 / 300_000
    t.ok(
      stream.counters.byPeer <= peerLimit.max + Math.ceil(expected),
      `${stream.counters.byPeer} handshakes were allowed`,
    )
  }
})

t.test('a schedule of only bytes or only records exempts handshakes from peerLimit, too', async (t) => {
  const peerLimit = { max: 0, windowMs: 600_000 }
  for (const rekey of [{ everyBytes: 100 }, { everyRecords: 2 }]) {
    const { transport, errors, completes } = scheduled(rekey, { peerLimit })
    transport.peerSends(Buffer.alloc(50))
    transport.peerBegins()
    await completes()
    t.same(errors, [])
    transport.peerBegins()
    await completes()
    t.match(errors, [{ code: 'ERR_RENEGOTIATION_LIMIT' }])
  }
})

t.test('with peerLimit as an option, handshakes on schedule count against it, too', async (t) => {
  const options = { peerLimit: { max: 1, windowMs: 600_000 } }
  const { transport, errors, completes } = scheduled({ everyMs: 1000 }, {}, options)
  for (let i = 0; i < 2; i++) {
    clock.tick(900)
    transport.peerBegins()
    await completes()
  }
  t.match(errors, [{ code: 'ERR_RENEGOTIATION_LIMIT' }])
})

t.test('hardLimit.bytes: a write that took nothing is not retried if it would now exceed the limit', async (t) => {
  const { stream, transport, errors } = scheduled({ hardLimit: { bytes: 100 } }, { takes: 'when told' })
  stream.write(Buffer.alloc(60))
  transport.take(0)
  transport.peerSends(Buffer.alloc(50))
  await turn()
  t.match(errors, [EXPIRED])
  t.equal(transport.taken.length, 0)
  t.equal(Buffer.concat(stream.unsent()).length, 60)
})

for (const received of [100, 110]) {
  t.test(
    `hardLimit.bytes: ${received} bytes received in a handshake without new keys destroy the stream`,
    async (t) => {
      const it = scheduled({ hardLimit: { bytes: 100 } })
      const { stream, transport, errors } = it
      transport.peerBegins()
      await turn()
      const sent = sinon.spy()
      stream.write('held', sent)
      transport.peerAnswered = true
      transport.peerSends(Buffer.alloc(received))
      t.equal(stream.state, 'handshaking')
      transport.peerRefuses()
      t.equal(await it.begun(), 0)
      t.match(errors, [EXPIRED])
      t.equal(sent.callCount, 1)
      t.equal(Buffer.concat(stream.unsent()).toString(), 'held')
    },
  )
}

t.test('hardLimit applies during a handshake that the peer leaves unanswered', async (t) => {
  for (const begins of ['we', 'the peer']) {
    for (const limit of [{ bytes: 100 }, { records: 2 }, { ms: 1000 }]) {
      const { stream, transport, errors, begun } = scheduled({ hardLimit: limit }, {}, { handshakeTimeout: 0 })
      if (begins === 'we') void stream.renegotiate()
      else transport.peerBegins()
      await begun()
      t.equal(stream.state, 'handshaking')
      for (let i = 0; i < 2; i++) transport.peerSends(Buffer.alloc(50))
      clock.tick(1000)
      await begun()
      t.match(errors, [EXPIRED], `${begins} began: ${Object.keys(limit)}`)
    }
  }
})

t.test('hardLimit.ms destroys an idle stream after a handshake that brought no new keys', async (t) => {
  const { transport, errors, begun } = scheduled({ hardLimit: { ms: 1000 } })
  transport.peerBegins()
  transport.peerAnswered = true
  await begun()
  clock.tick(1500)
  transport.peerRefuses()
  await begun()
  t.same(errors, [])
  clock.tick(500)
  await begun()
  t.match(errors, [EXPIRED])
})

t.test('hardLimit.ms counts from the first handshake, not from the creation of the stream', async (t) => {
  const { stream, transport, errors, begun } = scheduled({ hardLimit: { ms: 1000 } }, { ready: false })
  clock.tick(5000)
  stream.write('early')
  t.equal(await begun(), 0)
  t.same(errors, [])
  transport.becomesReady()
  t.equal(await begun(), 0)
  t.equal(transport.taken.toString(), 'early')
  clock.tick(1000)
  await begun()
  t.match(errors, [EXPIRED])
})

t.test('hardLimit.ms does not apply once both ends have closed, while the application still reads', async (t) => {
  const { stream, transport, errors, begun } = scheduled({ hardLimit: { ms: 1000 } }, { reads: false })
  stream.read(0)
  await turn()
  transport.peerSends('all')
  transport.peerEnds()
  stream.end()
  await begun()
  transport.closes()
  clock.tick(5000)
  await begun()
  t.same(errors, [])
  t.equal(String(stream.read()), 'all')
})

t.test('a stream that is destroyed while it delivers data begins no scheduled renegotiation', async (t) => {
  const { stream, transport } = scheduled({ everyBytes: 5 })
  stream.on('data', () => stream.destroy())
  transport.peerSends('1234567890')
  clock.tick(10_000)
  await turn()
  t.equal(clock.countTimers(), 0)
})

t.test('a renegotiation that waited for another one does not shorten the delay after a failure', async (t) => {
  const options = { drainTimeout: 1500 }
  const it = scheduled({ everyBytes: 10 }, { takes: 'when told' }, options)
  const { stream, transport, failures } = it
  transport.peerBegins()
  transport.peerSends('1234567890')
  transport.peerRefuses()
  await turn()
  await transport.takeNext()
  t.equal(stream.state, 'open')
  stream.write('in flight for long')
  clock.tick(900)
  transport.peerSends('x')
  t.equal(stream.state, 'draining', 'the next chunk begins it before the second is over')
  clock.tick(1500)
  await turn()
  t.equal(failures.length, 1)
  transport.peerSends('x')
  clock.tick(999)
  t.equal(stream.state, 'open')
  clock.tick(1)
  t.equal(stream.state, 'draining')
})

/** A turn was given back, and the next stream begins. */
async function nextTurn(): Promise<void> {
  await turn()
  clock.tick(5)
}

/** Takes all turns, by streams whose peers never answer. */
async function eightSilentPeers(t: Test, rekey: RekeyOptions = { everyMs: 100 }) {
  const silent = Array.from({ length: 8 }, () => scheduled(rekey, {}, { handshakeTimeout: 0 }))
  clock.tick(100)
  for (const it of silent) t.equal(await it.begun(), 1)
  t.equal(rekeyTurns.taken, 8)
  return silent
}

t.test('the ninth scheduled renegotiation waits until one of the eight before it is complete', async (t) => {
  const [first] = await eightSilentPeers(t)
  const ninth = scheduled({ everyMs: 100 })
  clock.tick(100)
  t.equal(await ninth.begun(), 0)
  t.equal(ninth.stream.state, 'open', 'a stream that waits holds no writes')
  await first?.completes()
  await nextTurn()
  t.equal(await ninth.begun(), 1)
  await ninth.completes()
  t.equal(ninth.stream.counters.renegotiations, 1)
})

t.test('eight silent peers do not keep other streams from being renewed', async (t) => {
  await eightSilentPeers(t)
  const others = Array.from({ length: 20 }, () => scheduled({ everyMs: 100 }))
  clock.tick(100)
  for (const it of others) t.equal(await it.begun(), 0)
  clock.tick(250)
  for (const it of others) {
    await nextTurn()
    t.equal(await it.begun(), 1)
    await it.completes()
    t.equal(it.stream.counters.renegotiations, 1)
  }
})

t.test('a renegotiation of the application or of the peer takes no turn', async (t) => {
  await eightSilentPeers(t)
  const own = scheduled({ everyMs: 1000 })
  const peers = scheduled({ everyMs: 1000 })
  const renegotiated = own.stream.renegotiate()
  t.equal(await own.begun(), 1)
  await own.completes()
  t.match(await renegotiated, { origin: 'local' })
  peers.transport.peerBegins()
  await peers.completes()
  t.equal(peers.stream.counters.byPeer, 1)
  t.equal(rekeyTurns.taken, 8)
})

t.test('a stream that waits for a turn leaves the line when it is destroyed, and when its keys are new', async (t) => {
  await eightSilentPeers(t)
  const destroyed = scheduled({ everyMs: 100 })
  const renewed = scheduled({ everyMs: 100 })
  clock.tick(100)
  t.equal(rekeyTurns.waiting, 2)
  destroyed.stream.destroy()
  t.equal(rekeyTurns.waiting, 1)
  renewed.transport.peerBegins()
  await renewed.completes()
  t.equal(rekeyTurns.waiting, 0)
  clock.tick(99)
  t.equal(rekeyTurns.waiting, 0, 'the period begins again')
  clock.tick(1)
  t.equal(rekeyTurns.waiting, 1)
})

for (const [what, happens, begun] of [
  ['has ended', ({ stream }: ReturnType<typeof scheduled>) => void stream.end(), 0],
  ['has lost its peer', ({ transport }: ReturnType<typeof scheduled>) => transport.peerEnds(), 0],
  ['is busy', ({ transport }: ReturnType<typeof scheduled>) => transport.peerBegins(), 0],
] as const) {
  t.test(`a stream that ${what} when its turn comes gives it back`, async (t) => {
    const [first] = await eightSilentPeers(t)
    const it = scheduled({ everyMs: 100 })
    const next = scheduled({ everyMs: 200 })
    clock.tick(100)
    happens(it)
    await turn()
    clock.tick(50)
    await first?.completes()
    await nextTurn()
    t.equal(await it.begun(), begun)
    clock.tick(50)
    await nextTurn()
    t.equal(await next.begun(), 1)
  })
}

t.test('the stream whose hard limit is nearest gets the next turn', async (t) => {
  const [first, second, third] = await eightSilentPeers(t)
  const far = scheduled({ everyMs: 100, hardLimit: { ms: 100_000 } })
  const none = scheduled({ everyMs: 100 })
  const byBytes = scheduled({ everyBytes: 90, hardLimit: { bytes: 100 } })
  const near = scheduled({ everyMs: 100, hardLimit: { ms: 5000 } })
  clock.tick(100)
  byBytes.transport.peerSends(Buffer.alloc(90))
  for (const it of [far, none, byBytes, near]) t.equal(await it.begun(), 0)
  await first?.completes()
  await nextTurn()
  t.equal(await byBytes.begun(), 1, '11 ms are left, at its rate')
  await second?.completes()
  await nextTurn()
  t.equal(await none.begun(), 1, 'it counts as if 100 ms were left')
  t.equal(await near.begun(), 0)
  await third?.completes()
  await nextTurn()
  t.equal(await near.begun(), 1)
  t.equal(await far.begun(), 0)
})

t.test('a stream that has used up half of what was left to hardLimit.ms waits no longer', async (t) => {
  await eightSilentPeers(t, { everyMs: 100, concurrency: 8 })
  const it = scheduled({ everyMs: 100, hardLimit: { ms: 180 } })
  clock.tick(144)
  t.equal(await it.begun(), 0, 'half of it is used up after 140 ms, and the pace is 5 ms')
  clock.tick(1)
  t.equal(await it.begun(), 1)
  t.equal(rekeyTurns.taken, 9)
  await it.completes()
  t.equal(it.stream.counters.renegotiations, 1)
})

t.test('the same with hardLimit.bytes and hardLimit.records, whatever made the renegotiation due', async (t) => {
  for (const hardLimit of [{ bytes: 100 }, { records: 10 }]) {
    await eightSilentPeers(t)
    const it = scheduled({ everyMs: 100, hardLimit })
    for (let i = 0; i < 2; i++) it.transport.peerSends(Buffer.alloc(10))
    clock.tick(100)
    for (let i = 0; i < 3; i++) it.transport.peerSends(Buffer.alloc(10))
    t.equal(await it.begun(), 0, '0.2 of the limit were used when it was due, and now 0.5')
    it.transport.peerSends(Buffer.alloc(10))
    await nextTurn()
    t.equal(await it.begun(), 1)
    for (const stream of made.splice(0)) stream.destroy()
    await nextTurn()
  }
})

t.test('a failed drain gives the turn back, and the next attempt takes another', async (t) => {
  const it = scheduled({ everyMs: 1000 }, { takes: 'when told' }, { drainTimeout: 100 })
  it.stream.write('in flight for long')
  clock.tick(1000)
  t.equal(rekeyTurns.taken, 1)
  clock.tick(100)
  await turn()
  t.equal(rekeyTurns.taken, 0)
  clock.tick(1000)
  t.equal(rekeyTurns.taken, 1)
})

t.test('a turn is given back if the peer ends the connection, or the stream is destroyed', async (t) => {
  for (const happens of [
    ({ transport }: ReturnType<typeof scheduled>) => transport.peerEnds(),
    ({ stream }: ReturnType<typeof scheduled>) => stream.destroy(),
    ({ transport }: ReturnType<typeof scheduled>) => transport.closes(),
  ]) {
    const it = scheduled({ everyMs: 1000 })
    clock.tick(1000)
    t.equal(await it.begun(), 1)
    t.equal(rekeyTurns.taken, 1)
    happens(it)
    await turn()
    t.equal(rekeyTurns.taken, 0)
  }
})

t.test('a key update gives its turn back when it is sent, and does not wait for the answer', async (t) => {
  const { begun, transport } = scheduled({ everyMs: 1000 }, { hasKeyUpdates: true })
  clock.tick(1000)
  t.equal(await begun(), 1)
  t.equal(rekeyTurns.taken, 1)
  transport.sendsRequest()
  t.equal(rekeyTurns.taken, 0)
})

t.test('the result of a renegotiation does not end the turn of the next one', async (t) => {
  const { stream, begun, completes } = scheduled({ everyBytes: 10 })
  stream.write('1234567890')
  t.equal(await begun(), 1)
  stream.once('renegotiated', () => stream.write('1234567890'))
  await completes()
  t.equal(await begun(), 2)
  t.equal(rekeyTurns.taken, 1)
})

const abbreviated = { resumed: true }
const full = { resumed: false }
const fullLimit = { fullEveryMs: 1000, hardLimit: { fullMs: 1500 } }

t.test('fullEveryMs begins a full handshake that long after the last full one', async (t) => {
  const { begun, transport, completes } = scheduled({ fullEveryMs: 1000 })
  clock.tick(999)
  t.equal(await begun(), 0)
  clock.tick(1)
  t.equal(await begun(), 1)
  t.match(transport.renegotiations, [{ full: true }])
  await completes()
  clock.tick(999)
  t.equal(await begun(), 1)
  clock.tick(1)
  t.equal(await begun(), 2)
})

t.test('fullEveryMs: [min, max] picks a random delay from the range', async (t) => {
  sinon.stub(Math, 'random').returns(0.5)
  const { begun } = scheduled({ fullEveryMs: [1000, 2000] })
  clock.tick(1499)
  t.equal(await begun(), 0)
  clock.tick(1)
  t.equal(await begun(), 1)
})

t.test('abbreviated handshakes restart everyMs, but not fullEveryMs', async (t) => {
  const { begun, transport } = scheduled({ everyMs: 400, fullEveryMs: 1000 })
  const finishes = async (session: object) => {
    transport.peerFinishes(session)
    await turn()
    await turn()
  }
  for (let i = 1; i <= 2; i++) {
    clock.tick(400)
    t.equal(await begun(), i)
    await finishes(abbreviated)
  }
  clock.tick(199)
  t.equal(await begun(), 2)
  clock.tick(1)
  t.equal(await begun(), 3, '1000 ms after the first handshake')
  t.match(
    transport.renegotiations.map((options) => (options as { full?: boolean }).full),
    [false, false, true],
  )
  await finishes(full)
  clock.tick(400)
  t.equal(await begun(), 4)
})

t.test('a handshake of the peer counts as a full one only if it is', async (t) => {
  const { begun, transport } = scheduled({ fullEveryMs: 1000 })
  const peerHandshakes = async (session: object) => {
    transport.peerBegins()
    transport.peerFinishes(session)
    await turn()
    await turn()
  }
  clock.tick(900)
  await peerHandshakes(full)
  clock.tick(900)
  t.equal(await begun(), 0)
  await peerHandshakes(abbreviated)
  clock.tick(100)
  t.equal(await begun(), 1)
})

t.test('a full handshake that is due is not served by an abbreviated one, and is tried again', async (t) => {
  const { begun, transport, failures } = scheduled({ fullEveryMs: 1000 })
  clock.tick(1000)
  t.equal(await begun(), 1)
  transport.peerFinishes(abbreviated)
  await turn()
  await turn()
  t.match(failures, [{ code: 'ERR_RENEGOTIATION_NO_CERTIFICATE' }])
  clock.tick(999)
  transport.peerSends('data does not hurry it')
  t.equal(await begun(), 1)
  clock.tick(1)
  t.equal(await begun(), 2)
  t.match(transport.renegotiations, [{ full: true }, { full: true }])
})

t.test('hardLimit.fullMs ends a stream whose peer makes only abbreviated handshakes', async (t) => {
  const { stream, transport, errors, begun } = scheduled(fullLimit)
  for (let ms = 0; ms < 1500; ms += 100) {
    t.same(errors, [])
    transport.peerBegins()
    transport.peerFinishes(abbreviated)
    await begun()
    clock.tick(100)
  }
  await begun()
  t.match(errors, [{ ...EXPIRED, message: /^There was no full handshake within rekey.hardLimit.fullMs \(1500 ms\)$/ }])
  t.equal(stream.state, 'closed')
})

t.test('hardLimit.fullMs is also checked before each write, because a timer may be late', async (t) => {
  const { stream, transport, errors } = scheduled(fullLimit)
  // The clock of performance.now() moves, and no timer fires.
  const late = performance.now() + 1500
  performance.now = () => late
  stream.write('too late')
  await turn()
  t.match(errors, [EXPIRED])
  t.equal(transport.taken.length, 0)
})

t.test('a stream whose first handshake was abbreviated begins a full one at once', async (t) => {
  const session = { keys: Buffer.from('keys 0'), ...abbreviated }
  for (const [rekey, expected] of [
    [{ fullEveryMs: 1000 }, 1],
    [{ everyMs: 1000 }, 0],
  ] as const) {
    const { begun, completes, transport } = scheduled(rekey, { session })
    t.equal(await begun(), 0, 'not inside the call that reports the handshake')
    clock.tick(1)
    t.equal(await begun(), expected)
    if (expected === 1) {
      t.match(transport.renegotiations, [{ full: true }])
      transport.peerFinishes(full)
      await completes()
    }
  }
})

t.test('with TLS 1.3, fullEveryMs is reported as impossible, and everyMs goes on', async (t) => {
  const errors: unknown[] = []
  const listener = (message: unknown) => errors.push((message as { error?: Error }).error?.message)
  diagnostics.subscribe('tracing:renegotiation-duplex:renegotiate:error', listener)
  const warned = sinon.stub(process, 'emitWarning')
  const { begun } = scheduled({ everyMs: 400, fullEveryMs: 1000 }, { hasKeyUpdates: true })
  clock.tick(400)
  t.equal(await begun(), 1)
  clock.tick(5000)
  t.equal(await begun(), 1)
  t.match(errors, [/^rekey.fullEveryMs is for TLS 1.2/])
  t.equal(warned.callCount, 1)
  diagnostics.unsubscribe('tracing:renegotiation-duplex:renegotiate:error', listener)
})

t.test('a stream that waits for its turn is not kept from its full handshake until hardLimit.fullMs', async (t) => {
  const waiting = { concurrency: 1, ...fullLimit }
  const first = scheduled(waiting)
  const second = scheduled(waiting)
  clock.tick(1000)
  t.equal(await first.begun(), 1)
  t.equal(await second.begun(), 0)
  clock.tick(255)
  t.equal(await second.begun(), 1)
})

t.test('handshakes of the peer on the schedule of fullEveryMs do not count against peerLimit', async (t) => {
  const peerLimit = { max: 0, windowMs: 600_000 }
  sinon.stub(Math, 'random').returns(0.999)
  const { transport, errors, begun } = scheduled({ fullEveryMs: [1000, 2000] }, { peerLimit })
  for (let i = 0; i < 10; i++) {
    clock.tick(1500)
    transport.peerBegins()
    transport.peerFinishes(full)
    await begun()
  }
  t.same(errors, [])
  // Abbreviated ones are not excused without end, although a full one is due.
  for (let i = 0; i < 100; i++) {
    clock.tick(1)
    transport.peerBegins()
    transport.peerFinishes(abbreviated)
    await begun()
  }
  t.match(errors, [{ code: 'ERR_RENEGOTIATION_LIMIT' }])
})

t.test(
  'hardLimit.fullMs ends an idle stream, although the limit was reached in an abbreviated handshake',
  async (t) => {
    const { transport, errors, begun } = scheduled({ hardLimit: { fullMs: 1500 } })
    clock.tick(1400)
    transport.peerBegins()
    transport.peerAnswered = true
    await begun()
    clock.tick(200)
    t.same(errors, [], 'the peer has answered')
    transport.peerFinishes(abbreviated)
    transport.peerAnswered = false
    await begun()
    clock.tick(1)
    await begun()
    t.match(errors, [EXPIRED])
  },
)
