import { execFile } from 'node:child_process'
import diagnostics from 'node:diagnostics_channel'
import { promisify } from 'node:util'
import sinon from 'sinon'
import t, { type Test } from 'tap'
import type { RenegotiationTrace } from '../../src/core/diagnostics.ts'
import { RenegotiationDuplex } from '../../src/faces/renegotiation-duplex.ts'
import { outcome, scriptedStream } from '../fixtures/scripted-stream.ts'
import { ScriptedTransport, turn } from '../fixtures/scripted-transport.ts'

const NAME = 'tracing:renegotiation-duplex:renegotiate'
const all = ['start', 'end', 'drained', 'handshake', 'error', 'asyncStart', 'asyncEnd']

/** Collects what is published from now until the end of the test. */
function traces(t: Test, names = all) {
  const published: { name: string; trace: RenegotiationTrace; copy: RenegotiationTrace }[] = []
  for (const name of names) {
    const listen = (message: unknown) => {
      const trace = message as RenegotiationTrace
      published.push({ name, trace, copy: { ...trace } })
    }
    diagnostics.subscribe(`${NAME}:${name}`, listen)
    t.teardown(() => diagnostics.unsubscribe(`${NAME}:${name}`, listen))
  }
  return published
}

const names = (published: ReturnType<typeof traces>) => published.map(({ name }) => name)

t.test('our own renegotiation publishes each event from start to asyncEnd with the same trace object', async (t) => {
  const published = traces(t)
  const { stream, transport } = scriptedStream({ takes: 'when told' })
  stream.write('in flight')
  const renegotiated = stream.renegotiate()
  t.same(published, [], 'nothing is published before the next turn')
  await turn()
  t.same(names(published), ['start', 'end'])
  await transport.takeAll()
  t.same(names(published).slice(2), ['drained', 'handshake'])
  transport.peerFinishes()
  await transport.takeAll()
  const report = await renegotiated
  await turn()
  t.same(names(published).slice(4), ['asyncStart', 'asyncEnd'])
  t.equal(new Set(published.map(({ trace }) => trace)).size, 1)
  t.strictSame(published[0]?.copy, { stream, origin: 'local', scheduled: false })
  t.strictSame(published[2]?.copy, { stream, origin: 'local', scheduled: false, drainMs: report.drainMs })
  t.strictSame(published[5]?.copy, {
    stream,
    origin: 'local',
    scheduled: false,
    drainMs: report.drainMs,
    result: report,
  })
})

t.test('a renegotiation of the peer publishes start, end, handshake, asyncStart and asyncEnd', async (t) => {
  const published = traces(t)
  const { stream, transport } = scriptedStream()
  transport.peerBegins()
  await turn()
  t.same(names(published), ['start', 'end', 'handshake'])
  transport.peerFinishes()
  await turn()
  await turn()
  t.same(names(published).slice(3), ['asyncStart', 'asyncEnd'])
  t.match(published.at(-1)?.trace, { stream, origin: 'peer', scheduled: false, result: { origin: 'peer' } })
})

t.test('a failed renegotiation publishes its error', async (t) => {
  const published = traces(t)
  const { stream, transport } = scriptedStream()
  transport.why = 'not here'
  const error = await stream.renegotiate().catch((reason: Error) => reason)
  await turn()
  t.same(names(published), ['start', 'end', 'error', 'asyncStart', 'asyncEnd'])
  t.equal(published.at(-1)?.trace.error, error)
})

t.test('a renegotiation of the peer that destroy() interrupts publishes an error', async (t) => {
  const published = traces(t)
  const { stream, transport } = scriptedStream()
  transport.peerBegins()
  await turn()
  stream.destroy()
  await turn()
  t.same(names(published).slice(3), ['error', 'asyncStart', 'asyncEnd'])
  t.match(published.at(-1)?.trace, { origin: 'peer', error: { code: 'ERR_RENEGOTIATION_CLOSED' } })
  t.match(stream.counters, { failed: 0, failedByPeer: 1 })
})

t.test('a renegotiation of the peer that our TLS library refused publishes ERR_RENEGOTIATION_REFUSED', async (t) => {
  const published = traces(t)
  const { stream, transport } = scriptedStream()
  transport.peerBegins()
  transport.peerRefuses()
  await turn()
  await turn()
  t.match(published.at(-1)?.trace, { origin: 'peer', error: { code: 'ERR_RENEGOTIATION_REFUSED' } })
  t.match(stream.counters, { renegotiations: 0, failedByPeer: 1 })
})

