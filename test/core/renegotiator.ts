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

/** A stream whose writes finish when the test says so. */
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

/** A stream in the state `flushing`, after a handshake of the peer. Its empty write is not finished. */
async function flushing(script: Script = {}, settings?: RenegotiationOptions) {
  const scripted = slow(script, settings)
  scripted.transport.peerBegins()
  scripted.transport.peerFinishes()
  await turn()
  return scripted
}

/** Collects uncaught exceptions until the end of the test. */
function uncaught(t: Test): unknown[] {
  const thrown: unknown[] = []
  process.setUncaughtExceptionCaptureCallback((error) => thrown.push(error))
  t.teardown(() => process.setUncaughtExceptionCaptureCallback(null))
  return thrown
}

t.test('our own renegotiation goes from open to draining, handshaking, flushing and back to open', async (t) => {
  const { stream, transport, events } = slow()
  t.equal(stream.state, 'open')
  stream.write('before')
  const renegotiated = stream.renegotiate()
  t.equal(stream.state, 'draining')
  await transport.takeNext()
  t.equal(stream.state, 'draining', 'the empty write is not finished')
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

t.test('the report has the durations of drain and handshake, and the bytes held and received meanwhile', async (t) => {
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
    kind: 'renegotiation',
    freshSecret: false,
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
    kind: 'renegotiation',
    freshSecret: true,
    drainMs: 0,
    handshakeMs: 0,
    heldBytes: 0,
    inboundBytes: 0,
    verified: false,
    peerCertificateChanged: false,
  })
})

t.test('the renegotiated event has the same report object as the promise', async (t) => {
  const { stream, transport, result } = await handshaking()
  const seen = sinon.spy()
  stream.on('renegotiated', seen)
  transport.peerFinishes()
  const report = await result
  t.equal(seen.firstCall.args[0], report)
})

