import { once } from 'node:events'
import net from 'node:net'
import tls from 'node:tls'
import t from 'tap'
import { wrapTLSSocket } from '../../src/index.ts'
import { ca, elsewhere } from '../fixtures/pki.ts'
import { nextError, rejection } from '../fixtures/settled.ts'
import { type PairOptions, tlsPair, tlsServer } from '../fixtures/tls-pair.ts'

for (const whose of ['client', 'server'] as const) {
  t.test(`a renegotiation by the ${whose} cannot change the pre-shared key identity unless allowed`, async (t) => {
    let identity = ''
    const ciphers = 'PSK-AES128-GCM-SHA256'
    const psk = Buffer.alloc(16, 7)
    const options: PairOptions = {
      server: { ciphers, pskCallback: () => psk },
      client: {
        ciphers,
        pskCallback: () => ({ identity, psk }),
        checkServerIdentity: () => undefined,
      },
    }
    for (const allowIdentityChange of [false, true]) {
      identity = 'pump 1'
      const pair = await tlsPair(t, options)
      const streams = {
        client: wrapTLSSocket(pair.client, { allowIdentityChange }).resume(),
        server: wrapTLSSocket(pair.server, { allowIdentityChange }).resume(),
      }
      const other = streams[whose === 'client' ? 'server' : 'client']
      other.on('error', () => {})
      streams[whose].on('error', () => {})
      const failed = nextError(streams.server)
      identity = 'pump 2'
      const renegotiated = streams[whose].renegotiate()
      if (allowIdentityChange) {
        t.match(await renegotiated, { verified: true })
        t.match(await streams[whose].renegotiate(), { verified: true }, 'the new identity is expected from then on')
      } else {
        t.match(await failed, { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED', message: /pre-shared/ })
        await renegotiated.catch(() => {})
      }
    }
  })
}

t.test('servername (SNI) and alpnProtocol stay those of the first handshake', async (t) => {
  const pair = await tlsPair(t, { server: { ALPNProtocols: ['http/1.1'] }, client: { ALPNProtocols: ['http/1.1'] } })
  const server = wrapTLSSocket(pair.server, { peerLimit: false }).resume()
  const client = wrapTLSSocket(pair.client).resume()
  for (const ours of [client, server]) {
    await ours.renegotiate()
    for (const end of [client, server]) {
      t.equal(end.alpnProtocol, 'http/1.1')
      t.equal(end.servername, 'localhost')
    }
  }
  t.equal(pair.client.alpnProtocol, false, 'the plain socket has lost it (control)')
})

/** SSL_OP_NO_EXTENDED_MASTER_SECRET, which Node has no constant for. */
const NO_EXTENDED_MASTER_SECRET = 1

t.test('a report tells whether there is an extended master secret', async (t) => {
  for (const without of [false, true]) {
    const pair = await tlsPair(t, { client: { secureOptions: without ? NO_EXTENDED_MASTER_SECRET : 0 } })
    const server = wrapTLSSocket(pair.server).resume()
    const client = wrapTLSSocket(pair.client).resume()
    const atServer = once(server, 'renegotiated')
    t.match(await client.renegotiate(), { extendedMasterSecret: !without })
    t.match((await atServer)[0], { extendedMasterSecret: !without })
  }
})

t.test('requireExtendedMasterSecret refuses a renegotiation without it, before any write is held', async (t) => {
  const options = { requireExtendedMasterSecret: true }
  const lacking = { client: { secureOptions: NO_EXTENDED_MASTER_SECRET } }
  for (const whose of ['client', 'server'] as const) {
    const good = await tlsPair(t)
    wrapTLSSocket(good[whose === 'client' ? 'server' : 'client'], options).resume()
    t.match(await wrapTLSSocket(good[whose], options).resume().renegotiate(), { extendedMasterSecret: true })

    const pair = await tlsPair(t, lacking)
    const other = whose === 'client' ? 'server' : 'client'
    pair[other].on('error', () => {}).resume()
    const stream = wrapTLSSocket(pair[whose], options).resume()
    const renegotiated = stream.renegotiate()
    t.equal(stream.state, 'open')
    t.match(await rejection(renegotiated), { code: 'ERR_RENEGOTIATION_UNSUPPORTED', message: /RFC 7627/ })
    t.equal(stream.state, 'open')

    const failed = nextError(stream)
    const begins = wrapTLSSocket(pair[other]).resume()
    begins.on('error', () => {})
    void begins.renegotiate()
    t.match(await failed, { code: 'ERR_RENEGOTIATION_UNSUPPORTED', message: /The peer began.*RFC 7627/ })
    t.match(stream.counters, { hold: { count: 0 } }, 'nothing was held')
  }
})

t.test('a renegotiation does not authorize the server for a client that named no server', async (t) => {
  const listening = await tlsServer(t, elsewhere)
  const accepted = once(listening, 'secureConnection') as Promise<[tls.TLSSocket]>
  const raw = net.connect(listening.port, '127.0.0.1')
  const plain = new tls.TLSSocket(raw, { secureContext: tls.createSecureContext({ ca }) })
  t.teardown(() => plain.destroy())
  const stream = wrapTLSSocket(plain).resume()
  stream.write('the first write begins the handshake')
  const server = wrapTLSSocket((await accepted)[0]).resume()
  t.equal(stream.authorized, false)
  const renegotiated = once(stream, 'renegotiated')
  await server.renegotiate()
  await renegotiated
  t.equal(plain.authorized, false)
  t.equal(stream.authorized, false)
})

t.test('getPeerCertificate() before the first handshake returns a new object for each stream', async (t) => {
  const connecting = () => {
    const socket = tls.connect({ port: 1, host: '127.0.0.1', lookup: () => {} })
    t.teardown(() => socket.destroy())
    return wrapTLSSocket(socket)
  }
  const [one, other] = [connecting(), connecting()]
  Object.assign(one.getPeerCertificate(), { subject: { CN: 'mallory' } })
  for (const stream of [one, other]) t.same(stream.getPeerCertificate(), {})
})

t.test('before the first handshake, a stream shows no facts of a session', async (t) => {
  const raw = tls.connect({ port: 1, host: '127.0.0.1', lookup: () => {} })
  raw.on('error', () => {})
  t.teardown(() => raw.destroy())
  const stream = wrapTLSSocket(raw)
  t.same(stream.getPeerCertificate(true), {})
  t.equal(stream.getPeerX509Certificate(), undefined)
  t.equal(stream.getProtocol(), 'unknown')
  t.equal(stream.authorized, false)
  t.throws(() => stream.exportKeyingMaterial(8, 'x', Buffer.alloc(0)), { code: 'ERR_TLS_INVALID_STATE' })
  stream.on('error', () => {}).destroy()
  t.equal(stream.getPeerCertificate(), null, 'null, as on a destroyed socket of Node')
})

t.test('during a handshake, exportKeyingMaterial() throws', async (t) => {
  const pair = await tlsPair(t)
  pair.server.pause()
  const stream = wrapTLSSocket(pair.client, { handshakeTimeout: 0 }).resume()
  void stream.renegotiate()
  await once(stream, 'renegotiating')
  t.throws(() => stream.exportKeyingMaterial(8, 'x', Buffer.alloc(0)), {
    code: 'ERR_TLS_INVALID_STATE',
    message: /handshake is in progress/,
  })
  pair.server.resume()
  await once(stream, 'renegotiated')
  t.match(stream.exportKeyingMaterial(8, 'x', Buffer.alloc(0)), Buffer)
})
