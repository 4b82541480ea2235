import { once } from 'node:events'
import { Duplex } from 'node:stream'
import tls, { type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import {
  connect,
  createServer,
  duplexTransport,
  RenegotiationDuplex,
  type RenegotiationOptions,
  type RenegotiationTLSSocket,
  wrapTLSSocket,
} from '../../src/index.ts'
import { alice, facts, mallory, nameOfPeer } from '../fixtures/attack.ts'
import { link } from '../fixtures/link.ts'
import { nameRefused, refusesNameChange } from '../fixtures/name-change.ts'
import * as pki from '../fixtures/pki.ts'
import { SEED } from '../fixtures/random.ts'
import { nextError, rejection } from '../fixtures/settled.ts'
import { clientOptions, tlsPair, tlsServer } from '../fixtures/tls-pair.ts'
import { expectFinished, finish } from '../fixtures/tls12/client-handshake.ts'
import type { HandshakeOptions } from '../fixtures/tls12/options.ts'
import { RawPeer } from '../fixtures/tls12/peer.ts'

/** LINK_TIMES is for a shorter run. */
const TIMES = Math.min(300, Number(process.env['LINK_TIMES'] ?? 300))
const resumption: RenegotiationOptions = { resumption: true, peerLimit: false }

t.setTimeout(240_000)
t.comment(`SEED=${SEED}`)

t.test(`a server resumes the session ${TIMES} times while both ends send at full speed`, async (t) => {
  const { client, server } = await link({ seed: SEED, server: TIMES, serverOptions: { resumption: true } })
  const proper = { protocol: 'TLSv1.2', ended: true, error: null, unverified: 0, resumed: TIMES }
  t.hasStrict(server, { ...proper, received: client.sent, local: TIMES, peer: 0 })
  t.hasStrict(client, { ...proper, received: server.sent, local: 0, peer: TIMES })
})

t.test('both ends renegotiate, and only the server resumes: a client of Node.js wants a full handshake', async (t) => {
  const { client, server } = await link({ seed: SEED, server: 50, client: 50, serverOptions: { resumption: true } })
  const proper = { ended: true, error: null, unverified: 0 }
  t.hasStrict(server, { ...proper, received: client.sent })
  t.hasStrict(client, { ...proper, received: server.sent, resumed: server.resumed })
  t.ok(server.resumed > 0)
  t.ok(server.resumed < server.local + server.peer)
})

/** Streams at both ends, and the server's option. The client has a certificate. */
async function streams(t: Test, options: RenegotiationOptions, server: tls.TlsOptions = {}) {
  const pair = await tlsPair(t, { server })
  const client = wrapTLSSocket(pair.client)
  const stream = wrapTLSSocket(pair.server, options)
  for (const end of [client, stream]) end.on('error', () => {}).resume()
  return { client, stream }
}

t.test('without the option, or with false, each handshake is a full one (control)', async (t) => {
  for (const options of [{}, { resumption: false }]) {
    const { stream } = await streams(t, options)
    for (let i = 0; i < 2; i++) t.match(await stream.renegotiate(), { resumed: false, freshSecret: true })
  }
})

t.test('the reports of both ends say that the session was resumed', async (t) => {
  const { client, stream } = await streams(t, resumption)
  const atClient = once(client, 'renegotiated')
  const expected = {
    kind: 'renegotiation',
    verified: true,
    resumed: true,
    freshSecret: false,
    extendedMasterSecret: true,
  }
  t.match(await stream.renegotiate(), { ...expected, origin: 'local' })
  t.match(await atClient, [{ ...expected, origin: 'peer' }])
})

t.test('createServer({ renegotiation: { resumption: true } })', async (t) => {
  const server = createServer({ ...pki.server, maxVersion: 'TLSv1.2', renegotiation: resumption })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const accepted = once(server, 'secureConnection') as Promise<[RenegotiationTLSSocket]>
  const client = connect(clientOptions((server.address() as { port: number }).port)).resume()
  const [stream] = await accepted
  t.teardown(() => client.destroy())
  t.match(await stream.resume().renegotiate(), { resumed: true, verified: true })
  t.match(client.isSessionReused(), true)
})

t.test(
  'a certificate on demand is a full handshake, and the certificate stays when the session is resumed',
  async (t) => {
    const { client, stream } = await streams(t, resumption)
    t.match(await stream.renegotiate(), { resumed: true })
    t.equal(nameOfPeer(stream), undefined)
    const first = await stream.renegotiate({ requestCert: true })
    t.match(first, { resumed: false, freshSecret: true, authorized: true, peerCertificateChanged: true })
    const before = facts(stream)
    t.match(await stream.renegotiate(), { resumed: true, authorized: true, peerCertificateChanged: false })
    t.equal(nameOfPeer(stream), 'client')
    t.match(facts(stream), {
      authorized: true,
      authorizationError: before['authorizationError'],
      getPeerX509Certificate: before['getPeerX509Certificate'],
    })
    t.match(await stream.renegotiate({ rejectUnauthorized: true }), { resumed: false, authorized: true })
    t.match(await stream.renegotiate({ requestCert: true }), { resumed: false, authorized: true })
    t.match(await stream.renegotiate({ requestCert: true, rejectUnauthorized: false }), { resumed: false })
    t.match(client.counters, { failed: 0, failedByPeer: 0 })
  },
)

t.test('the form with a callback is full for the same options as the form with a promise', async (t) => {
  const { stream } = await streams(t, resumption, { requestCert: true })
  for (const [options, resumed] of [
    [{}, true],
    [{ requestCert: true }, false],
    [{ rejectUnauthorized: true }, false],
    [{ rejectUnauthorized: false }, true],
  ] as const) {
    const report = once(stream, 'renegotiated')
    stream.renegotiate(options, () => {})
    t.match(await report, [{ resumed, authorized: true }])
  }
})

t.test('a request that waits for a certificate is not served by a handshake of the client that resumed', async (t) => {
  const { raw, stream } = await attacked(t, { certificates: alice.certificates, key: alice.key as string })
  const begun = once(stream, 'renegotiating')
  await raw.handshake({ resume: raw.session, until: 'ClientHello' })
  await begun
  const reports: unknown[] = []
  stream.on('renegotiated', ({ origin, resumed }) => reports.push([origin, resumed]))
  const asked = stream.renegotiate({ rejectUnauthorized: true })
  raw.state.resumable = raw.session
  await raw.expect('ServerHello')
  await expectFinished(raw)
  for (const _step of finish(raw, {}));
  await raw.expect('HelloRequest')
  void raw.handshake({ resume: raw.session })
  t.match(await asked, { origin: 'local', resumed: false, authorized: true })
  t.strictSame(reports, [
    ['peer', true],
    ['local', false],
  ])
})

/** A scripted client of a server that may resume, and how to connect more of them. */
async function attacked(
  t: Test,
  client: HandshakeOptions = mallory,
  server: tls.TlsOptions = {},
  options: RenegotiationOptions = resumption,
) {
  const listening = await tlsServer(t, { requestCert: true, rejectUnauthorized: false, ...server })
  const dial = async (given: HandshakeOptions) => {
    const accepted = once(listening, 'secureConnection') as Promise<[TLSSocket]>
    const peer = { port: listening.port, servername: 'localhost', ticket: true, ...given }
    const raw = await RawPeer.connect(peer, t)
    await raw.handshake()
    const stream = wrapTLSSocket((await accepted)[0], options)
    stream.on('error', () => {}).resume()
    t.teardown(() => stream.destroy())
    return { raw, stream }
  }
  return { ...(await dial(client)), dial, listening }
}

t.test('a client may resume the session of its connection in a renegotiation that it begins', async (t) => {
  const { raw, stream } = await attacked(t)
  for (let i = 0; i < 3; i++) {
    const over = once(stream, 'renegotiated')
    await raw.renegotiate({ resume: raw.session })
    t.match(await over, [{ origin: 'peer', resumed: true, authorized: true, peerCertificateChanged: false }])
  }
  t.equal(nameOfPeer(stream), 'other client')
})

for (const [what, own, other] of [
  ['with the certificate of somebody else', mallory, alice],
  ['with a certificate, where this connection has none', { certificates: [] }, alice],
  ['without a certificate, where this connection has one', mallory, { certificates: [] }],
] as const) {
  for (const begins of ['client', 'server'] as const) {
    t.test(`a session ${what}, resumed in a renegotiation that the ${begins} began, ends the stream`, async (t) => {
      const { raw, stream, dial } = await attacked(t, own)
      const before = facts(stream)
      const { raw: another } = await dial(other)
      const data = t.captureFn(() => {})
      stream.on('data', data)
      const failed = nextError(stream)
      const asked = begins === 'server' ? rejection(stream.renegotiate()) : undefined
      if (begins === 'server') await raw.expect('HelloRequest')
      const after = (step: string) => step === 'Finished' && raw.sendData('as somebody else')
      await raw.handshake({ resume: another.session, after: (step) => void after(step) }).catch(() => {})
      t.equal(raw.state.resumed, true, 'OpenSSL has resumed the other session')
      const error = await failed
      t.match(error, { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED' })
      if (asked !== undefined) t.equal(await asked, error)
      t.strictSame(facts(stream), before)
      t.same(data.calls, [])
    })
  }
}

t.test('with allowIdentityChange, the session of another certificate may be resumed, and is reported', async (t) => {
  const options = { ...resumption, allowIdentityChange: true }
  const { raw, stream, dial } = await attacked(t, mallory, {}, options)
  const { raw: another } = await dial(alice)
  const over = once(stream, 'renegotiated')
  await raw.handshake({ resume: another.session })
  t.match(await over, [{ resumed: true, authorized: true, peerCertificateChanged: true }])
  t.equal(nameOfPeer(stream), 'client')
})

t.test('a session for another server name changes nothing that is shown', async (t) => {
  const same = { ticketKeys: Buffer.alloc(48, 'k'), sessionIdContext: 'same' }
  const { listening, dial } = await attacked(t, mallory, same)
  for (const name of ['localhost', 'other.example']) {
    const context = { ...pki.server, ca: pki.ca, maxVersion: 'TLSv1.2', ...same } as const
    listening.addContext(name, tls.createSecureContext(context))
  }
  const { raw, stream } = await dial(mallory)
  const shown = () =>
    (({ servername, authorized, getPeerX509Certificate }) => [servername, authorized, getPeerX509Certificate])(
      facts(stream),
    )
  const before = shown()
  t.match(before, ['localhost', true])
  const { raw: another } = await dial({ ...mallory, servername: 'other.example' })
  const refuses = await refusesNameChange(t)
  const over = refuses ? nextError(stream) : once(stream, 'renegotiated')
  await raw.handshake({ resume: another.session, servername: 'other.example' }).catch(() => {})
  // OpenSSL does not compare the names (final_server_name). Older releases of Node.js do not store them in the session.
  if (refuses) t.match(await over, nameRefused)
  else t.match(await over, [{ resumed: true, authorized: true, peerCertificateChanged: false }])
  t.strictSame(shown(), before)
})

t.test('a session in which the same certificate was verified does not make it authorized here', async (t) => {
  const same = { ticketKeys: Buffer.alloc(48, 'k'), sessionIdContext: 'same' }
  const { dial } = await attacked(t, mallory, same)
  // A server that does not trust the authority of the certificate. It accepts the tickets of the other.
  const distrusting = await attacked(t, mallory, { ...same, ca: undefined })
  t.equal(distrusting.stream.authorized, false)
  const { raw: trusted } = await dial(mallory)
  const failed = nextError(distrusting.stream)
  await distrusting.raw.handshake({ resume: trusted.session }).catch(() => {})
  t.equal(distrusting.raw.state.resumed, true)
  t.match(await failed, { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED', message: /verified/ })
  t.equal(distrusting.stream.authorized, false)
})

t.test('a client that was asked for a certificate and resumes all the same fails that request', async (t) => {
  for (const options of [{ requestCert: true }, { requestCert: true, rejectUnauthorized: false }]) {
    const { raw, stream } = await attacked(t)
    const rejected = rejection(stream.renegotiate(options))
    await raw.expect('HelloRequest')
    // A ClientHello in two records, in different turns: the only way to resume here.
    const rest = raw.sendHandshake('ClientHello', raw.clientHello({ resume: raw.session }), { only: 40 })
    if (stream.state === 'draining') await once(stream, 'renegotiating')
    for (let i = 0; i < 50; i++) await new Promise(setImmediate)
    rest()
    raw.state.resumable = raw.session
    await raw.expect('ServerHello')
    await expectFinished(raw)
    for (const _step of finish(raw, {}));
    t.match(await rejected, { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE', message: /resumed the session/ })
    t.equal(stream.state, 'open')
    t.equal(nameOfPeer(stream), 'other client')
  }
})

t.test('requireExtendedMasterSecret holds for a resumed session', async (t) => {
  const { raw, stream } = await attacked(t, { ...mallory, ems: false }, {}, resumption)
  const over = once(stream, 'renegotiated')
  await raw.renegotiate({ resume: raw.session })
  t.match(await over, [{ resumed: true, extendedMasterSecret: false }], 'without the option (control)')
  const strict = await attacked(t, { ...mallory, ems: false }, {}, { ...resumption, requireExtendedMasterSecret: true })
  const failed = nextError(strict.stream)
  await strict.raw.renegotiate({ resume: strict.raw.session }).catch(() => {})
  t.match(await failed, { code: 'ERR_RENEGOTIATION_UNSUPPORTED' })
})

t.test('a client whose server has a wrong name is not authorized after the session was resumed', async (t) => {
  const client = { servername: 'wrong.example', rejectUnauthorized: false }
  const pair = await tlsPair(t, { client })
  pair.client.resume()
  const near = wrapTLSSocket(pair.client)
  const far = wrapTLSSocket(pair.server, resumption).resume()
  const error = near.authorizationError
  t.strictSame([near.authorized, `${error}`], [false, 'ERR_TLS_CERT_ALTNAME_INVALID'])
  const atClient = once(near, 'renegotiated')
  t.match(await far.renegotiate(), { resumed: true })
  t.match(await atClient, [{ resumed: true, authorized: false }])
  t.strictSame([near.authorized, near.authorizationError], [false, error])
  t.match(await near.renegotiate(), { resumed: false, authorized: false })
})

t.test('the option is refused where it would have no effect', async (t) => {
  const message = /resumption/
  for (const value of [true, false]) {
    const options = { resumption: value }
    const refused = { code: 'ERR_INVALID_ARG_VALUE', message }
    t.throws(() => connect({ port: 1, renegotiation: options }), refused)
    t.throws(() => wrapTLSSocket(new tls.TLSSocket(new Duplex()), options), refused)
    const transport = duplexTransport(new Duplex(), { renegotiate: async () => {} })
    t.throws(() => new RenegotiationDuplex(transport, options), refused)
  }
  t.throws(() => createServer({ renegotiation: { resumption: 1 as unknown as boolean } }), {
    code: 'ERR_INVALID_ARG_TYPE',
    message: 'resumption must be a boolean, got 1',
  })
})
