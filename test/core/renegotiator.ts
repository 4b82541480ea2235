import { getEventListeners, once } from 'node:events'
import sinon from 'sinon'
import t, { type Test } from 'tap'
import type { RenegotiateOptions, RenegotiationOptions } from '../../src/core/options.ts'
import type { RenegotiationReport } from '../../src/core/report.ts'
import { failure, outcome, scriptedStream } from '../fixtures/scripted-stream.ts'
import { type Script, turn } from '../fixtures/scripted-transport.ts'

type Scripted = ReturnType<typeof scriptedStream>

const CLOSED = { name: 'RenegotiationError', code: 'ERR_RENEGOTIATION_CLOSED' }

let clock: sinon.SinonFakeTimers
t.beforeEach(() => {
  clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
t.afterEach(() => clock.restore())

/** A stream whose writes are done when the test says so. */
const slow = (script: Script = {}, options?: RenegotiationOptions) =>
  scriptedStream({ takes: 'when told', ...script }, options)

/** A renegotiation that waits for a write in flight. */
function draining(options?: RenegotiateOptions, settings?: RenegotiationOptions, script: Script = {}) {
  const scripted = slow(script, settings)
  scripted.stream.write('in flight')
  return { ...scripted, result: outcome(scripted.stream.renegotiate(options)) }
}

/** A renegotiation of our own whose handshake is on its way. */
async function handshaking(options?: RenegotiateOptions, settings?: RenegotiationOptions, script: Script = {}) {
  const scripted = scriptedStream(script, settings)
  const result = outcome(scripted.stream.renegotiate(options))
  await turn()
  return { ...scripted, result }
}

/** A handshake of the peer's that is over, while the look after it isn't. */
async function flushing(script: Script = {}, settings?: RenegotiationOptions) {
  const scripted = slow(script, settings)
  scripted.transport.peerBegins()
  scripted.transport.peerFinishes()
  await turn()
  return scripted
}

/** What nobody catches, until the test is over. */
function uncaught(t: Test): unknown[] {
  const thrown: unknown[] = []
  process.setUncaughtExceptionCaptureCallback((error) => thrown.push(error))
  t.teardown(() => process.setUncaughtExceptionCaptureCallback(null))
  return thrown
}

t.test('a renegotiation goes from open over draining, handshaking and flushing to open', async (t) => {
  const { stream, transport, events } = slow()
  t.equal(stream.state, 'open')
  stream.write('before')
  const renegotiated = stream.renegotiate()
  t.equal(stream.state, 'draining')
  await transport.takeNext()
  t.equal(stream.state, 'draining', 'the transport looks once more')
  t.equal(transport.renegotiations.length, 0)
  await transport.takeNext()
  t.equal(stream.state, 'handshaking')
  t.equal(transport.renegotiations.length, 1)
  t.same(events, ['renegotiating (local)'])
  transport.peerBegins()
  t.equal(stream.state, 'handshaking')
  transport.peerFinishes()
  await turn()
  t.equal(stream.state, 'flushing')
  t.same(events, ['renegotiating (local)'])
  await transport.takeNext()
  t.equal(stream.state, 'open')
  t.same(events, ['renegotiating (local)', 'renegotiated (local)'])
  await renegotiated
  t.has(stream.counters, { renegotiations: 1, byPeer: 0, failed: 0 })
  t.equal(clock.countTimers(), 0)
})

t.test('the report tells how long each part took, and what went by meanwhile', async (t) => {
  const { stream, transport } = slow()
  stream.write('in flight')
  const renegotiated = stream.renegotiate()
  clock.tick(5)
  transport.peerSends('12345')
  await transport.takeNext()
  await transport.takeNext()
  stream.write('held')
  clock.tick(7)
  transport.peerSends('678')
  transport.peerFinishes({ resumed: true, authorized: false, authorizationError: 'self-signed' })
  transport.peerSends('9')
  clock.tick(11)
  await transport.takeNext()
  t.strictSame(await renegotiated, {
    origin: 'local',
    drainMs: 5,
    handshakeMs: 7,
    heldBytes: 4,
    inboundBytes: 8,
    verified: true,
    resumed: true,
    authorized: false,
    authorizationError: 'self-signed',
    peerCertificateChanged: false,
  })
})

t.test('the report leaves out what the transport cannot tell', async (t) => {
  const { stream, transport } = scriptedStream({ session: {} })
  const renegotiated = stream.renegotiate()
  await turn()
  transport.peerFinishes({ keys: undefined })
  t.strictSame(await renegotiated, {
    origin: 'local',
    drainMs: 0,
    handshakeMs: 0,
    heldBytes: 0,
    inboundBytes: 0,
    verified: false,
    peerCertificateChanged: false,
  })
})

t.test('the event has the very report that the promise has', async (t) => {
  const { stream, transport, result } = await handshaking()
  const seen = sinon.spy()
  stream.on('renegotiated', seen)
  transport.peerFinishes()
  const report = await result
  t.equal(seen.firstCall.args[0], report)
})

t.test("a peer's handshake is reported as an event", async (t) => {
  const { stream, transport, events } = scriptedStream()
  const seen = sinon.spy()
  stream.on('renegotiated', seen)
  transport.peerBegins()
  clock.tick(3)
  transport.peerSends('12')
  transport.peerFinishes()
  await turn()
  t.match(seen.firstCall.args[0], { origin: 'peer', drainMs: 0, handshakeMs: 3, inboundBytes: 2, verified: true })
  t.same(events, ['renegotiating (peer)', 'renegotiated (peer)'])
  t.has(stream.counters, { renegotiations: 1, byPeer: 1, failed: 0 })
  t.equal(clock.countTimers(), 0)
})

t.test("a peer's handshake that left the keys as they were never took place", async (t) => {
  const { stream, transport, events } = scriptedStream()
  transport.peerBegins()
  t.equal(stream.state, 'handshaking')
  transport.peerRefuses()
  await turn()
  t.equal(stream.state, 'open')
  t.same(events, ['renegotiating (peer)'])
  t.has(stream.counters, { renegotiations: 0, byPeer: 0, failed: 0 })
})

t.test('a handshakeDone that nobody waits for is ignored', async (t) => {
  const { stream, transport, events } = scriptedStream()
  transport.tellsDone()
  t.equal(stream.state, 'open')
  t.same(events, [])
})

t.test('before the connection is complete a renegotiation waits', async (t) => {
  const { stream, transport } = scriptedStream({ ready: false })
  const renegotiated = stream.renegotiate()
  t.equal(stream.state, 'open')
  transport.becomesReady()
  await turn()
  t.equal(stream.state, 'handshaking')
  transport.peerFinishes()
  t.match(await renegotiated, { origin: 'local' })
})

t.test('the transport gets the options of the renegotiation', async (t) => {
  const { signal } = new AbortController()
  const { transport } = await handshaking({ handshakeTimeout: 1000, signal })
  t.match(transport.renegotiations, [{ signal, handshakeTimeout: 1000, drainTimeout: undefined }])
})

t.test('bad options reject, and nothing is touched', async (t) => {
  const { stream, transport } = scriptedStream()
  await t.rejects(stream.renegotiate({ drainTimeout: 'soon' as never }), {
    name: 'TypeError',
    message: "drainTimeout must be a number, got 'soon'",
  })
  await t.rejects(stream.renegotiate({ handshakeTimeout: -1 }), { name: 'RangeError' })
  await t.rejects(stream.renegotiate(null as never), { name: 'TypeError' })
  t.equal(stream.state, 'open')
  t.equal(transport.renegotiations.length, 0)
  t.equal(stream.counters.failed, 3)
})

t.test('calls are carried out in order, each with a renegotiation of its own', async (t) => {
  const { stream, transport } = scriptedStream()
  const order: number[] = []
  const reports = [0, 1, 2].map((index) => stream.renegotiate().finally(() => order.push(index)))
  for (let done = 0; done < 3; done++) {
    await once(stream, 'renegotiating')
    t.equal(transport.renegotiations.length, done + 1)
    t.same(order.length, done)
    transport.peerFinishes()
    await turn()
  }
  t.equal(new Set(await Promise.all(reports)).size, 3)
  t.same(order, [0, 1, 2])
  t.has(stream.counters, { renegotiations: 3, byPeer: 0, failed: 0 })
})

t.test('a renegotiation asked for while another is reported gets its turn', async (t) => {
  const { stream, transport, result } = await handshaking()
  const second = new Promise<RenegotiationReport>((resolve) => {
    stream.once('renegotiated', () => resolve(stream.renegotiate()))
  })
  transport.peerFinishes()
  await once(stream, 'renegotiating')
  transport.peerFinishes()
  t.not(await second, await result)
  t.equal(stream.counters.renegotiations, 2)
})

t.test('UNSUPPORTED', async (t) => {
  t.test('is told before anything is held', async (t) => {
    const { stream, transport, events } = slow()
    transport.why = 'TLS 1.3 has none'
    stream.write('in flight')
    const result = outcome(stream.renegotiate())
    t.equal(stream.state, 'open')
    t.match(await result, { code: 'ERR_RENEGOTIATION_UNSUPPORTED', message: 'TLS 1.3 has none' })
    t.equal(transport.offers.length, 1)
    t.same(events, [])
    t.equal(stream.counters.failed, 1)
  })

  t.test('lets the next one try', async (t) => {
    const { stream, transport } = scriptedStream()
    transport.why = 'not now'
    const first = outcome(stream.renegotiate())
    transport.why = undefined
    const second = stream.renegotiate()
    t.match(await first, { code: 'ERR_RENEGOTIATION_UNSUPPORTED' })
    await turn()
    transport.peerFinishes()
    t.match(await second, { origin: 'local' })
  })

  t.test('is what a transport that throws comes to, and the stream stays open', async (t) => {
    const { stream, transport, events } = slow()
    const cause = new Error('not allowed')
    transport.onRenegotiate = () => {
      throw cause
    }
    const result = outcome(stream.renegotiate())
    stream.write('held')
    await transport.takeNext()
    t.match(await result, { code: 'ERR_RENEGOTIATION_UNSUPPORTED', cause })
    t.equal(stream.state, 'open')
    await transport.takeAll()
    t.equal(transport.taken.toString(), 'held')
    t.same(events, [])
    t.equal(clock.countTimers(), 0)
  })

  t.test('is the end where the transport throws after its handshake has begun', async (t) => {
    const { stream, transport, events } = scriptedStream()
    const cause = new Error('lost')
    transport.onRenegotiate = () => {
      transport.peerBegins()
      throw cause
    }
    const result = await outcome(stream.renegotiate())
    t.match(result, { code: 'ERR_RENEGOTIATION_UNSUPPORTED', cause })
    await turn()
    t.same(events, ['renegotiating (local)', 'ERR_RENEGOTIATION_UNSUPPORTED', 'close'])
    t.equal(stream.errored, result)
  })

  t.test('destroys the stream where it is the peer who begins', async (t) => {
    const { stream, transport, events } = scriptedStream()
    transport.why = 'disableRenegotiation() was called'
    transport.peerBegins()
    await turn()
    t.same(events, ['ERR_RENEGOTIATION_UNSUPPORTED', 'close'])
    t.match(stream.errored, { message: 'The peer began a handshake. disableRenegotiation() was called' })
  })
})

t.test('a transport may begin, and even finish, within renegotiate()', async (t) => {
  t.test('begin', async (t) => {
    const { stream, transport, events } = scriptedStream()
    transport.onRenegotiate = () => transport.peerBegins()
    const renegotiated = stream.renegotiate()
    await turn()
    t.same(events, ['renegotiating (local)'])
    transport.peerFinishes()
    t.match(await renegotiated, { origin: 'local' })
  })

  t.test('finish', async (t) => {
    const { stream, transport, events } = scriptedStream()
    transport.onRenegotiate = () => {
      transport.peerBegins()
      transport.peerFinishes()
    }
    t.match(await outcome(stream.renegotiate()), { origin: 'local', verified: true })
    t.equal(stream.state, 'open')
    t.same(events, ['renegotiating (local)', 'renegotiated (local)'])
    t.equal(clock.countTimers(), 0)
  })

  t.test('die', async (t) => {
    const { stream, transport, events } = scriptedStream()
    transport.onRenegotiate = () => transport.breaks(failure('ECONNRESET'))
    const result = await outcome(stream.renegotiate())
    t.match(result, { ...CLOSED, cause: { code: 'ECONNRESET' } })
    await turn()
    t.same(events, ['ECONNRESET', 'close'])
  })
})

t.test('DRAIN_TIMEOUT', async (t) => {
  t.test('leaves the stream open, and what was held goes on', async (t) => {
    const { stream, transport, events, result } = draining({}, { drainTimeout: 100 })
    stream.write(' held')
    clock.tick(99)
    t.equal(stream.state, 'draining')
    clock.tick(1)
    t.equal(stream.state, 'open')
    t.match(await result, { code: 'ERR_RENEGOTIATION_DRAIN_TIMEOUT', message: /9 bytes/ })
    await transport.takeAll()
    t.equal(transport.taken.toString(), 'in flight held')
    t.equal(transport.renegotiations.length, 0)
    t.same(events, [])
    t.has(stream.counters, { renegotiations: 0, byPeer: 0, failed: 1 })
  })

  t.test('is 30 seconds unless told otherwise', async (t) => {
    const { stream, result } = draining()
    clock.tick(29_999)
    t.equal(stream.state, 'draining')
    clock.tick(1)
    t.match(await result, { code: 'ERR_RENEGOTIATION_DRAIN_TIMEOUT' })
  })

  t.test("of one renegotiation takes the place of the stream's", async (t) => {
    const { result } = draining({ drainTimeout: 10 }, { drainTimeout: 1000 })
    clock.tick(10)
    t.match(await result, { code: 'ERR_RENEGOTIATION_DRAIN_TIMEOUT' })
  })

  t.test('0 is none', async (t) => {
    const { stream } = draining({ drainTimeout: 0 })
    t.equal(clock.countTimers(), 0)
    t.equal(stream.state, 'draining')
  })

  t.test('lets the next one drain', async (t) => {
    const { stream, transport, result } = draining({ drainTimeout: 10 })
    const second = stream.renegotiate()
    clock.tick(10)
    t.match(await result, { code: 'ERR_RENEGOTIATION_DRAIN_TIMEOUT' })
    await turn()
    t.equal(stream.state, 'draining')
    await transport.takeNext()
    await transport.takeNext()
    t.equal(transport.renegotiations.length, 1)
    transport.peerFinishes()
    await transport.takeNext()
    t.match(await second, { origin: 'local' })
  })
})

t.test('HANDSHAKE_TIMEOUT', async (t) => {
  t.test('destroys the stream', async (t) => {
    const { stream, events, result } = await handshaking({}, { handshakeTimeout: 100 })
    clock.tick(99)
    t.equal(stream.state, 'handshaking')
    clock.tick(1)
    t.equal(stream.state, 'closed')
    t.match(await result, {
      code: 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT',
      message: 'The handshake did not finish in time',
    })
    await turn()
    t.same(events, ['renegotiating (local)', 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT', 'close'])
    t.equal(stream.errored, await result, 'the same error in the promise and in the event')
  })

  t.test('says so where the handshake stands behind data that nobody reads', async (t) => {
    const options = { handshakeTimeout: 10, readableHighWaterMark: 1, maxInboundBytes: 4 }
    const { stream, transport } = scriptedStream({ reads: false }, options)
    const result = outcome(stream.renegotiate())
    await turn()
    transport.peerSends('abcd')
    t.equal(transport.flowing, false)
    clock.tick(10)
    const message = /^The handshake did not finish in time: it stands behind data .* maxInboundBytes \(4\)/
    t.match(await result, { code: 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT', message })
  })

  t.test('is 30 seconds unless told otherwise, and not started anew by the next step', async (t) => {
    const { stream, transport, result } = await handshaking()
    clock.tick(20_000)
    transport.peerBegins()
    clock.tick(9_999)
    t.equal(stream.state, 'handshaking')
    clock.tick(1)
    t.match(await result, { code: 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT' })
  })

  t.test("of one renegotiation takes the place of the stream's", async (t) => {
    const { result } = await handshaking({ handshakeTimeout: 10 }, { handshakeTimeout: 1000 })
    clock.tick(10)
    t.match(await result, { code: 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT' })
  })

  t.test("holds for the peer's handshakes too", async (t) => {
    const { transport, events, errors } = scriptedStream({}, { handshakeTimeout: 10 })
    transport.peerBegins()
    clock.tick(10)
    await turn()
    t.same(events, ['renegotiating (peer)', 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT', 'close'])
    t.match(errors, [{ message: "The peer's handshake did not finish in time" }])
  })

  t.test('0 is none', async (t) => {
    await handshaking({ handshakeTimeout: 0 })
    t.equal(clock.countTimers(), 0)
  })

  t.test("of the peer's handshake cuts off ours that waits for it", async (t) => {
    const { stream, transport } = scriptedStream({}, { handshakeTimeout: 10 })
    transport.peerBegins()
    const result = outcome(stream.renegotiate())
    clock.tick(10)
    t.match(await result, { ...CLOSED, cause: { code: 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT' } })
  })
})

t.test('REFUSED', async (t) => {
  t.test('is a handshake of ours that left the keys as they were', async (t) => {
    const { stream, transport, events, result } = await handshaking()
    transport.peerRefuses()
    t.match(await result, { code: 'ERR_RENEGOTIATION_REFUSED' })
    await turn()
    t.same(events, ['renegotiating (local)', 'ERR_RENEGOTIATION_REFUSED', 'close'])
    t.equal(stream.errored, await result)
    t.has(stream.counters, { renegotiations: 0, byPeer: 0, failed: 1 })
  })

  t.test('is an error that the transport knows as such', async (t) => {
    const { stream, transport, result } = await handshaking()
    const cause = failure('ERR_SSL_NO_RENEGOTIATION')
    transport.failsAs = 'refused'
    transport.breaks(cause)
    t.match(await result, { code: 'ERR_RENEGOTIATION_REFUSED', cause })
    t.equal(stream.errored, await result)
  })

  t.test('is the alert unexpected_message, if this end began and so had no data on its way', async (t) => {
    const { stream, transport, result } = await handshaking()
    const cause = failure('ERR_SSL_SSL/TLS_ALERT_UNEXPECTED_MESSAGE')
    transport.failsAs = 'unexpected-message'
    transport.breaks(cause)
    t.match(await result, { code: 'ERR_RENEGOTIATION_REFUSED', message: /unexpected_message/, cause })
    t.equal(stream.errored, await result)
  })
})

t.test('PEER_DATA', async (t) => {
  for (const [failsAs, message] of [
    ['peer-data', 'The peer sent application data'],
    ['unexpected-message', 'The peer began a handshake and could not accept'],
  ] as const) {
    t.test(`is an error that the transport knows as ${failsAs}`, async (t) => {
      const { stream, transport, events, errors } = scriptedStream()
      const cause = new Error('unexpected record')
      transport.peerBegins()
      transport.failsAs = failsAs
      transport.breaks(cause)
      await turn()
      t.same(events, ['renegotiating (peer)', 'ERR_RENEGOTIATION_PEER_DATA', 'close'])
      t.match(errors, [{ cause, message: new RegExp(message) }])
      t.equal(stream.state, 'closed')
    })
  }
})

t.test('an error that no handshake explains comes as it is', async (t) => {
  const reset = failure('ECONNRESET')

  t.test('while open', async (t) => {
    const { transport, errors } = scriptedStream()
    transport.failsAs = 'refused'
    transport.breaks(reset)
    await turn()
    t.equal(errors[0], reset)
  })

  t.test('in a handshake, and the renegotiation is cut off', async (t) => {
    const { transport, errors, result } = await handshaking()
    transport.breaks(reset)
    t.match(await result, { ...CLOSED, cause: reset })
    await turn()
    t.equal(errors[0], reset)
  })

  t.test('from a write', async (t) => {
    const { transport, errors, result } = draining()
    transport.failWrite(reset)
    t.match(await result, { ...CLOSED, cause: reset })
    await turn()
    t.equal(errors[0], reset)
  })
})

t.test('CLOSED', async (t) => {
  t.test('after end()', async (t) => {
    const { stream } = scriptedStream()
    stream.end()
    t.match(await outcome(stream.renegotiate()), CLOSED)
  })

  t.test("after the peer's end", async (t) => {
    const { stream, transport } = scriptedStream()
    transport.peerEnds()
    t.match(await outcome(stream.renegotiate()), CLOSED)
    t.equal(stream.state, 'open')
  })

  t.test('after destroy()', async (t) => {
    const { stream } = scriptedStream()
    stream.destroy()
    t.match(await outcome(stream.renegotiate()), CLOSED)
  })

  const phases: [string, () => Promise<Scripted & { result: Promise<unknown> }>][] = [
    ['before the connection is complete', () => handshaking({}, {}, { ready: false })],
    [
      'queued',
      async () => {
        const scripted = await handshaking()
        return { ...scripted, result: outcome(scripted.stream.renegotiate()) }
      },
    ],
    [
      "waiting for the peer's handshake",
      async () => {
        const scripted = scriptedStream()
        scripted.transport.peerBegins()
        return { ...scripted, result: outcome(scripted.stream.renegotiate()) }
      },
    ],
    ['while draining', async () => draining()],
    ['while handshaking', handshaking],
    [
      "while draining, interrupted by the peer's handshake",
      async () => {
        const scripted = draining()
        await scripted.transport.takeNext()
        scripted.transport.peerBegins()
        return scripted
      },
    ],
  ]
  for (const [when, make] of phases) {
    t.test(`when destroyed ${when}`, async (t) => {
      const { stream, result } = await make()
      stream.destroy()
      t.match(await result, { ...CLOSED, cause: undefined })
      await turn()
      t.equal(clock.countTimers(), 0)
    })

    t.test(`when destroyed with an error ${when}`, async (t) => {
      const { stream, errors, result } = await make()
      const cause = new Error('mine')
      stream.destroy(cause)
      t.match(await result, { ...CLOSED, cause })
      await turn()
      t.same(errors, [cause])
    })

    t.test(`when the transport closes ${when}`, async (t) => {
      const { transport, result, events } = await make()
      transport.closes()
      t.match(await result, CLOSED)
      await turn()
      t.equal(events.at(-1), 'close')
    })

    t.test(`when the peer ends ${when}`, async (t) => {
      const { transport, result, stream } = await make()
      transport.peerEnds()
      t.match(await result, CLOSED)
      t.not(stream.state, 'closed')
      t.not(stream.state, 'draining')
      t.equal(clock.countTimers(), 0)
    })
  }

  t.test('all that are queued, one error each', async (t) => {
    const { stream } = await handshaking()
    const results = [outcome(stream.renegotiate()), outcome(stream.renegotiate())]
    stream.destroy()
    for (const result of await Promise.all(results)) t.match(result, CLOSED)
    t.equal(stream.counters.failed, 3)
  })

  t.test('is not for one whose handshake was over', async (t) => {
    const { stream, transport, events } = slow()
    const renegotiated = stream.renegotiate()
    await transport.takeNext()
    transport.peerFinishes()
    await turn()
    t.equal(stream.state, 'flushing')
    stream.destroy()
    t.match(await renegotiated, { origin: 'local', verified: true })
    await turn()
    t.same(events, ['renegotiating (local)', 'renegotiated (local)', 'close'])
    t.has(stream.counters, { renegotiations: 1, byPeer: 0, failed: 0 })
  })
})

t.test('a signal', async (t) => {
  const ABORT = { name: 'AbortError', code: 'ABORT_ERR', cause: 'enough' }

  t.test('that has fired: nothing begins', async (t) => {
    const { stream, transport } = scriptedStream()
    t.match(await outcome(stream.renegotiate({ signal: AbortSignal.abort('enough') })), ABORT)
    t.equal(stream.state, 'open')
    t.equal(transport.offers.length, 0)
    t.equal(stream.counters.failed, 1)
  })

  t.test('gives up one that is queued, and the others go on', async (t) => {
    const { stream, transport, result: first } = await handshaking()
    const controller = new AbortController()
    const second = outcome(stream.renegotiate({ signal: controller.signal }))
    const third = stream.renegotiate()
    controller.abort('enough')
    t.match(await second, ABORT)
    t.equal(stream.state, 'handshaking')
    transport.peerFinishes()
    t.match(await first, { origin: 'local' })
    await turn()
    transport.peerFinishes()
    t.match(await third, { origin: 'local' })
    t.equal(transport.renegotiations.length, 2)
  })

  t.test('gives up one that waits for the connection', async (t) => {
    const controller = new AbortController()
    const { stream, transport, result } = await handshaking({ signal: controller.signal }, {}, { ready: false })
    controller.abort('enough')
    t.match(await result, ABORT)
    transport.becomesReady()
    t.equal(stream.state, 'open')
  })

  t.test('gives up one that is draining, and what was held goes on', async (t) => {
    const controller = new AbortController()
    const { stream, transport, events, result } = draining({ signal: controller.signal })
    stream.write(' held')
    controller.abort('enough')
    t.equal(stream.state, 'open')
    t.match(await result, ABORT)
    await transport.takeAll()
    t.equal(transport.taken.toString(), 'in flight held')
    t.equal(transport.renegotiations.length, 0, 'and it never begins')
    t.same(events, [])
    t.equal(clock.countTimers(), 0)
  })

  t.test('gives up one that is draining, with the last look already on its way', async (t) => {
    const controller = new AbortController()
    const { stream, transport, result } = draining({ signal: controller.signal })
    transport.take()
    await turn()
    t.equal(transport.inFlight, 0)
    controller.abort('enough')
    await transport.takeNext()
    t.match(await result, ABORT)
    t.equal(stream.state, 'open')
    t.equal(transport.renegotiations.length, 0)
  })

  t.test('destroys the stream once the handshake has begun', async (t) => {
    const controller = new AbortController()
    const { stream, events, result } = await handshaking({ signal: controller.signal })
    controller.abort('enough')
    t.match(await result, ABORT)
    await turn()
    t.same(events, ['renegotiating (local)', 'ABORT_ERR', 'close'])
    t.equal(stream.errored, await result)
    t.equal(stream.counters.failed, 1)
  })

  t.test("gives up one that the peer's handshake came before, and that goes on", async (t) => {
    const controller = new AbortController()
    const { stream, transport, events, result } = draining({ signal: controller.signal })
    await transport.takeNext()
    transport.peerBegins()
    controller.abort('enough')
    t.match(await result, ABORT)
    t.equal(stream.state, 'handshaking')
    transport.peerFinishes()
    await transport.takeAll()
    t.equal(stream.state, 'open')
    t.same(events, ['renegotiating (peer)', 'renegotiated (peer)'])
    t.equal(transport.renegotiations.length, 0)
  })

  t.test('comes too late once the handshake is over', async (t) => {
    const controller = new AbortController()
    const { stream, transport } = slow()
    const renegotiated = stream.renegotiate({ signal: controller.signal })
    await transport.takeNext()
    transport.peerFinishes()
    await turn()
    t.equal(stream.state, 'flushing')
    controller.abort()
    await transport.takeNext()
    t.match(await renegotiated, { origin: 'local' })
  })

  t.test('is left alone when all is over', async (t) => {
    const { signal } = new AbortController()
    const { transport, result } = await handshaking({ signal })
    t.equal(getEventListeners(signal, 'abort').length, 1)
    transport.peerFinishes()
    await result
    t.equal(getEventListeners(signal, 'abort').length, 0)
  })

  t.test('that fires in a listener for the renegotiation itself is taken as ever', async (t) => {
    const controller = new AbortController()
    const { stream } = scriptedStream()
    stream.on('renegotiating', () => controller.abort('enough'))
    t.match(await outcome(stream.renegotiate({ signal: controller.signal })), ABORT)
    t.equal(stream.state, 'closed')
  })
})

t.test("the peer's handshake", async (t) => {
  t.test('stands for ours where it comes while draining', async (t) => {
    const { stream, transport, events, result } = draining()
    transport.peerBegins()
    t.equal(stream.state, 'handshaking')
    t.equal(clock.countTimers(), 1, 'one for the handshake, none for the drain')
    await transport.takeNext()
    transport.peerFinishes()
    await transport.takeNext()
    t.match(await result, { origin: 'peer', verified: true })
    t.equal(transport.renegotiations.length, 0)
    t.same(events, ['renegotiating (peer)', 'renegotiated (peer)'])
    t.has(stream.counters, { renegotiations: 1, byPeer: 1, failed: 0 })
  })

  t.test('stands for ours where it runs when ours is asked for', async (t) => {
    const { stream, transport } = scriptedStream()
    transport.peerBegins()
    const renegotiated = stream.renegotiate()
    await turn()
    transport.peerFinishes()
    t.match(await renegotiated, { origin: 'peer' })
    t.equal(transport.renegotiations.length, 0)
  })

  t.test('stands for one of ours, not for two', async (t) => {
    const { stream, transport } = scriptedStream()
    transport.peerBegins()
    const first = stream.renegotiate()
    const second = stream.renegotiate()
    transport.peerFinishes()
    t.match(await first, { origin: 'peer' })
    await once(stream, 'renegotiating')
    t.equal(transport.renegotiations.length, 1)
    transport.peerFinishes()
    t.match(await second, { origin: 'local' })
  })

  t.test('stands for ours where the last look sees it', async (t) => {
    const { stream, transport } = scriptedStream()
    transport.onWrite = () => {
      transport.onWrite = undefined
      transport.peerBegins()
    }
    const renegotiated = stream.renegotiate()
    await turn()
    t.equal(stream.state, 'handshaking')
    t.equal(transport.renegotiations.length, 0)
    transport.peerFinishes()
    t.match(await renegotiated, { origin: 'peer' })
  })

  t.test('does not stand for ours where that asks for a certificate', async (t) => {
    const certificatePolicy = { requestCert: false, rejectUnauthorized: true }
    const { stream, transport, result } = draining(
      { requestCert: true, rejectUnauthorized: false },
      {},
      { certificatePolicy },
    )
    transport.peerBegins()
    await transport.takeNext()
    transport.peerFinishes()
    await transport.takeNext()
    t.equal(stream.state, 'draining')
    await transport.takeNext()
    t.equal(transport.renegotiations.length, 1)
    transport.peerFinishes()
    await transport.takeNext()
    t.match(await result, { origin: 'local' })
    t.has(stream.counters, { renegotiations: 2, byPeer: 1, failed: 0 })
  })

  t.test('does not stand for ours where it left the keys as they were', async (t) => {
    const { stream, transport, result } = draining()
    transport.peerBegins()
    await transport.takeNext()
    transport.peerRefuses()
    await transport.takeNext()
    await transport.takeNext()
    t.equal(stream.state, 'handshaking')
    transport.peerFinishes()
    await transport.takeNext()
    t.match(await result, { origin: 'local' })
  })

  t.test('in flushing comes before what is held, and the one before it is reported', async (t) => {
    const { stream, transport, events } = await flushing()
    stream.write('held')
    t.equal(stream.state, 'flushing')
    transport.peerBegins()
    t.equal(stream.state, 'handshaking')
    t.same(events, ['renegotiating (peer)', 'renegotiated (peer)', 'renegotiating (peer)'])
    await transport.takeNext()
    t.equal(transport.inFlight, undefined)
    transport.peerFinishes()
    await transport.takeNext()
    t.equal(stream.state, 'open')
    t.equal(transport.inFlight, 4)
  })

  t.test('in flushing reports ours that was over', async (t) => {
    const { stream, transport } = slow()
    const renegotiated = stream.renegotiate()
    await transport.takeNext()
    transport.peerFinishes()
    transport.peerBegins()
    t.equal(stream.state, 'handshaking')
    t.match(await renegotiated, { origin: 'local' })
  })

  t.test('may end in a listener for the one before it', async (t) => {
    const { stream, transport, events } = await flushing()
    stream.on('renegotiated', () => stream.destroy())
    transport.peerBegins()
    await turn()
    t.same(events, ['renegotiating (peer)', 'renegotiated (peer)', 'close'])
    t.equal(clock.countTimers(), 0)
  })
})

t.test('peerLimit', async (t) => {
  const LIMIT = 'ERR_RENEGOTIATION_LIMIT'
  const handshake = async ({ transport }: Scripted) => {
    transport.peerBegins()
    transport.peerFinishes()
    await turn()
  }

  t.test('destroys the stream when the peer begins one more', async (t) => {
    const scripted = scriptedStream({}, { peerLimit: { max: 2, windowMs: 1000 } })
    await handshake(scripted)
    await handshake(scripted)
    t.equal(scripted.stream.state, 'open')
    scripted.transport.peerBegins()
    t.equal(scripted.stream.state, 'closed')
    await turn()
    t.same(scripted.events.slice(-2), [LIMIT, 'close'])
    t.match(scripted.errors, [{ message: 'The peer began more than 2 handshakes within 1000 ms' }])
    t.equal(scripted.stream.counters.byPeer, 2)
  })

  t.test('is over a sliding window', async (t) => {
    const scripted = scriptedStream({}, { peerLimit: { max: 2, windowMs: 1000 } })
    for (let times = 0; times < 10; times++) {
      await handshake(scripted)
      clock.tick(500)
    }
    t.equal(scripted.stream.state, 'open')
    await handshake(scripted)
    await handshake(scripted)
    t.equal(scripted.stream.state, 'closed')
  })

  t.test('0 allows none', async (t) => {
    const { stream, transport } = scriptedStream({}, { peerLimit: { max: 0, windowMs: 1000 } })
    transport.peerBegins()
    t.match(stream.errored, { code: LIMIT })
  })

  t.test("is the transport's by default, and the option goes before it", async (t) => {
    const script = { peerLimit: { max: 0, windowMs: 1000 } }
    const bound = scriptedStream(script)
    bound.transport.peerBegins()
    t.match(bound.stream.errored, { code: LIMIT })
    const free = scriptedStream(script, { peerLimit: false })
    await handshake(free)
    t.equal(free.stream.state, 'open')
  })

  t.test('never counts ours, however many steps they have', async (t) => {
    const { stream, transport } = scriptedStream({}, { peerLimit: { max: 0, windowMs: 1000 } })
    for (let times = 0; times < 3; times++) {
      const renegotiated = stream.renegotiate()
      await once(stream, 'renegotiating')
      transport.peerBegins()
      transport.peerBegins()
      transport.peerFinishes()
      t.match(await renegotiated, { origin: 'local' })
    }
  })

  t.test('cuts off ours', async (t) => {
    const { transport, result } = draining({}, { peerLimit: { max: 0, windowMs: 1000 } })
    transport.peerBegins()
    t.match(await result, { ...CLOSED, cause: { code: LIMIT } })
  })
})

t.test('identity and certificates', async (t) => {
  const anna = { identity: Buffer.from('Anna'), authorized: true }
  const otto = { identity: Buffer.from('Otto'), authorized: true }
  const keys = Buffer.from('keys 0')
  const asks = { certificatePolicy: { requestCert: true, rejectUnauthorized: true } }
  const asksNot = { certificatePolicy: { requestCert: false, rejectUnauthorized: true } }

  t.test('IDENTITY_CHANGED destroys the stream, whoever began', async (t) => {
    const own = await handshaking({}, {}, { session: { keys, ...anna } })
    own.transport.peerFinishes(otto)
    t.match(await own.result, { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED' })
    t.equal(own.stream.errored, await own.result)
    const peers = scriptedStream({ session: { keys, ...anna } })
    peers.transport.peerBegins()
    peers.transport.peerFinishes(otto)
    await turn()
    t.match(peers.stream.errored, { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED' })
  })

  t.test('allowIdentityChange allows it, and the report tells', async (t) => {
    const { transport, result } = await handshaking({}, { allowIdentityChange: true }, { session: { keys, ...anna } })
    transport.peerFinishes(otto)
    t.match(await result, { peerCertificateChanged: true, authorized: true })
  })

  t.test('NO_CERTIFICATE where a certificate was asked for and none came', async (t) => {
    const { stream, transport, result } = await handshaking({ requestCert: true }, {}, asksNot)
    t.match(transport.renegotiations, [{ requestCert: true, rejectUnauthorized: true }])
    transport.peerFinishes()
    t.match(await result, { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE' })
    t.equal(stream.errored, await result)
  })

  t.test('NO_CERTIFICATE where it does not verify', async (t) => {
    const { transport, result } = await handshaking({ requestCert: true }, {}, asksNot)
    transport.peerFinishes({ ...anna, authorized: false, authorizationError: 'expired' })
    t.match(await result, { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE', cause: 'expired' })
  })

  t.test('NO_CERTIFICATE leaves the stream open where nobody was asked', async (t) => {
    const { stream, transport, events, result } = await handshaking({ requestCert: true }, {}, asksNot)
    stream.write('held')
    transport.peerFinishes({ resumed: true })
    t.match(await result, { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE', message: /resumed/ })
    t.equal(stream.state, 'open')
    t.equal(transport.taken.toString(), 'held')
    t.same(events, ['renegotiating (local)'])
    t.equal(stream.counters.failed, 1)
  })

  t.test('NO_CERTIFICATE where the connection was made to ask, also when the peer begins', async (t) => {
    const own = await handshaking({}, {}, asks)
    t.match(own.transport.renegotiations, [{ requestCert: true, rejectUnauthorized: true }])
    own.transport.peerFinishes()
    t.match(await own.result, { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE' })
    const peers = scriptedStream(asks)
    peers.transport.peerBegins()
    peers.transport.peerFinishes()
    await turn()
    t.match(peers.stream.errored, { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE' })
  })

  t.test('a peer that resumes where it should have been asked goes on, and nobody is told', async (t) => {
    const { stream, transport, events } = scriptedStream(asks)
    transport.peerBegins()
    transport.peerFinishes({ resumed: true })
    await turn()
    t.equal(stream.state, 'open')
    t.same(events, ['renegotiating (peer)'])
  })

  t.test('with rejectUnauthorized false any certificate will do, and none', async (t) => {
    for (const session of [{}, { ...anna, authorized: false }, { resumed: true }]) {
      const { transport, result } = await handshaking({ requestCert: true, rejectUnauthorized: false }, {}, asksNot)
      t.match(transport.renegotiations, [{ requestCert: true, rejectUnauthorized: false }])
      transport.peerFinishes(session)
      t.match(await result, { origin: 'local' })
    }
  })

  t.test('requestCert false asks for none where the connection was made to', async (t) => {
    const { transport, result } = await handshaking({ requestCert: false }, {}, asks)
    t.match(transport.renegotiations, [{ requestCert: false }])
    transport.peerFinishes()
    t.match(await result, { origin: 'local' })
  })

  t.test('who has shown a certificate is asked for it again', async (t) => {
    const { transport, result } = await handshaking({}, {}, { ...asksNot, session: { keys, ...anna } })
    t.match(transport.renegotiations, [{ requestCert: true, rejectUnauthorized: true }])
    transport.peerFinishes()
    t.match(await result, { origin: 'local', peerCertificateChanged: false })
  })

  t.test('without a policy nobody can be asked: said so before anything is held', async (t) => {
    const { stream, transport } = scriptedStream()
    t.match(await outcome(stream.renegotiate({ requestCert: true })), {
      code: 'ERR_RENEGOTIATION_UNSUPPORTED',
      message: /requestCert is for a server/,
    })
    t.equal(stream.state, 'open')
    t.same(transport.renegotiations, [])
    t.same(transport.offers, [])
  })

  t.test('without a policy, a certificate that was not asked for is not missing', async (t) => {
    const { transport, result } = await handshaking({ rejectUnauthorized: true })
    t.match(transport.renegotiations, [{ requestCert: false }])
    transport.peerFinishes()
    t.match(await result, { origin: 'local' })
  })
})

t.test('end() waits for the renegotiations that were asked for before it', async (t) => {
  t.test('one that is handshaking', async (t) => {
    const { stream, transport, result } = await handshaking()
    stream.end('last words')
    await turn()
    t.equal(transport.ended, false)
    transport.peerFinishes()
    t.match(await result, { origin: 'local' })
    await turn()
    await turn()
    t.equal(transport.taken.toString(), 'last words')
    t.equal(transport.ended, true)
  })

  t.test('all that are queued', async (t) => {
    const { stream, transport, result } = await handshaking()
    const second = stream.renegotiate()
    stream.end()
    transport.peerFinishes()
    t.match(await result, { origin: 'local' })
    await turn()
    t.equal(transport.ended, false)
    transport.peerFinishes()
    t.match(await second, { origin: 'local' })
    await turn()
    t.equal(transport.ended, true)
  })

  t.test('one that waits for the connection', async (t) => {
    const { stream, transport, result } = await handshaking({}, {}, { ready: false })
    stream.end()
    await turn()
    t.equal(transport.ended, false)
    transport.becomesReady()
    await turn()
    transport.peerFinishes()
    t.match(await result, { origin: 'local' })
    t.equal(transport.ended, true)
  })

  t.test("the peer's handshake on its way", async (t) => {
    const { stream, transport } = slow()
    transport.peerBegins()
    stream.end()
    await turn()
    t.equal(transport.ended, false)
    transport.peerFinishes()
    await turn()
    t.equal(transport.ended, false, 'until the last look')
    await transport.takeNext()
    await turn()
    t.equal(transport.ended, true)
  })

  t.test('the last look after a handshake', async (t) => {
    const { stream, transport } = await flushing()
    stream.end()
    await turn()
    t.equal(stream.state, 'flushing')
    t.equal(transport.ended, false)
    await transport.takeNext()
    t.equal(transport.ended, true)
  })

  t.test('not for one that was given up', async (t) => {
    const controller = new AbortController()
    const { stream, transport, result } = await handshaking({ signal: controller.signal }, {}, { ready: false })
    stream.end()
    controller.abort()
    await result
    await turn()
    t.equal(transport.ended, true)
  })

  t.test('not for one that turns out to be unsupported', async (t) => {
    const { stream, transport, result } = await handshaking({}, {}, { ready: false })
    stream.end()
    transport.why = 'TLS 1.3 has none'
    transport.becomesReady()
    t.match(await result, { code: 'ERR_RENEGOTIATION_UNSUPPORTED' })
    await turn()
    t.equal(transport.ended, true)
  })

  t.test('not for one after another that turns out to be unsupported', async (t) => {
    const { stream, transport, result } = await handshaking()
    const second = outcome(stream.renegotiate())
    stream.end()
    transport.why = 'not any more'
    transport.peerFinishes()
    t.match(await result, { origin: 'local' })
    t.match(await second, { code: 'ERR_RENEGOTIATION_UNSUPPORTED' })
    await turn()
    t.equal(transport.ended, true)
  })

  t.test('not for one that can never finish', async (t) => {
    const { stream, transport, result, events } = await handshaking()
    stream.end()
    await turn()
    transport.peerEnds()
    t.match(await result, CLOSED)
    await turn()
    t.equal(transport.ended, true)
    t.same(events, ['renegotiating (local)', 'end', 'finish', 'close'])
  })
})

t.test("the peer's end", async (t) => {
  t.test('while draining lets go what is held', async (t) => {
    const { stream, transport, result } = draining()
    stream.write(' held')
    transport.peerEnds()
    t.match(await result, CLOSED)
    t.equal(stream.state, 'open')
    await transport.takeAll()
    t.equal(transport.taken.toString(), 'in flight held')
    t.equal(transport.renegotiations.length, 0)
  })

  t.test('while handshaking: nothing can be written any more, and what was received can be read', async (t) => {
    const { stream, transport, events } = scriptedStream({ reads: false })
    stream.read(0)
    void outcome(stream.renegotiate())
    await turn()
    transport.peerSends('last words')
    transport.peerEnds()
    await turn()
    t.same(events, ['renegotiating (local)'])
    t.equal(stream.read()?.toString(), 'last words')
    stream.write('too late')
    await turn()
    t.same(events.at(-2), 'ERR_RENEGOTIATION_CLOSED')
  })

  t.test('while handshaking fails what is held, and it is not lost', async (t) => {
    const { stream, transport, events } = await handshaking()
    const done = sinon.spy()
    stream.write('held', done)
    stream.write(' and queued', done)
    transport.peerEnds()
    await turn()
    t.equal(done.callCount, 2)
    t.ok(done.args.every(([error]) => error.code === 'ERR_RENEGOTIATION_CLOSED'))
    t.equal(events.at(-2), 'ERR_RENEGOTIATION_CLOSED')
    t.equal(Buffer.concat(stream.unsent()).toString(), 'held and queued')
  })

  t.test('while handshaking does not fail a write that was done', async (t) => {
    const { stream, transport, events } = slow()
    const done = sinon.spy()
    stream.write('done', done)
    transport.peerBegins()
    await transport.takeNext()
    transport.peerEnds()
    await turn()
    t.equal(done.callCount, 1)
    t.notOk(done.firstCall.args[0])
    t.same(events, ['renegotiating (peer)', 'end'])
  })

  t.test('while flushing does not take back what has succeeded', async (t) => {
    const { stream, transport } = slow()
    const renegotiated = stream.renegotiate()
    await transport.takeNext()
    stream.write('held')
    transport.peerFinishes()
    transport.peerEnds()
    await transport.takeNext()
    t.match(await renegotiated, { origin: 'local' })
    await transport.takeAll()
    t.equal(transport.taken.toString(), 'held')
  })

  t.test('while flushing: what has succeeded is told at once', async (t) => {
    const { transport, events } = await flushing()
    transport.peerEnds()
    t.same(events, ['renegotiating (peer)', 'renegotiated (peer)'])
    transport.take()
    t.equal(clock.countTimers(), 0)
    await turn()
    t.same(events, ['renegotiating (peer)', 'renegotiated (peer)', 'end'])
  })

  t.test('while flushing, and nothing can be written any more: as long as a handshake may take', async (t) => {
    const { stream, transport } = await flushing({}, { handshakeTimeout: 10 })
    transport.peerEnds()
    clock.tick(9)
    t.equal(stream.state, 'flushing')
    clock.tick(1)
    t.match(stream.errored, { code: 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT' })
  })
})

t.test('nobody has to look at the promise', async (t) => {
  const unhandled = sinon.spy()
  process.on('unhandledRejection', unhandled)
  t.teardown(() => process.off('unhandledRejection', unhandled))
  const { stream, transport } = scriptedStream()
  void stream.renegotiate({ drainTimeout: -1 })
  void stream.renegotiate({ signal: AbortSignal.abort() })
  void stream.renegotiate()
  void stream.renegotiate()
  await turn()
  transport.peerRefuses()
  await turn()
  await turn()
  t.equal(stream.counters.failed, 4)
  t.equal(unhandled.callCount, 0)
})

t.test('a listener that throws holds nothing up', async (t) => {
  const thrown = uncaught(t)
  for (const event of ['renegotiating', 'renegotiated']) {
    const { stream, transport } = scriptedStream()
    const mine = new Error('mine')
    stream.on(event, () => {
      throw mine
    })
    const renegotiated = stream.renegotiate()
    await turn()
    stream.end('held')
    transport.peerFinishes()
    t.match(await renegotiated, { origin: 'local' })
    await turn()
    await turn()
    t.same(thrown.splice(0), [mine])
    t.equal(transport.taken.toString(), 'held', event)
    t.equal(transport.ended, true)
  }
})

t.test("a listener that throws does not keep the peer's next handshake from beginning", async (t) => {
  const { stream, transport, events } = await flushing()
  const mine = new Error('mine')
  stream.once('renegotiated', () => {
    throw mine
  })
  t.throws(() => transport.peerBegins(), mine)
  t.equal(stream.state, 'handshaking')
  t.equal(clock.countTimers(), 1)
  t.same(events.at(-1), 'renegotiating (peer)')
})

t.test('a listener that throws does not keep the stream from reading ahead', async (t) => {
  const { stream, transport } = scriptedStream({ reads: false }, { readableHighWaterMark: 10 })
  stream.read(0)
  const mine = new Error('mine')
  stream.once('renegotiating', () => {
    throw mine
  })
  t.throws(() => transport.peerBegins(), mine)
  transport.peerSends('more than the application wants')
  transport.peerFinishes()
  await turn()
  t.equal(stream.state, 'open')
  t.equal(stream.counters.byPeer, 1)
})

t.test('a listener that throws while the stream is destroyed leaves nothing undone', async (t) => {
  const { stream, transport, events } = await flushing()
  const mine = new Error('mine')
  stream.once('renegotiated', () => {
    throw mine
  })
  const second = outcome(stream.renegotiate())
  const held = new Promise<Error | null | undefined>((resolve) => stream.write('held', resolve))
  stream.destroy()
  t.equal(transport.destroyed, true)
  t.match(await second, CLOSED)
  t.match(await held, { code: 'ERR_STREAM_DESTROYED' })
  await turn()
  t.same(events.slice(-2), ['mine', 'close'])
  t.same(stream.unsent().map(String), ['held'])
})

t.test('a callback that throws when the writes go on keeps nobody waiting', async (t) => {
  const thrown = uncaught(t)
  for (const text of ['', 'held']) {
    const { stream, transport } = scriptedStream()
    const first = outcome(stream.renegotiate())
    await turn()
    const mine = new Error('mine')
    stream.write(text, () => {
      throw mine
    })
    const second = outcome(stream.renegotiate())
    transport.peerFinishes()
    t.match(await first, { origin: 'local' })
    while (stream.state !== 'handshaking') await turn()
    stream.end()
    transport.peerFinishes()
    t.match(await second, { origin: 'local' })
    for (let i = 0; i < 3; i++) await turn()
    t.same(thrown.splice(0), [mine])
    t.equal(stream.counters.hold.count, 2)
    t.equal(stream.writableFinished, true)
  }
})

t.test('a transport that throws where it must not is the end of the stream, and every promise settles', async (t) => {
  const { stream, transport } = scriptedStream()
  const broken = new Error('broken')
  transport.unsupported = () => {
    throw broken
  }
  const error = new Promise((resolve) => stream.once('error', resolve))
  t.match(await outcome(stream.renegotiate()), { code: 'ERR_RENEGOTIATION_CLOSED', cause: broken })
  t.equal(await error, broken)
})

t.test('a handshake begun after our own end is no reason to write', async (t) => {
  const { stream, transport, events } = scriptedStream()
  stream.end()
  await turn()
  t.equal(transport.ended, true)
  transport.peerBegins()
  transport.peerFinishes()
  await turn()
  t.equal(stream.state, 'open')
  t.same(events, ['finish', 'renegotiating (peer)', 'renegotiated (peer)'])
})

t.test('a transport that reads within resume() may find', async (t) => {
  /** The application has enough, so the transport is paused; then a renegotiation makes it read on. */
  function paused(script: Script = {}) {
    const scripted = scriptedStream({ reads: false, resumes: 'at once', ...script }, { readableHighWaterMark: 1 })
    scripted.stream.read(0)
    scripted.transport.peerSends('enough')
    t.equal(scripted.transport.flowing, false)
    return scripted
  }

  t.test("the beginning of the peer's handshake", async (t) => {
    const { stream, transport } = paused()
    transport.peerBegins()
    const renegotiated = stream.renegotiate()
    await turn()
    t.equal(stream.state, 'handshaking')
    t.equal(clock.countTimers(), 1)
    transport.peerFinishes()
    t.match(await renegotiated, { origin: 'peer' })
    t.equal(transport.renegotiations.length, 0)
    t.equal(clock.countTimers(), 0)
  })

  t.test("the peer's whole handshake", async (t) => {
    const { stream, transport } = paused()
    transport.peerBegins()
    transport.peerFinishes()
    await turn()
    const result = outcome(stream.renegotiate())
    await turn()
    if (stream.state === 'handshaking') transport.peerFinishes()
    t.match(await result, { verified: true })
    t.equal(stream.state, 'open')
    t.equal(clock.countTimers(), 0)
  })

  t.test("the peer's end", async (t) => {
    const { stream, transport } = paused()
    transport.peerEnds()
    t.match(await outcome(stream.renegotiate()), CLOSED)
    t.equal(stream.state, 'open')
    t.equal(transport.renegotiations.length, 0)
    t.equal(clock.countTimers(), 0)
  })

  t.test('an error', async (t) => {
    const { stream, transport } = paused()
    const reset = new Error('reset')
    const resume = transport.resume
    transport.resume = () => {
      resume.call(transport)
      transport.breaks(reset)
    }
    t.match(await outcome(stream.renegotiate()), { ...CLOSED, cause: reset })
    t.equal(stream.state, 'closed')
    t.equal(clock.countTimers(), 0)
  })
})

t.test(
  'the peer ends without an answer, and the transport can take the handshake back: what is held goes',
  async (t) => {
    const { stream, transport, events, result } = await handshaking()
    const takeBack = sinon.stub().callsFake(() => {
      transport.handshaking = false
      return true
    })
    Object.assign(transport, { takeBack })
    stream.write('held')
    transport.peerEnds()
    t.equal(takeBack.callCount, 1)
    t.match(await result, { ...CLOSED, message: /before it answered/ })
    await turn()
    t.equal(stream.state, 'open')
    t.equal(transport.taken.toString(), 'held')
    stream.end()
    await turn()
    t.same(events, ['renegotiating (local)', 'end', 'finish', 'close'])
  },
)

t.test("it isn't asked to take the peer's own back", async (t) => {
  const { stream, transport } = slow()
  const takeBack = sinon.stub().returns(true)
  Object.assign(transport, { takeBack })
  transport.peerBegins()
  await turn()
  transport.peerEnds()
  await turn()
  t.equal(takeBack.callCount, 0)
  t.equal(stream.state, 'handshaking')
  stream.destroy()
})
