import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { createServer, type RenegotiationServerOptions, type RenegotiationTLSSocket } from '../../src/index.ts'
import { ca, server as identity, otherServer } from '../fixtures/pki.ts'
import { closed, rejection } from '../fixtures/settled.ts'
import { clientOptions } from '../fixtures/tls-pair.ts'

async function listening(t: Test, server: tls.Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

const options: RenegotiationServerOptions = { ...identity, ca, maxVersion: 'TLSv1.2' }

async function accepted(t: Test, server: tls.Server, client: tls.ConnectionOptions = {}) {
  const port = (server.address() as AddressInfo | null)?.port ?? (await listening(t, server))
  const socket = tls.connect(clientOptions(port, client))
  socket.on('error', () => {}).resume()
  t.teardown(() => socket.destroy())
  const [stream] = (await once(server, 'secureConnection')) as [RenegotiationTLSSocket]
  stream.on('error', () => {}).resume()
  return { socket, stream }
}

t.test('createServer() returns a tls.Server that wraps its connections with the renegotiation option', async (t) => {
  const listener = t.captureFn((_socket: RenegotiationTLSSocket) => {})
  const server = createServer({ ...options, renegotiation: { readableHighWaterMark: 9 } }, listener)
  t.ok(server instanceof tls.Server)
  const { stream } = await accepted(t, server)
  t.equal(listener.args()[0]?.[0], stream)
  t.equal(stream.readableHighWaterMark, 9)
  t.equal((stream as unknown as { server: unknown }).server, server)
  t.match(await stream.renegotiate(), { origin: 'local', verified: true })
})

t.test('createServer() works without options, and throws on bad ones', (t) => {
  const listener = () => {}
  t.equal(createServer(listener).listenerCount('secureConnection'), 1)
  t.equal(createServer().listenerCount('secureConnection'), 0)
  t.throws(() => createServer({ renegotiation: { drainTimeout: 'x' as never } }), {
    name: 'TypeError',
    message: /drainTimeout/,
  })
  t.end()
})

t.test('a certificate requested later is sent by the client, also after setSecureContext()', async (t) => {
  const server = createServer(options)
  for (const time of ['first', 'second']) {
    const { stream } = await accepted(t, server)
    t.match(await stream.renegotiate({ requestCert: true }), { resumed: false, authorized: true }, time)
    t.match(stream.getPeerCertificate(), { subject: { CN: 'client' } })
    server.setSecureContext({ ...otherServer, ca, maxVersion: 'TLSv1.2' })
  }
})

t.test('a plain tls.Server that requests a certificate later gets none, but reports success (control)', async (t) => {
  const server = tls.createServer(options)
  const port = await listening(t, server)
  const socket = tls.connect(clientOptions(port))
  socket.on('error', () => {}).resume()
  t.teardown(() => socket.destroy())
  const [plain] = (await once(server, 'secureConnection')) as [tls.TLSSocket]
  plain.resume()
  t.equal(
    await new Promise((resolve) => plain.renegotiate({ requestCert: true }, resolve)),
    null,
    'Node reports success',
  )
  t.equal(plain.getPeerCertificate()?.subject, undefined)
})

t.test(
  'a client without the requested certificate is disconnected with ERR_RENEGOTIATION_NO_CERTIFICATE',
  async (t) => {
    const { stream } = await accepted(t, createServer(options), { key: undefined, cert: undefined })
    t.match(await rejection(stream.renegotiate({ requestCert: true })), { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE' })
    await closed(stream)
  },
)

for (const listen of [tls.createServer, createServer] as (typeof tls.createServer)[]) {
  const whose = listen === tls.createServer ? 'tls.createServer() (control)' : 'our createServer()'
  t.test(`with pauseOnConnect, no data is emitted before resume(): ${whose}`, async (t) => {
    const server = listen({ ...options, pauseOnConnect: true })
    const port = await listening(t, server)
    const socket = tls.connect(clientOptions(port))
    t.teardown(() => socket.destroy())
    socket.write('early')
    const [stream] = (await once(server, 'secureConnection')) as [tls.TLSSocket]
    t.equal(stream.isPaused(), true)
    const received: string[] = []
    stream.on('data', (chunk) => received.push(String(chunk)))
    // Writing is possible while reading is paused.
    stream.write('hello')
    await once(socket, 'data')
    t.same(received, [])
    stream.resume()
    await once(stream, 'data')
    t.same(received, ['early'])
    stream.destroy()
  })
}

t.test('queued data arrives if the peer ends first, with and without allowHalfOpen', async (t) => {
  for (const allowHalfOpen of [false, true]) {
    const server = createServer({ ...options, allowHalfOpen } as RenegotiationServerOptions)
    const port = await listening(t, server)
    const socket = tls.connect({ ...clientOptions(port), allowHalfOpen: true } as tls.ConnectionOptions)
    const received: Buffer[] = []
    socket.on('data', (chunk) => received.push(chunk))
    const [stream] = (await once(server, 'secureConnection')) as [RenegotiationTLSSocket]
    stream.resume()
    for (let i = 0; i < 20; i++) stream.write(Buffer.alloc(50_000, i))
    socket.end()
    await once(stream, 'end')
    if (allowHalfOpen) stream.end()
    await closed(socket)
    t.equal(Buffer.concat(received).length, 1_000_000)
  }
})
