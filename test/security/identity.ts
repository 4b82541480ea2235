import { once } from 'node:events'
import sinon from 'sinon'
import t from 'tap'
import {
  alice,
  attackedClient,
  attackedServer,
  facts,
  mallory,
  nameOfPeer,
  otherServer,
  selfMade,
  until,
} from '../fixtures/attack.ts'
import { nameRefused, refusesNameChange } from '../fixtures/name-change.ts'
import { closed, nextError } from '../fixtures/settled.ts'

t.test('a client gains nothing by a certificate whose private key it does not have', async (t) => {
  const { raw, stream, plain, errors } = await attackedServer(t)
  stream.resume()
  const before = facts(stream)
  t.match(before, {
    authorized: true,
    servername: 'localhost',
    getPeerCertificate: { subject: { CN: 'other client' } },
  })

  const begins = once(stream, 'renegotiating')
  await raw.handshake({ ...alice, until: 'ClientHello' })
  await begins
  // Control: the plain socket shows no certificate any more.
  await until(() => nameOfPeer(plain) === undefined)
  t.strictSame(facts(stream), before, 'after ClientHello')

  raw.sendHandshake('Certificate', raw.certificate(alice.certificates))
  await until(() => nameOfPeer(plain) === 'client')
  t.strictSame(facts(stream), before, 'after Certificate, when the plain socket shows the certificate of alice')
  t.equal(plain.authorized, true)

  raw.sendHandshake('ClientKeyExchange', raw.clientKeyExchange())
  raw.sendHandshake('CertificateVerify', raw.certificateVerify(mallory))
  await closed(stream)
  t.strictSame(facts(stream), before, 'after the failure')
  t.equal(errors.length, 1)
  t.match(errors, [{ code: 'ERR_RENEGOTIATION_REFUSED', cause: { code: /^ERR_SSL_|EPROTO/ } }])
})

t.test("during a handshake, the stream still shows the client's previous identity", async (t) => {
  const { raw, stream, plain } = await attackedServer(t)
  stream.resume()
  const begins = once(stream, 'renegotiating')
  await raw.handshake({ ...alice, until: 'Certificate' })
  await begins
  await until(() => nameOfPeer(plain) === 'client')
  t.equal(nameOfPeer(stream), 'other client')
  t.match(stream.getCipher(), { name: 'ECDHE-ECDSA-AES128-GCM-SHA256' })
  raw.reset()
  await closed(stream)
  t.equal(nameOfPeer(stream), 'other client')
})

t.test('a server gains nothing by a certificate whose private key it does not have', async (t) => {
  const { raw, stream, plain } = await attackedClient(t)
  stream.resume()
  const before = facts(stream)
  const fingerprint = plain.getPeerCertificate().fingerprint256
  void raw.renegotiate({ ...otherServer, until: 'Certificate' })
  await until(() => ![undefined, fingerprint].includes(plain.getPeerCertificate()?.fingerprint256))
  t.equal(stream.state, 'handshaking')
  t.strictSame(facts(stream), before)
  raw.reset()
  await closed(stream)
  t.strictSame(facts(stream), before)
})

t.test("the first bytes of a ClientHello do not make the server parse the peer's certificate chain", async (t) => {
  const certificates = Array.from({ length: 100 }, () => mallory.certificates[0] as Buffer)
  const server = { rejectUnauthorized: false }
  const { raw, stream, plain } = await attackedServer(t, { server, raw: { certificates } })
  stream.resume()
  const x509 = sinon.spy(plain, 'getPeerX509Certificate')
  const certificate = sinon.spy(plain, 'getPeerCertificate')
  const begins = once(stream, 'renegotiating')
  raw.sendHandshake('ClientHello', raw.clientHello(), { only: 5 })
  await begins
  t.equal(x509.callCount, 0)
  t.equal(certificate.calledWith(true), false)
  t.match(stream.getPeerCertificate(true), { subject: { CN: 'other client' } })
  t.match(stream.getPeerX509Certificate()?.subject, 'CN=other client')
})

