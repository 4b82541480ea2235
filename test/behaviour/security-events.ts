/* Each failure of a real connection is one security event. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { connect, createServer, type RenegotiationServerOptions, wrapTLSSocket } from '../../src/index.ts'
import { connect as connectOpenSSL } from '../../src/openssl/index.ts'
import { socketUnder } from '../../src/transports/node-internals-socket.ts'
import { openSSLPair, openSSLServer, versions } from '../fixtures/openssl-pair.ts'
import { ca, server as identity, otherClient, rogueClient } from '../fixtures/pki.ts'
import { listening } from '../fixtures/security-events.ts'
import { closed, rejection } from '../fixtures/settled.ts'
import { clientOptions, tlsPair, tlsServer } from '../fixtures/tls-pair.ts'

async function start(t: Test, server: tls.Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

/** A server that requires a certificate, and one attempt of a plain client. */
async function refusedBy(t: Test, options: RenegotiationServerOptions, client: tls.ConnectionOptions): Promise<number> {
  const server = createServer({ ...identity, ca, requestCert: true, ...options })
  const failed = once(server, 'tlsClientError')
  const port = await start(t, server)
  const socket = tls.connect(clientOptions(port, client)).on('error', () => {})
  await once(socket, 'connect')
  const { localPort } = socket
  await failed
  socket.destroy()
  return localPort as number
}

const none = { key: undefined, cert: undefined }

for (const maxVersion of versions) {
  t.test(`a server refuses clients in the first handshake, ${maxVersion}`, async (t) => {
    const events = listening(t)
    const ports = [
      await refusedBy(t, { maxVersion }, none),
      await refusedBy(t, { maxVersion }, rogueClient),
      await refusedBy(t, { maxVersion, minVersion: maxVersion }, { ciphers: 'AES256-SHA', maxVersion: 'TLSv1.2' }),
    ]
    const common = { role: 'server', severity: 'error' }
    t.match(events, [
      { ...common, name: 'certificate-missing', peer: { address: '127.0.0.1', port: ports[0] } },
      { ...common, name: 'certificate-invalid', peer: { address: '127.0.0.1', port: ports[1] } },
      { ...common, name: 'handshake-failed', peer: { address: '127.0.0.1', port: ports[2] } },
    ])
    t.equal(events.length, 3)
  })
}

t.test('a server that already has the stream, for a keylog listener, publishes one event', async (t) => {
  const events = listening(t)
  const server = createServer({ ...identity, ca, requestCert: true, maxVersion: 'TLSv1.2' })
  server.on('keylog', () => {}).on('newSession', (_id, _data, done) => done())
  const port = await start(t, server)
  const failed = once(server, 'tlsClientError')
  tls.connect(clientOptions(port, rogueClient)).on('error', () => {})
  await failed
  await new Promise(setImmediate)
  t.match(events, [{ name: 'certificate-invalid' }])
  t.equal(events.length, 1)
})

t.test('a client refuses the server', async (t) => {
  const events = listening(t)
  const { port } = await tlsServer(t)
  await closed(connect(clientOptions(port, { ca: [] })).on('error', () => {}))
  await closed(connect(clientOptions(port, { servername: 'elsewhere' })).on('error', () => {}))
  t.match(events, [
    { name: 'certificate-invalid', role: 'client', code: /./ },
    { name: 'certificate-invalid', code: 'ERR_TLS_CERT_ALTNAME_INVALID', peer: { address: '127.0.0.1', port } },
  ])
})

t.test('a peer that begins too many renegotiations', async (t) => {
  const events = listening(t)
  const pair = await tlsPair(t)
  const server = wrapTLSSocket(pair.server, { peerLimit: { max: 1, windowMs: 60_000 } }).resume()
  const client = wrapTLSSocket(pair.client)
    .on('error', () => {})
    .resume()
  const error = once(server, 'error')
  await client.renegotiate()
  await rejection(client.renegotiate())
  t.match(await error, [{ code: 'ERR_RENEGOTIATION_LIMIT' }])
  const peer = { address: '127.0.0.1', port: client.localPort }
  const [event] = events.filter(({ role }) => role === 'server')
  t.match(event, { name: 'limit-exceeded', severity: 'alert', code: 'ERR_RENEGOTIATION_LIMIT' })
  t.match(event?.peer, peer)
})

/** A server's socket, and a function after which its client does not answer any more. */
async function silenced(t: Test): Promise<{ socket: tls.TLSSocket; silence: () => void }> {
  const server = await tlsServer(t)
  const sockets: Socket[] = []
  const between = net.createServer((near) => {
    const far = net.connect(server.port, '127.0.0.1')
    sockets.push(near, far)
    near.pipe(far).pipe(near)
  })
  between.listen(0, '127.0.0.1')
  await once(between, 'listening')
  const client = tls.connect(clientOptions((between.address() as AddressInfo).port)).on('error', () => {})
  t.teardown(() => {
    between.close()
    for (const socket of [...sockets, client]) socket.destroy()
  })
  const [socket] = (await once(server, 'secureConnection')) as [tls.TLSSocket]
  return { socket, silence: () => sockets.forEach((one) => void one.unpipe().pause()) }
}

