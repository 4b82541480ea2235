import { once } from 'node:events'
import net from 'node:net'
import t, { type Test } from 'tap'
import { connect, createSecureContext, type OpenSSLServerOptions } from '../../src/openssl/index.ts'
import type { SecureContext } from '../../src/openssl/secure-context.ts'
import { clientEngine } from '../fixtures/engine-end.ts'
import { openSSLClient, openSSLServer } from '../fixtures/openssl-pair.ts'
import * as pki from '../fixtures/pki.ts'

/* What a malicious client can do while the application of a server chooses a certificate. */

type Answer = (error: Error | null, context?: SecureContext) => void

t.setTimeout(300_000)

function clientHello(): Buffer {
  const engine = clientEngine()
  engine.read(Buffer.alloc(1))
  const bytes = Buffer.alloc(10_000)
  const length = engine.take(bytes)
  engine.destroy()
  return bytes.subarray(0, length)
}

/** A server whose SNICallback waits, and a client that has sent its ClientHello. */
async function waiting(t: Test, options: OpenSSLServerOptions = {}) {
  let asked!: (answer: Answer) => void
  const asks = new Promise<Answer>((resolve) => {
    asked = resolve
  })
  const server = await openSSLServer(t, { ...options, SNICallback: (_name, answer) => asked(answer) })
  const socket = net.connect(server.port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  socket.on('error', () => {})
  socket.write(clientHello())
  return { server, socket, answer: await asks }
}

t.test('an answer that comes after the client has gone is ignored', async (t) => {
  const { server, socket, answer } = await waiting(t)
  const failed = once(server, 'tlsClientError')
  socket.resetAndDestroy()
  await failed
  answer(null, createSecureContext(pki.server))
  answer(new Error('too late'))
})

t.test('a second record does not take the place of the answer', async (t) => {
  const { server, socket, answer } = await waiting(t)
  let received = 0
  socket.on('data', (chunk: Buffer) => {
    received += chunk.length
  })
  // A ChangeCipherSpec, which TLS 1.3 allows here.
  const before = server.listenerCount('connection')
  socket.write(Buffer.of(20, 3, 3, 0, 1, 1))
  // The server has read it when it has done as much for another client.
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
  const other = net.connect(server.port, '127.0.0.1').on('error', () => {})
  await once(server, 'connection')
  other.destroy()
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
  t.equal(received, 0)
  t.equal(before, 1)
  const data = once(socket, 'data')
  answer(null, createSecureContext(pki.server))
  await data
  t.ok(received > 100)
})

t.test('a listener may destroy the stream inside each callback of OpenSSL', async (t) => {
  const server = await openSSLServer(t)
  server.on('secureConnection', (stream) => stream.on('error', () => {}).resume())
  for (const event of ['keylog', 'session', 'secureConnect'] as const) {
    const stream = connect(openSSLClient(server.port))
    stream.on('error', () => {})
    stream.once(event, () => stream.destroy())
    await once(stream, 'close')
    t.equal(stream.destroyed, true, event)
  }
})