t.test('a new session is emitted when its handshake was judged good, and not before', async (t) => {
  for (const isGood of [true, false]) {
    const ticket = Buffer.alloc(64, 'ticket')
    const { raw, stream } = await attackedClient(t, { raw: { ticket } })
    stream.resume()
    const sessions: Buffer[] = []
    stream.on('session', (session) => sessions.push(session))
    const identity = isGood ? {} : otherServer
    const over = isGood ? once(stream, 'renegotiated') : nextError(stream)
    stream.on('renegotiated', () => t.equal(sessions.length, 1, 'the session is emitted before `renegotiated`'))
    await raw.renegotiate({ ...identity, ticket: Buffer.alloc(64, 'another') }).catch(() => {})
    await over
    await new Promise(setImmediate)
    t.equal(sessions.length, isGood ? 1 : 0)
  }
})

for (const [name, options, code] of [
  ['another client', alice, 'ERR_RENEGOTIATION_IDENTITY_CHANGED'],
  ['a client with a self-signed certificate', selfMade, 'ERR_RENEGOTIATION_IDENTITY_CHANGED'],
  ['a client without a certificate', { certificates: [] }, 'ERR_RENEGOTIATION_IDENTITY_CHANGED'],
] as const) {
  t.test(`a peer that renegotiates as ${name} is disconnected, and none of its data is read`, async (t) => {
    const { raw, stream, errors } = await attackedServer(t, { server: { rejectUnauthorized: false } })
    const before = facts(stream)
    const data = t.captureFn(() => {})
    stream.on('data', data)
    const after = (step: string) => step === 'Finished' && raw.sendData('as somebody else')
    await raw.handshake({ ...options, after: (step) => void after(step) }).catch(() => {})
    await closed(stream)
    t.match(errors, [{ code }])
    t.strictSame(facts(stream), before)
    t.same(data.calls, [], 'no data after the handshake was read')
  })
}

t.test('`authorized` follows the new certificate after an allowed change of identity', async (t) => {
  const server = { rejectUnauthorized: false }
  const renegotiation = { allowIdentityChange: true }
  const { raw, stream, plain } = await attackedServer(t, { server, renegotiation })
  stream.resume()
  t.equal(stream.authorized, true)
  const changes = once(stream, 'renegotiated')
  await raw.handshake(selfMade)
  t.match((await changes)[0], { authorized: false, peerCertificateChanged: true })
  t.equal(plain.authorized, true, 'the plain socket is still authorized (control)')
  t.match(facts(stream), {
    authorized: false,
    authorizationError: 'DEPTH_ZERO_SELF_SIGNED_CERT',
    getPeerCertificate: { subject: { CN: 'rogue client' } },
  })
  const changesAgain = once(stream, 'renegotiated')
  await raw.handshake(alice)
  await changesAgain
  t.match(facts(stream), { authorized: true, authorizationError: null })
  t.equal(nameOfPeer(stream), 'client')
})

t.test('another server name (SNI) in a renegotiation is refused unless allowed, and never shown', async (t) => {
  const refuses = await refusesNameChange(t)
  const names = {
    'localhost, then another': ['localhost', 'other.example'],
    'none, then one': [undefined, 'other.example'],
  }
  for (const [name, [first, second]] of Object.entries(names)) {
    for (const allowIdentityChange of [false, true]) {
      const raw = first === undefined ? { servername: undefined as never } : { servername: first }
      const it = await attackedServer(t, { raw, renegotiation: { allowIdentityChange } })
      it.stream.resume()
      const { servername } = it.stream
      t.equal(servername, first ?? false)
      const isGood = allowIdentityChange && !refuses
      const over = isGood ? once(it.stream, 'renegotiated') : closed(it.stream)
      await it.raw.handshake({ servername: second as string }).catch(() => {})
      await over
      const changed = { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED', message: /SNI/ }
      if (!isGood) t.match(it.errors, [refuses ? nameRefused : changed], name)
      t.equal(it.stream.servername, servername)
    }
  }
})

t.test('a client may leave out the server name (SNI) in a renegotiation, unless Node refuses that', async (t) => {
  const refuses = await refusesNameChange(t)
  const { raw, stream } = await attackedServer(t)
  stream.resume()
  if (refuses) {
    const failed = nextError(stream)
    await raw.handshake({ servername: undefined as never }).catch(() => {})
    t.match(await failed, nameRefused)
    t.equal(stream.servername, 'localhost')
    return
  }
  for (const servername of [undefined, 'localhost', undefined]) {
    const renegotiated = once(stream, 'renegotiated')
    await raw.handshake({ servername: servername as string })
    await renegotiated
    t.equal(stream.servername, 'localhost')
  }
})
