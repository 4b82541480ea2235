import { once } from 'node:events'
import net from 'node:net'
import tls from 'node:tls'
import t from 'tap'
import { connect, createServer, type RenegotiationTLSSocket } from '../../src/index.ts'
import { freePort } from '../fixtures/free-port.ts'
import { ca, server as identity } from '../fixtures/pki.ts'
import { closed } from '../fixtures/settled.ts'
import { clientOptions, tlsServer } from '../fixtures/tls-pair.ts'

t.test('connect() has the signatures of tls.connect(), and calls its listener once', async (t) => {
  const server = await tlsServer(t)
  server.on('secureConnection', (socket) => socket.on('error', () => {}).resume())
  const { port } = server
  const { port: _, host: __, ...rest } = clientOptions(port)
  const ways: ((listener: () => void) => RenegotiationTLSSocket)[] = [
    (listener) => connect(clientOptions(port), listener),
    (listener) => connect(port, '127.0.0.1', rest, listener),
    (listener) => connect(port, { ...rest, host: '127.0.0.1' }, listener),
  ]
  for (const way of ways) {
    const listener = t.captureFn(() => {})
    const stream = way(listener)
    await once(stream, 'secureConnect')
    t.equal(stream.authorized, true)
    t.match(await stream.renegotiate(), { verified: true })
    t.equal(listener.calls.length, 1)
    stream.destroy()
  }
  const stream = connect(clientOptions(port))
  t.match(await stream.renegotiate(), { verified: true }, 'connect() without a listener works, too')
  stream.destroy()
})

t.test('connect() and createServer() can replace those of node:tls', async (t) => {
  const { connect: plainConnect, createServer: plainCreateServer } = tls
  t.teardown(() => Object.assign(tls, { connect: plainConnect, createServer: plainCreateServer }))
  Object.assign(tls, { connect, createServer })
  const server = tls.createServer({ ...identity, maxVersion: 'TLSv1.2' }, (socket) =>
    socket.on('error', () => {}).resume(),
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const stream = tls.connect(clientOptions((server.address() as net.AddressInfo).port)) as RenegotiationTLSSocket
  t.match(await stream.renegotiate(), { verified: true })
  stream.destroy()
})

t.test('the renegotiation option of connect() sets the options of the stream', async (t) => {
  const server = await tlsServer(t)
  const stream = connect({ ...clientOptions(server.port), renegotiation: { writableHighWaterMark: 7 } })
  t.equal(stream.writableHighWaterMark, 7)
  stream.destroy()
})

t.test('bad options of connect() throw, and no connection is made', async (t) => {
  const server = net.createServer(() => t.fail('a connection was made')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as net.AddressInfo
  t.throws(() => connect({ port, renegotiation: { drainTimeout: -1 } }), {
    name: 'RangeError',
    message: /drainTimeout/,
  })
  t.throws(() => connect({ port, renegotiation: null as never }), { name: 'TypeError', message: /options must be/ })
  const onread = { buffer: Buffer.alloc(10), callback: () => true }
  t.throws(() => connect({ port, host: '127.0.0.1', onread } as never), { name: 'TypeError', message: /onread/ })
  t.throws(
    () => connect({ port: 'x' } as never),
    { code: 'ERR_SOCKET_BAD_PORT' },
    'errors of tls.connect() are passed on',
  )
})

t.test('a failed connection emits the same error as with Node', async (t) => {
  const stream = connect({ port: await freePort(), host: '127.0.0.1' })
  const [error] = await once(stream, 'error')
  t.match(error, { code: 'ECONNREFUSED' })
  await closed(stream)
})

t.test('with TLS inside TLS, both layers renegotiate during traffic', async (t) => {
  const inner = { ...identity, isServer: true, secureContext: tls.createSecureContext({ ...identity }) }
  const server = createServer({ ...identity, maxVersion: 'TLSv1.2', renegotiation: { peerLimit: false } }, (socket) => {
    const inside = new tls.TLSSocket(socket, inner)
    inside.pipe(inside)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as net.AddressInfo
  const outside = connect({ port, host: '127.0.0.1', ca, servername: 'localhost', maxVersion: 'TLSv1.2' })
  t.equal(outside.connecting, true)
  const inside = connect({ socket: outside, ca, servername: 'localhost', maxVersion: 'TLSv1.2' })
  await once(inside, 'secureConnect')
  const bytes = Buffer.alloc(3_000_000, 'inside')
  const received: Buffer[] = []
  const all = new Promise<void>((resolve) => {
    let count = 0
    inside.on('data', (chunk) => {
      received.push(chunk)
      count += chunk.length
      if (count === bytes.length) resolve()
    })
  })
  for (let start = 0; start < bytes.length; start += 100_000) inside.write(bytes.subarray(start, start + 100_000))
  const reports = await Promise.all([outside, inside, outside, inside].map((stream) => stream.renegotiate()))
  t.ok(reports.every(({ verified }) => verified))
  await all
  t.ok(Buffer.concat(received).equals(bytes), 'all bytes came back')
  inside.destroy()
})

t.test('tls.connect() over a stream that is already connected works', async (t) => {
  const server = await tlsServer(t)
  server.on('secureConnection', (socket) => {
    const inside = new tls.TLSSocket(socket, { ...identity, isServer: true })
    inside.on('error', () => {}).pipe(inside)
  })
  const outside = connect(clientOptions(server.port))
  await once(outside, 'secureConnect')
  const inside = tls.connect({ socket: outside, ca, servername: 'localhost' })
  await once(inside, 'secureConnect')
  inside.write('hello')
  t.equal(String((await once(inside, 'data'))[0]), 'hello')
  inside.destroy()
})
