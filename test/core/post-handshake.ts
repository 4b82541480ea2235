import sinon from 'sinon'
import t from 'tap'
import type { RenegotiationOptions } from '../../src/core/options.ts'
import type { RenegotiationReport } from '../../src/core/report.ts'
import { failure, outcome, scriptedStream } from '../fixtures/scripted-stream.ts'
import { type Script, turn } from '../fixtures/scripted-transport.ts'

let clock: sinon.SinonFakeTimers
t.beforeEach(() => {
  clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
t.afterEach(() => clock.restore())

const policy = { requestCert: false, rejectUnauthorized: true }

/** A stream over a transport with TLS 1.3. */
const tls13 = (script: Script = {}, options?: RenegotiationOptions) =>
  scriptedStream({ hasKeyUpdates: true, ...script }, options)

/** The same with a key update of this end that is sent, and not answered. */
async function unanswered(options?: RenegotiationOptions, script?: Script) {
  const scripted = tls13(script, options)
  const result = outcome(scripted.stream.renegotiate())
  await turn()
  scripted.transport.sendsRequest()
  await turn()
  return { ...scripted, result }
}

/** The same with a certificate request. */
async function asked(options?: RenegotiationOptions) {
  const scripted = tls13({ certificatePolicy: policy }, options)
  const result = outcome(scripted.stream.renegotiate({ requestCert: true }))
  await turn()
  scripted.transport.sendsRequest()
  await turn()
  return { ...scripted, result }
}

const identity = Buffer.from('the certificate of the client')

t.test('a key update holds writes until it is sent, and resolves when the peer has answered', async (t) => {
  const { stream, transport, events } = tls13({ takes: 'when told' })
  stream.write('in flight')
  const renegotiated = stream.renegotiate()
  t.equal(stream.state, 'draining')
  await transport.takeNext()
  await transport.takeNext()
  t.match(transport.renegotiations, [{ requestCert: false }])
  t.equal(stream.state, 'handshaking')
  stream.write('held')
  await turn()
  t.equal(transport.inFlight, undefined)
  transport.sendsRequest()
  await transport.takeAll()
  t.equal(stream.state, 'open')
  t.equal(transport.taken.toString(), 'in flightheld')
  t.strictSame(events, ['renegotiating (local)'])
  clock.tick(5)
  transport.peerAnswers()
  const report = await renegotiated
  t.match(report, { origin: 'local', kind: 'key-update', freshSecret: false, verified: true, handshakeMs: 5 })
  t.strictSame(events, ['renegotiating (local)', 'renegotiated (local)'])
  t.match(stream.counters, { renegotiations: 1, byPeer: 0, failed: 0 })
  t.equal(clock.countTimers(), 0)
})

t.test('a transport may send the request before renegotiate() returns', async (t) => {
  const { stream, transport, events } = tls13()
  transport.onRenegotiate = () => {
    transport.sendsRequest()
    t.equal(stream.state, 'flushing')
  }
  const renegotiated = stream.renegotiate()
  await turn()
  await turn()
  t.equal(stream.state, 'open')
  transport.peerAnswers()
  t.equal((await renegotiated).verified, true)
  t.strictSame(events, ['renegotiating (local)', 'renegotiated (local)'])
})

t.test('requests that follow each other without a pause hold no data for ever', async (t) => {
  const { stream, transport } = tls13({ takes: 'when told' })
  const again = () => void stream.renegotiate().then(again, () => {})
  again()
  await turn()
  stream.write('held')
  for (let requests = 1; requests < 4; requests++) {
    await transport.takeNext()
    t.equal(transport.renegotiations.length, requests)
    transport.sendsRequest()
    await turn()
    // The answer comes before the empty write after the request is done, so the next request is due at once.
    transport.peerAnswers()
    await turn()
    t.equal(stream.state, 'flushing')
    await transport.takeNext()
    await turn()
    if (transport.inFlight === 4) await transport.takeNext()
  }
  t.equal(transport.taken.toString(), 'held')
  stream.destroy()
})

t.test('the next request waits for the answer to the first', async (t) => {
  const { stream, transport, result } = await unanswered()
  const second = stream.renegotiate()
  await turn()
  t.equal(transport.renegotiations.length, 1)
  transport.peerAnswers()
  await result
  await turn()
  await turn()
  t.equal(transport.renegotiations.length, 2)
  transport.sendsRequest()
  await turn()
  transport.peerAnswers()
  t.equal((await second).verified, true)
})

t.test('a key update that is not answered in time counts as done and as not verified', async (t) => {
  const { stream, transport, result } = await unanswered({ handshakeTimeout: 1000 })
  clock.tick(1000)
  t.match(await result, { kind: 'key-update', verified: false, handshakeMs: 1000 })
  t.equal(stream.state, 'open')
  // The late answer belongs to no request.
  transport.peerAnswers()
  t.equal(stream.counters.renegotiations, 1)
})

t.test('the late answer to a key update is none to a certificate request', async (t) => {
  const { stream, transport } = tls13({ certificatePolicy: policy }, { handshakeTimeout: 1000 })
  const updated = stream.renegotiate()
  await turn()
  transport.sendsRequest()
  await turn()
  clock.tick(1000)
  t.match(await updated, { verified: false })
  let isSettled = false
  const request = stream.renegotiate({ requestCert: true, rejectUnauthorized: false }).finally(() => {
    isSettled = true
  })
  await turn()
  await turn()
  t.equal(transport.renegotiations.length, 2)
  transport.sendsRequest()
  await turn()
  transport.peerAnswers(undefined, 'key-update')
  await turn()
  t.equal(isSettled, false)
  transport.peerAnswers(undefined, 'post-handshake-auth')
  t.match(await request, { kind: 'post-handshake-auth' })
})

t.test('without a limit, a key update waits for its answer as long as it takes', async (t) => {
  const { transport, result } = await unanswered({ handshakeTimeout: 0 })
  t.equal(clock.countTimers(), 0)
  transport.peerAnswers()
  t.match(await result, { verified: true })
})

t.test('an aborted key update that was sent rejects, and its answer is still awaited', async (t) => {
  const { stream, transport } = tls13()
  const abort = new AbortController()
  const result = outcome(stream.renegotiate({ signal: abort.signal }))
  await turn()
  transport.sendsRequest()
  await turn()
  abort.abort()
  t.match(await result, { name: 'AbortError' })
  const next = stream.renegotiate()
  await turn()
  t.equal(stream.state, 'open')
  t.equal(transport.renegotiations.length, 1)
  transport.peerAnswers()
  await turn()
  await turn()
  t.equal(transport.renegotiations.length, 2)
  transport.sendsRequest()
  transport.peerAnswers()
  t.match(await next, { verified: true })
  t.match(stream.counters, { renegotiations: 2, failed: 1 })
})

t.test('the keys of each direction are counted from their own change', async (t) => {
  const { stream, transport, result } = await unanswered()
  stream.write('abc')
  transport.peerSends('12345')
  await turn()
  t.equal(stream.counters.keys.bytes, 8)
  transport.peerAnswers()
  await result
  t.match(stream.counters.keys, { bytes: 3, sending: { bytes: 3 }, receiving: { bytes: 0 } })
})

t.test('end() waits for the answer', async (t) => {
  const { stream, transport, events } = await unanswered()
  stream.end()
  await turn()
  t.notOk(transport.ended)
  transport.peerAnswers()
  await turn()
  t.ok(transport.ended)
  t.strictSame(events.slice(-2), ['renegotiated (local)', 'finish'])
})

t.test('if the peer ends, or the stream is destroyed, an unanswered request fails', async (t) => {
  const ended = await unanswered()
  ended.transport.peerEnds()
  t.match(await ended.result, { code: 'ERR_RENEGOTIATION_CLOSED', message: /before it answered$/ })
  const destroyed = await unanswered()
  const mine = failure('EMINE')
  destroyed.stream.destroy(mine)
  t.match(await destroyed.result, { code: 'ERR_RENEGOTIATION_CLOSED', cause: mine })
  for (const { transport } of [ended, destroyed]) transport.peerAnswers()
  t.equal(clock.countTimers(), 0)
})

t.test('an alert of the peer to an unanswered request is explained', async (t) => {
  const { transport, result, errors } = await unanswered()
  transport.failsAs = 'unexpected-message'
  transport.breaks(failure('ERR_SSL_SSLV3_ALERT_UNEXPECTED_MESSAGE'))
  t.match(await result, { code: 'ERR_RENEGOTIATION_REFUSED' })
  await turn()
  t.match(errors, [{ code: 'ERR_RENEGOTIATION_REFUSED' }])
})

t.test('a request that was sent, although there is none, is ignored', async (t) => {
  const { stream, transport } = tls13()
  transport.sendsRequest()
  transport.peerAnswers()
  t.equal(stream.state, 'open')
  t.equal(stream.counters.renegotiations, 0)
})

t.test('a listener that throws when the request is sent does not keep writes held', async (t) => {
  const { stream, transport } = tls13()
  transport.onRenegotiate = () => {
    try {
      transport.sendsRequest()
    } catch {}
  }
  stream.once('renegotiating', () => {
    throw failure('EMINE')
  })
  const renegotiated = stream.renegotiate()
  await turn()
  await turn()
  t.equal(stream.state, 'open')
  t.throws(() => {
    stream.once('renegotiated', () => {
      throw failure('EMINE')
    })
    transport.peerAnswers()
  }, /EMINE/)
  t.match(await renegotiated, { verified: true })
  t.equal(clock.countTimers(), 0)
})

t.test('a listener may destroy the stream when the request is sent', async (t) => {
  const { stream, transport } = tls13()
  transport.onRenegotiate = () => transport.sendsRequest()
  stream.once('renegotiating', () => stream.destroy())
  t.match(await outcome(stream.renegotiate()), { code: 'ERR_RENEGOTIATION_CLOSED' })
  t.strictSame(transport.violations, [])
})

t.test('a certificate request is judged by the certificate of the client', async (t) => {
  const { stream, transport, result } = await asked()
  t.match(transport.renegotiations, [{ requestCert: true, rejectUnauthorized: true }])
  t.equal(stream.state, 'open')
  transport.peerAnswers({ identity, authorized: true })
  t.match(await result, {
    kind: 'post-handshake-auth',
    freshSecret: false,
    verified: false,
    authorized: true,
    peerCertificateChanged: true,
  })
})

t.test('a certificate that is missing, invalid or another than before ends the stream', async (t) => {
  for (const [session, code] of [
    [{}, 'ERR_RENEGOTIATION_NO_CERTIFICATE'],
    [{ resumed: true }, 'ERR_RENEGOTIATION_NO_CERTIFICATE'],
    [{ identity, authorized: false, authorizationError: 'CERT_HAS_EXPIRED' }, 'ERR_RENEGOTIATION_NO_CERTIFICATE'],
  ] as const) {
    const { stream, transport, result, errors } = await asked()
    transport.peerAnswers(session)
    const error = await result
    t.match(error, { code })
    await turn()
    t.strictSame(errors, [error])
    t.equal(stream.state, 'closed')
  }
  const { stream, transport } = tls13({ certificatePolicy: policy, session: { identity } })
  const result = outcome(stream.renegotiate({ requestCert: true }))
  await turn()
  transport.sendsRequest()
  transport.peerAnswers({ identity: Buffer.from('another'), authorized: true })
  t.match(await result, { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED' })
})

t.test('a certificate request that is not answered in time ends the stream', async (t) => {
  const { stream, result } = await asked({ handshakeTimeout: 1000 })
  clock.tick(1000)
  t.match(await result, { code: 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT' })
  t.equal(stream.state, 'closed')
})

t.test('key updates and certificate requests of the peer are reported, and hold nothing', async (t) => {
  const { stream, transport } = tls13()
  const reports: RenegotiationReport[] = []
  stream.on('renegotiated', (report) => reports.push(report))
  transport.peerSends('12345')
  transport.peerUpdates()
  t.equal(stream.counters.keys.bytes, 0)
  transport.peerUpdates('post-handshake-auth')
  t.equal(stream.state, 'open')
  t.match(reports, [
    { origin: 'peer', kind: 'key-update', verified: true, freshSecret: false },
    { origin: 'peer', kind: 'post-handshake-auth', verified: false, freshSecret: false },
  ])
  t.match(stream.counters, { renegotiations: 2, byPeer: 2 })
})

t.test('a key update of the peer does not put off that of the schedule', async (t) => {
  const { transport } = tls13({}, { rekey: { everyMs: 1000 } })
  await turn()
  clock.tick(999)
  transport.peerUpdates()
  clock.tick(1)
  await turn()
  t.equal(transport.renegotiations.length, 1)
  transport.sendsRequest()
  await turn()
  clock.tick(1000)
  await turn()
  t.equal(transport.renegotiations.length, 1, 'the peer has not answered')
  transport.peerAnswers()
  clock.tick(1000)
  await turn()
  await turn()
  t.equal(transport.renegotiations.length, 2)
})

t.test('peerLimit counts the key updates of the peer', async (t) => {
  const { stream, transport, errors } = tls13({}, { peerLimit: { max: 2, windowMs: 1000 } })
  transport.peerUpdates()
  transport.peerUpdates()
  t.equal(stream.state, 'open')
  transport.peerUpdates()
  await turn()
  t.match(errors, [{ code: 'ERR_RENEGOTIATION_LIMIT' }])
  transport.peerUpdates()
  t.equal(stream.counters.byPeer, 2)
})

t.test('a transport that throws when it is asked for its session ends the stream with that error', async (t) => {
  for (const method of ['session', 'accepted'] as const) {
    const { stream, transport, result, errors } = await unanswered()
    Object.assign(transport, {
      [method]: () => {
        throw failure('EBROKEN')
      },
    })
    transport.peerAnswers()
    t.match(await result, { code: 'ERR_RENEGOTIATION_CLOSED' })
    await turn()
    t.match(errors, [{ code: 'EBROKEN' }])
    t.equal(stream.state, 'closed')
  }
})