t.test('a resumed handshake of the peer without the required certificate publishes an error', async (t) => {
  const published = traces(t)
  const { stream, transport } = scriptedStream({ certificatePolicy: { requestCert: true, rejectUnauthorized: true } })
  transport.peerBegins()
  transport.peerFinishes({ resumed: true, authorized: false })
  await turn()
  await turn()
  t.match(published.at(-1)?.trace, { origin: 'peer', error: { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE' } })
  t.match(stream.counters, { renegotiations: 0, failedByPeer: 1 })
})

t.test('a scheduled renegotiation has scheduled: true in its trace', async (t) => {
  const published = traces(t, ['drained'])
  const { transport } = scriptedStream({}, { rekey: { everyBytes: 1 } })
  transport.peerSends('x')
  await turn()
  transport.peerFinishes()
  t.match(published, [{ trace: { origin: 'local', scheduled: true } }])
})

t.test('a subscriber to a single channel receives its event', async (t) => {
  for (const name of ['end', 'handshake', 'asyncEnd']) {
    const published = traces(t, [name])
    const { stream, transport } = scriptedStream()
    const renegotiated = stream.renegotiate()
    await turn()
    transport.peerFinishes()
    await renegotiated
    await turn()
    t.same(names(published), [name])
  }
})

t.test('without subscribers, no tracer is created', async (t) => {
  const { Tracer } = await import('../../src/core/diagnostics.ts')
  t.equal(Tracer.begin({}, 'local'), undefined)
})

t.test('a subscriber that throws does not disturb the renegotiation', async (t) => {
  const oops = new Error('oops')
  const listen = () => {
    throw oops
  }
  diagnostics.subscribe(`${NAME}:handshake`, listen)
  const uncaught = new Promise((resolve) => process.setUncaughtExceptionCaptureCallback(resolve))
  const { stream, transport } = scriptedStream()
  const renegotiated = stream.renegotiate()
  await turn()
  diagnostics.unsubscribe(`${NAME}:handshake`, listen)
  t.equal(await uncaught, oops)
  process.setUncaughtExceptionCaptureCallback(null)
  transport.peerFinishes()
  t.match(await renegotiated, { verified: true })
})

t.test('a subscriber may read the counters of a stream that is still being constructed', async (t) => {
  const looked = new Promise((resolve) => {
    const look = (message: unknown) => resolve((message as { stream: { counters: object } }).stream.counters)
    diagnostics.subscribe(`${NAME}:error`, look)
    t.teardown(() => diagnostics.unsubscribe(`${NAME}:error`, look))
  })
  const transport = new ScriptedTransport()
  transport.why = 'not with this one'
  new RenegotiationDuplex(transport, { rekey: { everyMs: 1000 } })
  t.match(await looked, { renegotiations: 0 })
})

for (const name of all) {
  t.test(`a subscriber to ${name} may destroy the stream, and the trace still ends once`, async (t) => {
    for (const begins of ['ours', "the peer's"]) {
      const published = traces(t)
      const destroy = (message: unknown) => (message as { stream: RenegotiationDuplex }).stream.destroy()
      diagnostics.subscribe(`${NAME}:${name}`, destroy)
      const { stream, transport } = scriptedStream({ takes: 'when told' }, { drainTimeout: 1 })
      if (begins === 'ours') {
        if (name === 'error') stream.write('never done')
        const result = outcome(stream.renegotiate())
        await transport.takeAll().catch(() => {})
        if (transport.handshaking && !transport.destroyed) transport.peerFinishes()
        if (!transport.destroyed) await transport.takeAll()
        await result
      } else {
        transport.peerBegins()
        await turn()
        if (!transport.destroyed) transport.peerRefuses()
      }
      await turn()
      stream.destroy()
      await turn()
      diagnostics.unsubscribe(`${NAME}:${name}`, destroy)
      t.same(transport.violations, [])
      t.equal(names(published).filter((each) => each === 'start').length, 1)
      t.equal(names(published).filter((each) => each === 'asyncEnd').length, 1, 'the trace ends exactly once')
    }
  })
}

t.test('NODE_DEBUG=renegotiation prints the events of each renegotiation', async (t) => {
  const program = `
    import { scriptedStream } from ${JSON.stringify(new URL('../fixtures/scripted-stream.js', import.meta.url).href)}
    for (const why of [undefined, 'not here']) {
      const { stream, transport } = scriptedStream()
      transport.why = why
      stream.renegotiate()
      setImmediate(() => setImmediate(() => why ?? transport.peerFinishes()))
    }`
  const { stderr } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program], {
    env: { ...process.env, NODE_DEBUG: 'renegotiation' },
  })
  const lines = stderr.split('\n').filter((line) => line.startsWith('RENEGOTIATION'))
  const told = (stream: string) => lines.filter((line) => line.includes(stream)).map((line) => line.split(stream)[1])
  t.match(told('#1 '), [/local begins$/, /local drained in [\d.]+ ms$/, /local handshake begins$/, /local done: {/])
  t.match(told('#2 '), [/local begins$/, /local failed: RenegotiationError: not here$/])
})

t.test('the counters show the held bytes, the hold times and the usage of the keys', async (t) => {
  const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  t.teardown(() => clock.restore())
  const { stream, transport } = scriptedStream({ takes: 'when told' })
  stream.write('12345')
  transport.peerSends('678')
  const renegotiated = stream.renegotiate()
  clock.tick(3)
  stream.write('held')
  t.match(stream.counters, { heldBytes: 4, hold: { count: 0, maxMs: 0 } })
  await transport.takeAll()
  t.match(stream.counters.keys, { bytes: 8, records: 2, ageMs: 3 })
  clock.tick(2)
  transport.peerFinishes()
  t.match(stream.counters.keys, { bytes: 0, records: 0, ageMs: 0 })
  await transport.takeAll()
  await renegotiated
  t.same(stream.counters, {
    renegotiations: 1,
    byPeer: 0,
    failed: 0,
    failedByPeer: 0,
    hold: { count: 1, minMs: 5, meanMs: 5, maxMs: 5 },
    heldBytes: 0,
    keys: {
      bytes: 4,
      records: 1,
      ageMs: 0,
      sending: { bytes: 4, records: 1, ageMs: 0 },
      receiving: { bytes: 0, records: 0, ageMs: 0 },
    },
  })
  const before = stream.counters
  clock.tick(1)
  t.equal(before.keys.ageMs, 0, 'the counters are a copy')
})
