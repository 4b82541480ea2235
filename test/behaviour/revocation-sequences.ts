/* A new revocation list comes at a bad moment. */
import { constants, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import tls from 'node:tls'
import t from 'tap'
import {
  RenegotiationDuplex,
  type RenegotiationTLSSocket,
  sameSubjectAndIssuer,
  tlsTransport,
} from '../../src/index.ts'
import { createSecureContext } from '../../src/openssl/index.ts'
import { makeCRL, makePEM } from '../fixtures/make-crl.ts'
import { type Ends, Exchange, Station, stacks } from '../fixtures/plants.ts'
import {
  authority,
  otherStation,
  renewedServer,
  renewedStation,
  server as serverPki,
  station,
} from '../fixtures/revocation-pki.ts'
import { ScriptedTransport } from '../fixtures/scripted-transport.ts'
import { closed, nextError, rejection } from '../fixtures/settled.ts'

const revokes = (...certificates: { cert: string }[]) =>
  makeCRL(authority, { revoked: certificates.map(({ cert }) => cert) })
const good = revokes(otherStation)
const bad = revokes(station)
const all = { checked: 1, revoked: 0, failed: 0, notRenegotiated: 0 }
const renegotiating = stacks.filter(({ version }) => version === 'TLSv1.2')

/** Whoever begins the handshake that is in progress when the list comes. */
for (const stack of renegotiating) {
  for (const begins of ['client', 'server'] as const) {
    for (const when of ['requested', 'in progress'] as const) {
      t.test(`${stack.name}: a list comes when a renegotiation of the ${begins} is ${when}`, async (t) => {
        const plant = await Station.open(t, stack)
        for (const list of [good, bad]) {
          const ends = await plant.connect()
          const exchange = new Exchange(ends)
          await exchange.moves()
          const first = ends[begins].renegotiate()
          if (when === 'in progress') await once(ends.server, 'renegotiating')
          const failed = list === bad ? nextError(ends.server) : undefined
          const report = await plant.server.updateCRL(list)
          t.same(report, { ...all, revoked: list === bad ? 1 : 0 })
          if (list === good) {
            t.match(await first, { verified: true })
            t.ok(await exchange.isWhole())
            await closed(ends.server)
          } else {
            t.match(await failed, { code: 'ERR_RENEGOTIATION_REVOKED' })
            await rejection(first)
          }
        }
      })
    }
  }

  t.test(`${stack.name}: two lists come at once, and both promises settle`, async (t) => {
    const plant = await Station.open(t, stack)
    const [one, other] = [await plant.connect(), await plant.connect(otherStation)]
    const exchange = new Exchange(one)
    const later = makeCRL(authority, { revoked: [otherStation.cert], number: 2 })
    const reports = await Promise.all([plant.server.updateCRL(revokes()), plant.server.updateCRL(later)])
    t.match(reports, [
      { checked: 2, failed: 0, revoked: 1 },
      { checked: 2, failed: 0, revoked: 1 },
    ])
    await closed(other.client)
    t.ok(await exchange.isWhole())
    t.match(await rejection(plant.server.updateCRL(bad)), { code: 'ERR_CRL_OUTDATED' })
  })

  t.test(`${stack.name}: a stream is destroyed while the list is put in force`, async (t) => {
    const plant = await Station.open(t, stack)
    const many: Ends[] = []
    for (let count = 0; count < 20; count++) many.push(await plant.connect())
    const report = plant.server.updateCRL(good)
    for (const [index, { client, server }] of many.entries()) {
      if (index % 3 === 0) server.destroy()
      else if (index % 3 === 1) client.destroy()
      else server.once('renegotiating', () => server.destroy())
    }
    const { checked, revoked, failed, notRenegotiated } = await report
    t.same({ checked, revoked }, { checked: 20, revoked: 0 })
    // Of those whose client has gone, the server may know or not.
    t.equal(failed + notRenegotiated, 20)
  })

  t.test(`${stack.name}: an end in progress does not keep a revoked peer, or lose data of a good one`, async (t) => {
    const plant = await Station.open(t, stack, { allowHalfOpen: true } as object)
    for (const who of ['client', 'server'] as const) {
      const ends = await plant.connect({ allowHalfOpen: true } as object)
      ends.client.resume()
      ends.server.resume()
      ends[who].end('the last data')
      await once(ends[who === 'client' ? 'server' : 'client'], 'end')
      t.same(await ends.server.updateCRL(good), { ...all, notRenegotiated: 1 })
      t.equal(ends.server.destroyed, false)
      const failed = nextError(ends.server)
      t.same(await ends.server.updateCRL(bad), { ...all, revoked: 1 })
      t.match(await failed, { code: 'ERR_RENEGOTIATION_REVOKED' })
      await closed(ends.server)
    }
  })

  const canRenew = !stack.name.startsWith('node')
  t.test(`${stack.name}: a client ${canRenew ? 'renews' : 'cannot renew'} its certificate`, async (t) => {
    const plant = await Station.open(t, stack, { renegotiation: { allowIdentityChange: sameSubjectAndIssuer } })
    const ends = await plant.connect()
    const exchange = new Exchange(ends)
    await exchange.moves()
    setKeyCert(ends.client, stack.name, renewedStation)
    t.match(await ends.client.renegotiate(), { peerCertificateChanged: false })
    // Node itself ignores the call on a client.
    const { serialNumber } = ends.server.getPeerX509Certificate() ?? {}
    t.equal(serialNumber, serialOf((canRenew ? renewedStation : station).cert))
    t.ok(await exchange.isWhole())
  })

  t.test(`${stack.name}: a peer that has renewed its certificate goes on when the old one is revoked`, async (t) => {
    if (!canRenew) return
    const renegotiation = { allowIdentityChange: sameSubjectAndIssuer }
    const plant = await Station.open(t, stack, { renegotiation })
    const [renewed, not, foreign] = [await plant.connect(), await plant.connect(), await plant.connect()]
    const exchange = new Exchange(renewed)
    await exchange.moves()
    setKeyCert(renewed.client, stack.name, renewedStation)
    setKeyCert(foreign.client, stack.name, otherStation)
    for (const { client, server } of [not, foreign]) [client.resume(), server.resume()]
    const errors = Promise.all([nextError(not.server), nextError(foreign.server)])
    t.same(await plant.server.updateCRL(bad), { checked: 3, revoked: 1, failed: 1, notRenegotiated: 0 })
    t.match(await errors, [{ code: 'ERR_RENEGOTIATION_REVOKED' }, { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED' }])
    t.equal(renewed.server.getPeerX509Certificate()?.serialNumber, serialOf(renewedStation.cert))
    await exchange.moves()
    t.ok(await exchange.isWhole())
  })

  t.test(`${stack.name}: a server renews its certificate, and a client goes on`, async (t) => {
    const plant = await Station.open(t, stack)
    const ends = await plant.connect({ renegotiation: { allowIdentityChange: sameSubjectAndIssuer } })
    const exchange = new Exchange(ends)
    await exchange.moves()
    setKeyCert(ends.server, stack.name, renewedServer)
    t.same(await ends.client.updateCRL(revokes(serverPki)), all)
    t.equal(ends.client.getPeerX509Certificate()?.serialNumber, serialOf(renewedServer.cert))
    await exchange.moves()
    t.ok(await exchange.isWhole())
  })

  t.test(`${stack.name}: renegotiation is disabled, so the last handshake counts`, async (t) => {
    const plant = await Station.open(t, stack)
    const ends = await plant.connect()
    ends.server.disableRenegotiation()
    t.same(await plant.server.updateCRL(good), { ...all, notRenegotiated: 1 })
    t.match(await plant.server.updateCRL(makeCRL(authority, { revoked: [station.cert], number: 2 })), { revoked: 1 })
    await closed(ends.server)
  })
}

for (const stack of stacks) {
  t.test(`${stack.name}: a connection is made while the list is put in force`, async (t) => {
    const plant = await Station.open(t, stack)
    const streams: RenegotiationTLSSocket[] = []
    plant.server.on('secureConnection', (stream: RenegotiationTLSSocket) => {
      streams.push(stream.on('error', () => {}).resume())
    })
    const clients = Array.from({ length: 12 }, () => plant.call().resume())
    await once(plant.server, 'secureConnection')
    clients.push(...Array.from({ length: 12 }, () => plant.call().resume()))
    await plant.server.updateCRL(bad)
    clients.push(...Array.from({ length: 3 }, () => plant.call().resume()))
    await Promise.all(clients.map((client) => closed(client)))
    await Promise.all(streams.map((stream) => closed(stream)))
    t.pass('no revoked peer has kept its connection')
  })

  t.test(`${stack.name}: who resumes a session is judged by the certificate in it`, async (t) => {
    const plant = await Station.open(t, stack)
    const first = await plant.connect()
    const session = once(first.client, 'session') as Promise<[Buffer]>
    first.server.write('x')
    first.client.resume()
    const [state] = stack.version === 'TLSv1.3' ? await session : [first.client.getSession() as Buffer]
    const second = await plant.connect({ session: state })
    t.equal(second.client.isSessionReused(), true)
    const failed = nextError(second.client)
    t.match(await second.client.updateCRL(revokes(serverPki)), { revoked: 1 })
    t.match(await failed, { code: 'ERR_RENEGOTIATION_REVOKED' })
    await closed(second.server.resume())
    await plant.server.updateCRL(bad)
    await closed(first.server)
    plant.server.on('secureConnection', () => t.fail('the session of a revoked peer is not resumed'))
    const third = plant.call({ session: state }).resume()
    await closed(third)
  })

  t.test(`${stack.name}: a client without a certificate has none that could be revoked`, async (t) => {
    const plant = await Station.open(t, stack, { requestCert: false })
    const ends = await plant.connect()
    t.same(await plant.server.updateCRL(bad), { ...all, notRenegotiated: 1 })
    t.equal(ends.server.destroyed, false)
  })

  t.test(`${stack.name}: rejectUnauthorized: false does not admit a revoked peer`, async (t) => {
    const plant = await Station.open(t, stack, { rejectUnauthorized: false })
    const ends = await plant.connect()
    const failed = nextError(ends.server)
    await plant.server.updateCRL(bad)
    t.match(await failed, { code: 'ERR_RENEGOTIATION_REVOKED' })
    const refused = once(plant.server, 'tlsClientError')
    await closed(plant.call().resume())
    t.match(await refused, [{ code: 'ERR_RENEGOTIATION_REVOKED' }])
  })

  t.test(`${stack.name}: a server with a listener for keylog judges the first handshake`, async (t) => {
    const plant = await Station.open(t, stack)
    plant.server.on('keylog', () => {})
    await plant.server.updateCRL(bad)
    const refused = once(plant.server, 'tlsClientError')
    await closed(plant.call().resume())
    t.match(await refused, [{ code: 'ERR_RENEGOTIATION_REVOKED' }])
    t.match(await plant.connect(otherStation), {})
  })
}

t.test('a plain server keeps a revoked client, whatever list comes (control)', async (t) => {
  const options = { ...serverPki, ca: authority.cert, requestCert: true, maxVersion: 'TLSv1.2' } as const
  const server = tls.createServer({
    ...options,
    secureOptions: constants.SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION,
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const client = tls.connect({ port, host: '127.0.0.1', servername: 'localhost', ca: authority.cert, ...station })
  const [stream] = (await once(server, 'secureConnection')) as [tls.TLSSocket]
  t.teardown(() => {
    for (const end of [client, stream]) end.on('error', () => {}).destroy()
    server.close()
  })
  server.setSecureContext({ ...options, crl: makePEM(authority, { revoked: [station.cert] }) })
  client.resume()
  stream.resume()
  await new Promise((resolve) => stream.renegotiate({ requestCert: true, rejectUnauthorized: true }, resolve))
  t.equal(stream.destroyed, false)
  t.equal(stream.authorized, true)
  client.write('still there')
  t.equal(`${(await once(stream, 'data'))[0]}`, 'still there')
})

t.test('any stream over a TLS socket has updateCRL(), and one over another transport rejects it', async (t) => {
  const plant = await Station.open(t, renegotiating[0] as (typeof stacks)[number])
  const { port } = plant.server.address() as AddressInfo
  const to = { port, host: '127.0.0.1', servername: 'localhost', ca: authority.cert, maxVersion: 'TLSv1.2' } as const
  const socket = tls.connect({ ...to, ...station })
  const stream = new RenegotiationDuplex(tlsTransport(socket))
  t.teardown(() => void stream.destroy())
  stream.on('error', () => {}).resume()
  t.same(await stream.updateCRL(good), all)
  const failed = nextError(stream)
  await stream.updateCRL(makeCRL(authority, { revoked: [serverPki.cert], number: 2 }))
  t.match(await failed, { code: 'ERR_RENEGOTIATION_REVOKED' })
  t.same(await stream.updateCRL(makeCRL(authority, { number: 3 })), { ...all, checked: 0 })

  const other = new RenegotiationDuplex(new ScriptedTransport())
  t.match(await rejection(other.updateCRL(good)), { code: 'ERR_RENEGOTIATION_UNSUPPORTED' })
  other.destroy()
})

function setKeyCert(stream: RenegotiationTLSSocket, stack: string, pki: { key: string; cert: string }): void {
  const own = { ...pki, ca: authority.cert }
  stream.setKeyCert(stack.startsWith('node') ? tls.createSecureContext(own) : (createSecureContext(own) as never))
}

function serialOf(cert: string): string {
  return new X509Certificate(cert).serialNumber
}
