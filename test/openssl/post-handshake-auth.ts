/* A server asks for the client's certificate during the connection, with data on its way in both directions. */
import { once } from 'node:events'
import type { PeerCertificate } from 'node:tls'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { connect, type RenegotiationTLSSocket } from '../../src/index.ts'
import { connect as connectOpenSSL, type OpenSSLConnectionOptions } from '../../src/openssl/index.ts'
import { clientAndServer, openSSLClient, openSSLServer, versions } from '../fixtures/openssl-pair.ts'
import { ca, client as clientPki, otherClient, rogueClient, server as serverPki } from '../fixtures/pki.ts'
import { closed, nextError, rejection } from '../fixtures/settled.ts'

const none = { key: undefined, cert: undefined }

/** Both ends write without a pause, and count what they read. */
function flood(...streams: RenegotiationTLSSocket[]): void {
  for (const stream of streams) {
    const write = () => {
      while (stream.writable && stream.write(Buffer.alloc(10_000)));
    }
    stream.on('data', () => {}).on('drain', write)
    write()
  }
}

async function flooded(t: Test, version: (typeof versions)[number], client: OpenSSLConnectionOptions = {}) {
  const pair = await clientAndServer(t, version, { client })
  flood(pair.client, pair.server)
  return pair
}

t.test('with HTTP/2 over TLS 1.3, no certificate is asked for, and keys can be updated', async (t) => {
  const ALPNProtocols = ['h2']
  const { client, server } = await clientAndServer(t, 'TLSv1.3', {
    client: { ALPNProtocols },
    server: { ALPNProtocols },
  })
  t.match(await rejection(server.renegotiate({ requestCert: true })), {
    code: 'ERR_RENEGOTIATION_UNSUPPORTED',
    cause: { message: /^HTTP\/2 forbids/ },
  })
  client.resume()
  server.resume()
  t.match(await server.renegotiate(), { kind: 'key-update', verified: true })
})