t.test('a peer that never answers a renegotiation', async (t) => {
  const events = listening(t)
  const { socket, silence } = await silenced(t)
  const server = wrapTLSSocket(socket, { handshakeTimeout: 20 })
    .on('error', () => {})
    .resume()
  silence()
  await rejection(server.renegotiate())
  await closed(server)
  t.match(events, [{ name: 'handshake-timeout', role: 'server', code: 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT' }])
  t.equal(events.length, 1)
})

t.test('a peer that lets the keys expire', async (t) => {
  const events = listening(t)
  const { socket, silence } = await silenced(t)
  silence()
  const server = wrapTLSSocket(socket, { rekey: { everyMs: 10, hardLimit: { ms: 40 } } })
    .on('error', () => {})
    .resume()
  await closed(server)
  t.match(events, [{ name: 'renegotiation-overdue', severity: 'alert', code: 'ERR_RENEGOTIATION_KEYS_EXPIRED' }])
  t.equal(events.length, 1)
})

t.test('a client that shows another certificate in a renegotiation', async (t) => {
  const events = listening(t)
  const { near, far } = await openSSLPair(t, 'TLSv1.2', { server: { requestCert: true } })
  ;(near as unknown as { setKeyCert(options: object): void }).setKeyCert({ ...otherClient, ca })
  near.resume()
  far.resume()
  await rejection(far.renegotiate({ requestCert: true }))
  await closed(far)
  t.match(events, [{ name: 'certificate-changed', severity: 'alert', code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED' }])
  t.equal(events.length, 1)
})

t.test('a schedule that cannot work', async (t) => {
  const events = listening(t)
  const over13 = await tlsPair(t, { server: { maxVersion: 'TLSv1.3' } })
  const published = new Promise<void>((resolve) => {
    const listener = () => resolve()
    subscribe('renegotiation-duplex:security', listener)
    t.teardown(() => unsubscribe('renegotiation-duplex:security', listener))
  })
  wrapTLSSocket(over13.client, { rekey: { everyMs: 5 } }).resume()
  await published
  t.match(events, [{ name: 'renegotiation-failed', severity: 'warning', code: 'ERR_RENEGOTIATION_UNSUPPORTED' }])
  t.equal(events.length, 1)
})

for (const version of versions) {
  t.test(`streams over OpenSSL publish the same events, ${version}`, async (t) => {
    const events = listening(t)
    const options = { minVersion: version, maxVersion: version, requestCert: true } as const
    const server = await openSSLServer(t, options)
    const { port } = server
    for (const who of [none, rogueClient]) {
      const failed = once(server, 'tlsClientError')
      const socket = tls.connect(clientOptions(port, who)).on('error', () => {})
      await failed
      socket.destroy()
    }
    await closed(connectOpenSSL(clientOptions(port, { ca: [] }) as never).on('error', () => {}))
    const seen = events.filter(({ name }) => name !== 'certificate-rejected').map(({ name, role }) => `${role} ${name}`)
    t.ok(events.every(({ peer }) => peer?.address === '127.0.0.1'))
    t.same(seen, ['server certificate-missing', 'server certificate-invalid', 'client certificate-invalid'])
  })
}

t.test('a renegotiation that succeeds, an end, and a lost connection are no events', async (t) => {
  const events = listening(t)
  const pair = await tlsPair(t)
  const client = wrapTLSSocket(pair.client)
    .on('error', () => {})
    .resume()
  const server = wrapTLSSocket(pair.server)
    .on('error', () => {})
    .resume()
  await server.renegotiate()
  client.end()
  await Promise.all([closed(client), closed(server)])
  const lost = await tlsPair(t)
  const stream = wrapTLSSocket(lost.client)
    .on('error', () => {})
    .resume()
  socketUnder(lost.server).resetAndDestroy()
  await closed(stream)
  t.same(events, [])
})

t.test('a subscriber may destroy the streams', async (t) => {
  const pair = await tlsPair(t)
  const client = wrapTLSSocket(pair.client)
    .on('error', () => {})
    .resume()
  const listener = () => void client.destroy()
  subscribe('renegotiation-duplex:security', listener)
  t.teardown(() => unsubscribe('renegotiation-duplex:security', listener))
  const server = wrapTLSSocket(pair.server, { peerLimit: { max: 0, windowMs: 60_000 } })
    .on('error', () => {})
    .resume()
  t.match(await rejection(client.renegotiate()), { code: /^ERR_RENEGOTIATION_/ })
  await Promise.all([closed(client), closed(server)])
})

t.test('a program may emit tlsClientError itself, with anything', async (t) => {
  const events = listening(t)
  const server = createServer()
  const seen: unknown[] = []
  server.on('tlsClientError', (...args: unknown[]) => seen.push(args))
  const error = new Error('of the program')
  t.equal(server.emit('tlsClientError' as 'close'), true)
  t.equal((server.emit as (...args: unknown[]) => boolean)('tlsClientError', error), true)
  t.equal((server.emit as (...args: unknown[]) => boolean)('tlsClientError', 'text', {}), true)
  t.same(seen, [[], [error], ['text', {}]])
  t.same(events, [])
})