t.test('a handshake of the peer emits renegotiating and renegotiated, and is counted as byPeer', async (t) => {
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

t.test('a handshake of the peer without new keys is not counted as a renegotiation', async (t) => {
  const { stream, transport, events } = scriptedStream()
  transport.peerBegins()
  t.equal(stream.state, 'handshaking')
  transport.peerRefuses()
  await turn()
  t.equal(stream.state, 'open')
  t.same(events, ['renegotiating (peer)'])
  t.has(stream.counters, { renegotiations: 0, byPeer: 0, failed: 0 })
})

t.test('handshakeDone() without a handshake is ignored', async (t) => {
  const { stream, transport, events } = scriptedStream()
  transport.tellsDone()
  t.equal(stream.state, 'open')
  t.same(events, [])
})

t.test('renegotiate() before the connection is complete waits for it', async (t) => {
  const { stream, transport } = scriptedStream({ ready: false })
  const renegotiated = stream.renegotiate()
  t.equal(stream.state, 'open')
  transport.becomesReady()
  await turn()
  t.equal(stream.state, 'handshaking')
  transport.peerFinishes()
  t.match(await renegotiated, { origin: 'local' })
})

t.test('the transport gets the options of renegotiate()', async (t) => {
  const { signal } = new AbortController()
  const { transport } = await handshaking({ handshakeTimeout: 1000, signal })
  t.match(transport.renegotiations, [{ signal, handshakeTimeout: 1000, drainTimeout: undefined }])
})

t.test('renegotiate() with bad options rejects, and the stream does nothing', async (t) => {
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

t.test('concurrent calls of renegotiate() are carried out in order, each with a handshake of its own', async (t) => {
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

t.test('renegotiate() in a renegotiated listener begins another renegotiation', async (t) => {
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

t.test('ERR_RENEGOTIATION_UNSUPPORTED means that the renegotiation cannot begin', async (t) => {
  t.test('UNSUPPORTED is reported before any write is held', async (t) => {
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

  t.test('after UNSUPPORTED, the next renegotiation is tried', async (t) => {
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

  t.test('an exception in transport.renegotiate() is UNSUPPORTED, and the stream stays open', async (t) => {
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

  t.test('an exception in transport.renegotiate() after the handshake began destroys the stream', async (t) => {
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

  t.test('a peer that begins an unsupported renegotiation destroys the stream', async (t) => {
    const { stream, transport, events } = scriptedStream()
    transport.why = 'disableRenegotiation() was called'
    transport.peerBegins()
    await turn()
    t.same(events, ['ERR_RENEGOTIATION_UNSUPPORTED', 'close'])
    t.match(stream.errored, { message: 'The peer began a handshake. disableRenegotiation() was called' })
  })
})

t.test('a transport may change the state of the handshake within renegotiate()', async (t) => {
  t.test('the handshake may begin within transport.renegotiate()', async (t) => {
    const { stream, transport, events } = scriptedStream()
    transport.onRenegotiate = () => transport.peerBegins()
    const renegotiated = stream.renegotiate()
    await turn()
    t.same(events, ['renegotiating (local)'])
    transport.peerFinishes()
    t.match(await renegotiated, { origin: 'local' })
  })

  t.test('the handshake may begin and finish within transport.renegotiate()', async (t) => {
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

  t.test('the transport may fail within transport.renegotiate()', async (t) => {
    const { stream, transport, events } = scriptedStream()
    transport.onRenegotiate = () => transport.breaks(failure('ECONNRESET'))
    const result = await outcome(stream.renegotiate())
    t.match(result, { ...CLOSED, cause: { code: 'ECONNRESET' } })
    await turn()
    t.same(events, ['ECONNRESET', 'close'])
  })
})

t.test('ERR_RENEGOTIATION_DRAIN_TIMEOUT means that the write in flight did not finish in time', async (t) => {
  t.test('DRAIN_TIMEOUT leaves the stream open, and held writes are sent', async (t) => {
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

  t.test('drainTimeout is 30 seconds by default', async (t) => {
    const { stream, result } = draining()
    clock.tick(29_999)
    t.equal(stream.state, 'draining')
    clock.tick(1)
    t.match(await result, { code: 'ERR_RENEGOTIATION_DRAIN_TIMEOUT' })
  })

  t.test('drainTimeout of renegotiate() overrides that of the stream', async (t) => {
    const { result } = draining({ drainTimeout: 10 }, { drainTimeout: 1000 })
    clock.tick(10)
    t.match(await result, { code: 'ERR_RENEGOTIATION_DRAIN_TIMEOUT' })
  })

  t.test('drainTimeout 0 sets no timer', async (t) => {
    const { stream } = draining({ drainTimeout: 0 })
    t.equal(clock.countTimers(), 0)
    t.equal(stream.state, 'draining')
  })

  t.test('after DRAIN_TIMEOUT, the next renegotiation drains and begins', async (t) => {
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

t.test('ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT means that the handshake did not finish in time', async (t) => {
  t.test('HANDSHAKE_TIMEOUT destroys the stream', async (t) => {
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
    t.equal(stream.errored, await result, 'the promise and the event have the same error')
  })

  t.test('HANDSHAKE_TIMEOUT names maxInboundBytes if the handshake is behind unread data', async (t) => {
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

  t.test('handshakeTimeout is 30 seconds by default, and a further step does not restart it', async (t) => {
    const { stream, transport, result } = await handshaking()
    clock.tick(20_000)
    transport.peerBegins()
    clock.tick(9_999)
    t.equal(stream.state, 'handshaking')
    clock.tick(1)
    t.match(await result, { code: 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT' })
  })

  t.test('handshakeTimeout of renegotiate() overrides that of the stream', async (t) => {
    const { result } = await handshaking({ handshakeTimeout: 10 }, { handshakeTimeout: 1000 })
    clock.tick(10)
    t.match(await result, { code: 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT' })
  })

  t.test('handshakeTimeout applies to handshakes of the peer, too', async (t) => {
    const { transport, events, errors } = scriptedStream({}, { handshakeTimeout: 10 })
    transport.peerBegins()
    clock.tick(10)
    await turn()
    t.same(events, ['renegotiating (peer)', 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT', 'close'])
    t.match(errors, [{ message: "The peer's handshake did not finish in time" }])
  })

  t.test('handshakeTimeout 0 sets no timer', async (t) => {
    await handshaking({ handshakeTimeout: 0 })
    t.equal(clock.countTimers(), 0)
  })

  t.test("HANDSHAKE_TIMEOUT of the peer's handshake rejects our waiting request with CLOSED", async (t) => {
    const { stream, transport } = scriptedStream({}, { handshakeTimeout: 10 })
    transport.peerBegins()
    const result = outcome(stream.renegotiate())
    clock.tick(10)
    t.match(await result, { ...CLOSED, cause: { code: 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT' } })
  })
})

t.test('ERR_RENEGOTIATION_REFUSED means that the peer refused the renegotiation', async (t) => {
  t.test('our own handshake without new keys is REFUSED, and destroys the stream', async (t) => {
    const { stream, transport, events, result } = await handshaking()
    transport.peerRefuses()
    t.match(await result, { code: 'ERR_RENEGOTIATION_REFUSED' })
    await turn()
    t.same(events, ['renegotiating (local)', 'ERR_RENEGOTIATION_REFUSED', 'close'])
    t.equal(stream.errored, await result)
    t.has(stream.counters, { renegotiations: 0, byPeer: 0, failed: 1 })
  })

  t.test('an error that the transport classifies as refused is REFUSED', async (t) => {
    const { stream, transport, result } = await handshaking()
    const cause = failure('ERR_SSL_NO_RENEGOTIATION')
    transport.failsAs = 'refused'
    transport.breaks(cause)
    t.match(await result, { code: 'ERR_RENEGOTIATION_REFUSED', cause })
    t.equal(stream.errored, await result)
  })

  t.test('the alert unexpected_message is REFUSED if this end began the handshake', async (t) => {
    const { stream, transport, result } = await handshaking()
    const cause = failure('ERR_SSL_SSL/TLS_ALERT_UNEXPECTED_MESSAGE')
    transport.failsAs = 'unexpected-message'
    transport.breaks(cause)
    t.match(await result, { code: 'ERR_RENEGOTIATION_REFUSED', message: /unexpected_message/, cause })
    t.equal(stream.errored, await result)
  })
})

t.test('ERR_RENEGOTIATION_PEER_DATA means that application data met a handshake', async (t) => {
  for (const [failsAs, message] of [
    ['peer-data', 'The peer sent application data'],
    ['unexpected-message', 'The peer began a handshake and could not accept'],
  ] as const) {
    t.test(`an error that the transport classifies as ${failsAs} is PEER_DATA`, async (t) => {
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

t.test('an error that the handshake does not explain is passed on unchanged', async (t) => {
  const reset = failure('ECONNRESET')

  t.test('an error in the state open is passed on unchanged', async (t) => {
    const { transport, errors } = scriptedStream()
    transport.failsAs = 'refused'
    transport.breaks(reset)
    await turn()
    t.equal(errors[0], reset)
  })

  t.test('an unexplained error during our handshake is emitted, and the request rejects with CLOSED', async (t) => {
    const { transport, errors, result } = await handshaking()
    transport.breaks(reset)
    t.match(await result, { ...CLOSED, cause: reset })
    await turn()
    t.equal(errors[0], reset)
  })

  t.test('an error of a write is emitted, and the request rejects with CLOSED', async (t) => {
    const { transport, errors, result } = draining()
    transport.failWrite(reset)
    t.match(await result, { ...CLOSED, cause: reset })
    await turn()
    t.equal(errors[0], reset)
  })
})

t.test('ERR_RENEGOTIATION_CLOSED means that the stream or the peer ended first', async (t) => {
  t.test('renegotiate() after end() rejects with CLOSED', async (t) => {
    const { stream } = scriptedStream()
    stream.end()
    t.match(await outcome(stream.renegotiate()), CLOSED)
  })

  t.test('renegotiate() after the end of the peer rejects with CLOSED', async (t) => {
    const { stream, transport } = scriptedStream()
    transport.peerEnds()
    t.match(await outcome(stream.renegotiate()), CLOSED)
    t.equal(stream.state, 'open')
  })

  t.test('renegotiate() after destroy() rejects with CLOSED', async (t) => {
    const { stream } = scriptedStream()
    stream.destroy()
    t.match(await outcome(stream.renegotiate()), CLOSED)
  })

  const phases: [string, () => Promise<Scripted & { result: Promise<unknown> }>][] = [
    ['before the connection is complete', () => handshaking({}, {}, { ready: false })],
    [
      'while queued',
      async () => {
        const scripted = await handshaking()
        return { ...scripted, result: outcome(scripted.stream.renegotiate()) }
      },
    ],
    [
      "while it waits for the peer's handshake",
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
    t.test(`a request rejects with CLOSED when the stream is destroyed ${when}`, async (t) => {
      const { stream, result } = await make()
      stream.destroy()
      t.match(await result, { ...CLOSED, cause: undefined })
      await turn()
      t.equal(clock.countTimers(), 0)
    })

    t.test(`a request rejects with CLOSED when the stream is destroyed with an error ${when}`, async (t) => {
      const { stream, errors, result } = await make()
      const cause = new Error('mine')
      stream.destroy(cause)
      t.match(await result, { ...CLOSED, cause })
      await turn()
      t.same(errors, [cause])
    })

    t.test(`a request rejects with CLOSED when the transport closes ${when}`, async (t) => {
      const { transport, result, events } = await make()
      transport.closes()
      t.match(await result, CLOSED)
      await turn()
      t.equal(events.at(-1), 'close')
    })

    t.test(`a request rejects with CLOSED when the peer ends ${when}`, async (t) => {
      const { transport, result, stream } = await make()
      transport.peerEnds()
      t.match(await result, CLOSED)
      t.not(stream.state, 'closed')
      t.not(stream.state, 'draining')
      t.equal(clock.countTimers(), 0)
    })
  }

  t.test('destroy() rejects all queued requests with CLOSED', async (t) => {
    const { stream } = await handshaking()
    const results = [outcome(stream.renegotiate()), outcome(stream.renegotiate())]
    stream.destroy()
    for (const result of await Promise.all(results)) t.match(result, CLOSED)
    t.equal(stream.counters.failed, 3)
  })

  t.test('destroy() after the handshake is complete does not reject the request', async (t) => {
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

t.test('the signal of renegotiate() cancels a request, or destroys the stream', async (t) => {
  const ABORT = { name: 'AbortError', code: 'ABORT_ERR', cause: 'enough' }

  t.test('a signal that is already aborted rejects the request, and nothing begins', async (t) => {
    const { stream, transport } = scriptedStream()
    t.match(await outcome(stream.renegotiate({ signal: AbortSignal.abort('enough') })), ABORT)
    t.equal(stream.state, 'open')
    t.equal(transport.offers.length, 0)
    t.equal(stream.counters.failed, 1)
  })

  t.test('a signal cancels a queued request, and the other requests go on', async (t) => {
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

  t.test('a signal cancels a request that waits for the connection', async (t) => {
    const controller = new AbortController()
    const { stream, transport, result } = await handshaking({ signal: controller.signal }, {}, { ready: false })
    controller.abort('enough')
    t.match(await result, ABORT)
    transport.becomesReady()
    t.equal(stream.state, 'open')
  })

  t.test('a signal cancels a request that is draining, and held writes are sent', async (t) => {
    const controller = new AbortController()
    const { stream, transport, events, result } = draining({ signal: controller.signal })
    stream.write(' held')
    controller.abort('enough')
    t.equal(stream.state, 'open')
    t.match(await result, ABORT)
    await transport.takeAll()
    t.equal(transport.taken.toString(), 'in flight held')
    t.equal(transport.renegotiations.length, 0, 'no handshake begins')
    t.same(events, [])
    t.equal(clock.countTimers(), 0)
  })

  t.test('a signal cancels a request whose drain has only its empty write left', async (t) => {
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

  t.test('a signal destroys the stream if the handshake has begun', async (t) => {
    const controller = new AbortController()
    const { stream, events, result } = await handshaking({ signal: controller.signal })
    controller.abort('enough')
    t.match(await result, ABORT)
    await turn()
    t.same(events, ['renegotiating (local)', 'ABORT_ERR', 'close'])
    t.equal(stream.errored, await result)
    t.equal(stream.counters.failed, 1)
  })

  t.test("a signal cancels a request during the peer's handshake, and that handshake goes on", async (t) => {
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

  t.test('a signal has no effect once the handshake is complete', async (t) => {
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

  t.test('the stream stops listening to the signal when the renegotiation is complete', async (t) => {
    const { signal } = new AbortController()
    const { transport, result } = await handshaking({ signal })
    t.equal(getEventListeners(signal, 'abort').length, 1)
    transport.peerFinishes()
    await result
    t.equal(getEventListeners(signal, 'abort').length, 0)
  })

  t.test('a signal that is aborted in a renegotiating listener destroys the stream', async (t) => {
    const controller = new AbortController()
    const { stream } = scriptedStream()
    stream.on('renegotiating', () => controller.abort('enough'))
    t.match(await outcome(stream.renegotiate({ signal: controller.signal })), ABORT)
    t.equal(stream.state, 'closed')
  })
})

t.test('a handshake of the peer may serve our request', async (t) => {
  t.test('a handshake of the peer that begins while our request drains serves that request', async (t) => {
    const { stream, transport, events, result } = draining()
    transport.peerBegins()
    t.equal(stream.state, 'handshaking')
    t.equal(clock.countTimers(), 1, 'the timer of the handshake, and none of the drain')
    await transport.takeNext()
    transport.peerFinishes()
    await transport.takeNext()
    t.match(await result, { origin: 'peer', verified: true })
    t.equal(transport.renegotiations.length, 0)
    t.same(events, ['renegotiating (peer)', 'renegotiated (peer)'])
    t.has(stream.counters, { renegotiations: 1, byPeer: 1, failed: 0 })
  })

  t.test('a handshake of the peer that is in progress serves a new request of ours', async (t) => {
    const { stream, transport } = scriptedStream()
    transport.peerBegins()
    const renegotiated = stream.renegotiate()
    await turn()
    transport.peerFinishes()
    t.match(await renegotiated, { origin: 'peer' })
    t.equal(transport.renegotiations.length, 0)
  })

  t.test('a handshake of the peer serves only one of our requests', async (t) => {
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

  t.test('a handshake of the peer that our last empty write discovers serves our request', async (t) => {
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

  t.test('a handshake of the peer does not serve a request with requestCert', async (t) => {
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
    await turn()
    t.equal(stream.state, 'draining')
    await transport.takeNext()
    t.equal(transport.renegotiations.length, 1)
    transport.peerFinishes()
    await transport.takeNext()
    t.match(await result, { origin: 'local' })
    t.has(stream.counters, { renegotiations: 2, byPeer: 1, failed: 0 })
  })

  t.test('a handshake of the peer without new keys does not serve our request', async (t) => {
    const { stream, transport, result } = draining()
    transport.peerBegins()
    await transport.takeNext()
    transport.peerRefuses()
    await transport.takeNext()
    await turn()
    await transport.takeNext()
    t.equal(stream.state, 'handshaking')
    transport.peerFinishes()
    await transport.takeNext()
    t.match(await result, { origin: 'local' })
  })

  t.test('a handshake of the peer in the state flushing begins before held writes are sent', async (t) => {
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

  t.test('our request resolves even if the peer begins another handshake in the state flushing', async (t) => {
    const { stream, transport } = slow()
    const renegotiated = stream.renegotiate()
    await transport.takeNext()
    transport.peerFinishes()
    transport.peerBegins()
    t.equal(stream.state, 'handshaking')
    t.match(await renegotiated, { origin: 'local' })
  })

  t.test("a renegotiated listener may destroy the stream while the peer's next handshake begins", async (t) => {
    const { stream, transport, events } = await flushing()
    stream.on('renegotiated', () => stream.destroy())
    transport.peerBegins()
    await turn()
    t.same(events, ['renegotiating (peer)', 'renegotiated (peer)', 'close'])
    t.equal(clock.countTimers(), 0)
  })
})

t.test('peerLimit limits the handshakes that the peer may begin', async (t) => {
  const LIMIT = 'ERR_RENEGOTIATION_LIMIT'
  const handshake = async ({ transport }: Scripted) => {
    transport.peerBegins()
    transport.peerFinishes()
    await turn()
  }

  t.test('one handshake more than peerLimit allows destroys the stream', async (t) => {
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

  t.test('peerLimit counts over a sliding window', async (t) => {
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

  t.test('peerLimit with max 0 allows no handshake of the peer', async (t) => {
    const { stream, transport } = scriptedStream({}, { peerLimit: { max: 0, windowMs: 1000 } })
    transport.peerBegins()
    t.match(stream.errored, { code: LIMIT })
  })

  t.test('the option peerLimit overrides the limit of the transport', async (t) => {
    const script = { peerLimit: { max: 0, windowMs: 1000 } }
    const bound = scriptedStream(script)
    bound.transport.peerBegins()
    t.match(bound.stream.errored, { code: LIMIT })
    const free = scriptedStream(script, { peerLimit: false })
    await handshake(free)
    t.equal(free.stream.state, 'open')
  })

  t.test('peerLimit never counts our own handshakes, however many steps they have', async (t) => {
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

  t.test('a stream that is destroyed for peerLimit rejects our request with CLOSED', async (t) => {
    const { transport, result } = draining({}, { peerLimit: { max: 0, windowMs: 1000 } })
    transport.peerBegins()
    t.match(await result, { ...CLOSED, cause: { code: LIMIT } })
  })
})

t.test('the certificate of the peer is judged after each handshake', async (t) => {
  const anna = { identity: Buffer.from('Anna'), authorized: true }
  const otto = { identity: Buffer.from('Otto'), authorized: true }
  const keys = Buffer.from('keys 0')
  const asks = { certificatePolicy: { requestCert: true, rejectUnauthorized: true } }
  const asksNot = { certificatePolicy: { requestCert: false, rejectUnauthorized: true } }

  t.test('a changed identity destroys the stream, whichever end began', async (t) => {
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

  t.test('allowIdentityChange allows a changed identity, and the report says so', async (t) => {
    const { transport, result } = await handshaking({}, { allowIdentityChange: true }, { session: { keys, ...anna } })
    transport.peerFinishes(otto)
    t.match(await result, { peerCertificateChanged: true, authorized: true })
  })

  t.test('NO_CERTIFICATE: the peer sent no certificate, though one was requested', async (t) => {
    const { stream, transport, result } = await handshaking({ requestCert: true }, {}, asksNot)
    t.match(transport.renegotiations, [{ requestCert: true, rejectUnauthorized: true }])
    transport.peerFinishes()
    t.match(await result, { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE' })
    t.equal(stream.errored, await result)
  })

  t.test('NO_CERTIFICATE: the requested certificate does not verify', async (t) => {
    const { transport, result } = await handshaking({ requestCert: true }, {}, asksNot)
    transport.peerFinishes({ ...anna, authorized: false, authorizationError: 'expired' })
    t.match(await result, { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE', cause: 'expired' })
  })

  t.test('NO_CERTIFICATE leaves the stream open if a resumed handshake did not ask for a certificate', async (t) => {
    const { stream, transport, events, result } = await handshaking({ requestCert: true }, {}, asksNot)
    stream.write('held')
    transport.peerFinishes({ resumed: true })
    t.match(await result, { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE', message: /resumed/ })
    t.equal(stream.state, 'open')
    t.equal(transport.taken.toString(), 'held')
    t.same(events, ['renegotiating (local)'])
    t.equal(stream.counters.failed, 1)
  })

  t.test('a connection that requires a certificate requires it in renegotiations of either end', async (t) => {
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

  t.test('a resumed handshake of the peer without the required certificate leaves the stream open', async (t) => {
    const { stream, transport, events } = scriptedStream(asks)
    transport.peerBegins()
    transport.peerFinishes({ resumed: true })
    await turn()
    t.equal(stream.state, 'open')
    t.same(events, ['renegotiating (peer)'])
  })

  t.test('with rejectUnauthorized false, an unverified or missing certificate is accepted', async (t) => {
    for (const session of [{}, { ...anna, authorized: false }]) {
      const { transport, result } = await handshaking({ requestCert: true, rejectUnauthorized: false }, {}, asksNot)
      t.match(transport.renegotiations, [{ requestCert: true, rejectUnauthorized: false, full: true }])
      transport.peerFinishes(session)
      t.match(await result, { origin: 'local' })
    }
  })

  t.test('a request for a certificate fails if nobody was asked, because the session was resumed', async (t) => {
    const { stream, transport, result } = await handshaking(
      { requestCert: true, rejectUnauthorized: false },
      {},
      asksNot,
    )
    transport.peerFinishes({ resumed: true })
    t.match(await result, { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE' })
    t.equal(stream.state, 'open')
  })

  t.test('only a request that names a certificate needs a full handshake', async (t) => {
    for (const [options, full] of [
      [{}, false],
      [{ requestCert: false }, false],
      [{ rejectUnauthorized: true }, true],
      [{ rejectUnauthorized: true, requestCert: false }, false],
    ] as const) {
      const { transport, result } = await handshaking(options, {}, asks)
      t.match(transport.renegotiations, [{ full }])
      transport.peerFinishes({ ...anna, authorized: true })
      t.match(await result, { origin: 'local' })
    }
  })

  t.test('requestCert: false requests none, even if the connection was made to request one', async (t) => {
    const { transport, result } = await handshaking({ requestCert: false }, {}, asks)
    t.match(transport.renegotiations, [{ requestCert: false }])
    transport.peerFinishes()
    t.match(await result, { origin: 'local' })
  })

  t.test('a peer that has shown a certificate is asked for it again', async (t) => {
    const { transport, result } = await handshaking({}, {}, { ...asksNot, session: { keys, ...anna } })
    t.match(transport.renegotiations, [{ requestCert: true, rejectUnauthorized: true }])
    transport.peerFinishes()
    t.match(await result, { origin: 'local', peerCertificateChanged: false })
  })

  t.test('requestCert on a transport without certificate policy is UNSUPPORTED before anything is held', async (t) => {
    const { stream, transport } = scriptedStream()
    t.match(await outcome(stream.renegotiate({ requestCert: true })), {
      code: 'ERR_RENEGOTIATION_UNSUPPORTED',
      message: /requestCert is for a server/,
    })
    t.equal(stream.state, 'open')
    t.same(transport.renegotiations, [])
    t.same(transport.offers, [])
  })

  t.test('without a certificate policy, a missing certificate is no failure', async (t) => {
    const { transport, result } = await handshaking({ rejectUnauthorized: true })
    t.match(transport.renegotiations, [{ requestCert: false }])
    transport.peerFinishes()
    t.match(await result, { origin: 'local' })
  })
})

t.test('end() waits for the renegotiations that were requested before it', async (t) => {
  t.test('end() waits for a handshake in progress', async (t) => {
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

  t.test('end() waits for all queued requests', async (t) => {
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

  t.test('end() waits for a request that waits for the connection', async (t) => {
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

  t.test('end() waits for a handshake of the peer', async (t) => {
    const { stream, transport } = slow()
    transport.peerBegins()
    stream.end()
    await turn()
    t.equal(transport.ended, false)
    transport.peerFinishes()
    await turn()
    t.equal(transport.ended, false, 'end() waits for the empty write')
    await transport.takeNext()
    await turn()
    t.equal(transport.ended, true)
  })

  t.test('end() waits for the empty write after a handshake', async (t) => {
    const { stream, transport } = await flushing()
    stream.end()
    await turn()
    t.equal(stream.state, 'flushing')
    t.equal(transport.ended, false)
    await transport.takeNext()
    t.equal(transport.ended, true)
  })

  t.test('end() does not wait for a request that was aborted', async (t) => {
    const controller = new AbortController()
    const { stream, transport, result } = await handshaking({ signal: controller.signal }, {}, { ready: false })
    stream.end()
    controller.abort()
    await result
    await turn()
    t.equal(transport.ended, true)
  })

  t.test('end() does not wait for a request that turns out to be unsupported', async (t) => {
    const { stream, transport, result } = await handshaking({}, {}, { ready: false })
    stream.end()
    transport.why = 'TLS 1.3 has none'
    transport.becomesReady()
    t.match(await result, { code: 'ERR_RENEGOTIATION_UNSUPPORTED' })
    await turn()
    t.equal(transport.ended, true)
  })

  t.test('end() does not wait for a queued request that becomes unsupported', async (t) => {
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

  t.test("end() does not wait for a handshake that the peer's end cut off", async (t) => {
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

t.test('the end of the peer interrupts a renegotiation', async (t) => {
  t.test('the end of the peer while draining rejects the request, and held writes are sent', async (t) => {
    const { stream, transport, result } = draining()
    stream.write(' held')
    transport.peerEnds()
    t.match(await result, CLOSED)
    t.equal(stream.state, 'open')
    await transport.takeAll()
    t.equal(transport.taken.toString(), 'in flight held')
    t.equal(transport.renegotiations.length, 0)
  })

  t.test('the end of the peer in a handshake fails later writes, but received data can still be read', async (t) => {
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

  t.test('the end of the peer in a handshake fails held writes, and unsent() returns them', async (t) => {
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

  t.test('the end of the peer in a handshake does not fail a write that was already taken', async (t) => {
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

  t.test('the end of the peer while flushing does not reject the completed renegotiation', async (t) => {
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

  t.test('the end of the peer while flushing lets the renegotiation be reported at once', async (t) => {
    const { transport, events } = await flushing()
    transport.peerEnds()
    t.same(events, ['renegotiating (peer)', 'renegotiated (peer)'])
    transport.take()
    t.equal(clock.countTimers(), 0)
    await turn()
    t.same(events, ['renegotiating (peer)', 'renegotiated (peer)', 'end'])
  })

  t.test('after the end of the peer, a flush that does not finish ends with HANDSHAKE_TIMEOUT', async (t) => {
    const { stream, transport } = await flushing({}, { handshakeTimeout: 10 })
    transport.peerEnds()
    clock.tick(9)
    t.equal(stream.state, 'flushing')
    clock.tick(1)
    t.match(stream.errored, { code: 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT' })
  })
})

t.test('rejected promises that nobody handles cause no unhandledRejection', async (t) => {
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

t.test('a throwing listener does not keep the renegotiation or held writes from finishing', async (t) => {
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

t.test("a throwing renegotiated listener does not disturb the peer's next handshake", async (t) => {
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

t.test('a throwing renegotiating listener does not keep the stream from reading ahead', async (t) => {
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

t.test('a throwing renegotiated listener during destroy() leaves no promise or callback pending', async (t) => {
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

t.test('a throwing write callback after a handshake does not stop later writes or requests', async (t) => {
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

t.test('an exception in transport.unsupported() destroys the stream, and every promise settles', async (t) => {
  const { stream, transport } = scriptedStream()
  const broken = new Error('broken')
  transport.unsupported = () => {
    throw broken
  }
  const error = new Promise((resolve) => stream.once('error', resolve))
  t.match(await outcome(stream.renegotiate()), { code: 'ERR_RENEGOTIATION_CLOSED', cause: broken })
  t.equal(await error, broken)
})

t.test('a handshake of the peer after our end() completes without a write', async (t) => {
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

t.test('a transport that reads within resume() reports events from there', async (t) => {
  /** The application has enough, so the transport is paused; then a renegotiation makes it read on. */
  function paused(script: Script = {}) {
    const scripted = scriptedStream({ reads: false, resumes: 'at once', ...script }, { readableHighWaterMark: 1 })
    scripted.stream.read(0)
    scripted.transport.peerSends('enough')
    t.equal(scripted.transport.flowing, false)
    return scripted
  }

  t.test("resume() may report that the peer's handshake begins, and it serves our request", async (t) => {
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

  t.test('resume() may report a whole handshake of the peer, and our request settles', async (t) => {
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

  t.test('resume() may report the end of the peer, and our request rejects with CLOSED', async (t) => {
    const { stream, transport } = paused()
    transport.peerEnds()
    t.match(await outcome(stream.renegotiate()), CLOSED)
    t.equal(stream.state, 'open')
    t.equal(transport.renegotiations.length, 0)
    t.equal(clock.countTimers(), 0)
  })

  t.test('resume() may report an error, and our request rejects with CLOSED', async (t) => {
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

t.test('held writes are sent if the peer ends unanswered and the transport takes the handshake back', async (t) => {
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
})

t.test('the transport is not asked to take back a handshake of the peer', async (t) => {
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