for (const version of versions) {
  t.test(`a server gets the certificate that it asks for under traffic, ${version}`, async (t) => {
    const { client, server } = await flooded(t, version)
    t.same([server.authorized, server.getPeerCertificate()], [false, {}])
    const asked = server.renegotiate({ requestCert: true })
    t.same(server.getPeerCertificate(), {}, 'nothing is shown before it is judged')
    const kind = version === 'TLSv1.2' ? 'renegotiation' : 'post-handshake-auth'
    t.match(await asked, { kind, authorized: true, verified: version === 'TLSv1.2' })
    t.match(server, { authorized: true, authorizationError: null })
    t.match(server.getPeerCertificate(), { subject: { CN: 'client' } })
    t.match(await server.renegotiate({ requestCert: true }), { authorized: true }, 'it can be asked again')
    t.equal(client.destroyed, false)
  })

  t.test(`a client that has no certificate, or a wrong one, is rejected, ${version}`, async (t) => {
    for (const pki of [none, rogueClient]) {
      // Without a certificate, a client does not offer post-handshake authentication by itself.
      const context = pki === none ? { secureContext: undefined } : {}
      const { server } = await flooded(t, version, { ...pki, ...context, postHandshakeAuth: true })
      const failed = nextError(server)
      const error = await rejection(server.renegotiate({ requestCert: true }))
      const isOffered = version === 'TLSv1.2' || pki !== none
      t.match(error, { code: isOffered ? 'ERR_RENEGOTIATION_NO_CERTIFICATE' : 'ERR_RENEGOTIATION_UNSUPPORTED' })
      if (!isOffered) {
        t.equal(server.destroyed, false)
        continue
      }
      t.equal(await failed, error)
      t.same([server.authorized, server.getPeerCertificate() ?? {}], [false, {}])
      await closed(server)
    }
  })

  t.test(`with rejectUnauthorized: false, the application decides, ${version}`, async (t) => {
    const { server } = await flooded(t, version, rogueClient)
    const report = await server.renegotiate({ requestCert: true, rejectUnauthorized: false })
    t.match(report, { authorized: false, authorizationError: /SELF_SIGNED/ })
    t.match(server, { authorized: false, authorizationError: /SELF_SIGNED/ })
    t.match(server.getPeerCertificate(), { subject: { CN: 'rogue client' } })
    t.equal(server.destroyed, false)
  })

  t.test(`a client cannot become another one, ${version}`, async (t) => {
    const { client, server } = await flooded(t, version)
    await server.renegotiate({ requestCert: true })
    ;(client as unknown as { setKeyCert(options: object): void }).setKeyCert({ ...otherClient, ca })
    const failed = nextError(server)
    const error = await rejection(server.renegotiate({ requestCert: true }))
    t.match(error, { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED' })
    t.equal(await failed, error)
    t.match(server.getPeerCertificate() ?? ({} as PeerCertificate), {})
  })
}

t.test(
  'a client that has resumed its session can be asked, and is judged by the context of its server name',
  async (t) => {
    for (const [byDefault, ofName, authorized] of [
      [ca, undefined, true],
      [rogueClient.cert, ca, true],
      [ca, rogueClient.cert, false],
    ] as const) {
      const listener = await openSSLServer(t, { minVersion: 'TLSv1.3', ca: byDefault })
      if (ofName !== undefined) listener.addContext('localhost', { ...serverPki, ca: ofName })
      let session: Buffer | undefined
      for (const resumed of [false, true]) {
        const accepted = once(listener, 'secureConnection') as Promise<[RenegotiationTLSSocket]>
        const client = connectOpenSSL(openSSLClient(listener.port, { session }))
        t.teardown(() => void client.on('error', () => {}).destroy())
        client.on('session', (ticket) => {
          session ??= ticket
        })
        client.resume()
        const [server] = await accepted
        const first = session === undefined && once(client, 'session')
        server.resume().write('tickets')
        await first
        t.equal(server.isSessionReused(), resumed)
        const report = await server.renegotiate({ requestCert: true, rejectUnauthorized: false })
        t.match(report, { kind: 'post-handshake-auth', authorized, resumed: false })
        t.equal(server.authorized, authorized)
      }
    }
  },
)

t.test('a client that has not offered it is not asked, and the connection goes on', async (t) => {
  const ways: ((port: number) => tls.TLSSocket)[] = [
    (port) => tls.connect({ port, host: '127.0.0.1', servername: 'localhost', ca, ...clientPki }),
    (port) => connect({ port, host: '127.0.0.1', servername: 'localhost', ca, ...clientPki }),
  ]
  for (const way of ways) {
    const listener = await openSSLServer(t)
    const client = way(listener.port).on('error', () => {})
    t.teardown(() => void client.destroy())
    const [server] = (await once(listener, 'secureConnection')) as [RenegotiationTLSSocket]
    server.resume()
    t.match(await rejection(server.renegotiate({ requestCert: true })), { code: 'ERR_RENEGOTIATION_UNSUPPORTED' })
    client.write('still here')
    t.equal(String((await once(server, 'data'))[0]), 'still here')
  }
  const { client, server } = await clientAndServer(t, 'TLSv1.3', { client: { postHandshakeAuth: false } })
  server.resume()
  t.match(await rejection(server.renegotiate({ requestCert: true })), { code: 'ERR_RENEGOTIATION_UNSUPPORTED' })
  t.equal(client.destroyed, false)
})

for (const version of versions) {
  t.test(`data that follows a certificate arrives only after the verdict on it, ${version}`, async (t) => {
    for (const pki of [clientPki, rogueClient]) {
      const { client, server } = await clientAndServer(t, version, { client: pki })
      const events: string[] = []
      server.on('data', (data) => {
        for (const letter of new Set(String(data))) {
          if (events.at(-1) !== letter) events.push(letter)
        }
      })
      server.on('renegotiated', () => events.push('accepted'))
      // The client writes 'b' as soon as it has sent its certificate, and 'a' before.
      client.on('renegotiated', () => client.write('b'.repeat(100)))
      client.on('data', () => {})
      client.write('a'.repeat(100))
      await once(server, 'data')
      await server.renegotiate({ requestCert: true }).catch(() => {})
      if (pki === clientPki) {
        if (!events.includes('b')) await once(server, 'data')
        t.same(events, ['a', 'accepted', 'b'])
      } else {
        await closed(server)
        t.same(events, ['a'])
      }
    }
  })
}
