import { once } from 'node:events'
import http2 from 'node:http2'
import https from 'node:https'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import t, { type Test } from 'tap'
import { Client } from 'undici'
import type { RenegotiationTLSSocket } from '../../src/index.ts'
import { server as identity } from '../fixtures/pki.ts'
import { closed, rejection } from '../fixtures/settled.ts'
import { body, connector, hashOf, listen, RENEGOTIATIONS_PER_BODY, Renegotiations } from '../fixtures/web.ts'

const expected = await hashOf(body())

/** An http2 server of Node's on our TLS. It has a TLS of its own, which it doesn't use. */
async function http2Server(t: Test, options: http2.SecureServerOptions = {}) {
  const web = http2.createSecureServer({ ...identity, ...options })
  web.on('sessionError', () => {})
  const ALPNProtocols = options.allowHTTP1 ? ['h2', 'http/1.1'] : ['h2']
  const server = await listen(t, { ALPNProtocols }, (socket) => {
    // Node 20 and 22 look for their settings of HTTP/1.1 there.
    Object.assign(socket, { server: web })
    web.emit('secureConnection', socket)
  })
  return { web, ...server }
}

/** A session of an http2 client of Node's on our TLS. */
function http2Client(t: Test, port: number) {
  const { connect, sockets } = connector(t, { ALPNProtocols: ['h2'] })
  const session = http2.connect(`https://localhost:${port}`, { createConnection: () => connect(port) })
  session.on('error', () => {})
  t.teardown(() => session.destroy())
  return { session, socket: sockets[0] as RenegotiationTLSSocket }
}

/** Asks for renegotiations that can't be, and looks at how that is said. */
function refusals(t: Test) {
  const asked: Promise<Error>[] = []
  return {
    askOf: (socket: RenegotiationTLSSocket) => void asked.push(rejection(socket.renegotiate())),
    async clear(count: number) {
      const errors = await Promise.all(asked)
      t.equal(errors.length, count)
      for (const error of errors) t.match(error, { code: 'ERR_RENEGOTIATION_UNSUPPORTED', message: /HTTP\/2/ })
    },
  }
}

t.test("Node's client and server: 4 MB each way at once, while renegotiate() says what forbids it", async (t) => {
  const { web, port, sockets } = await http2Server(t)
  const { askOf, clear } = refusals(t)
  web.on('stream', async (stream) => {
    const received = hashOf(stream)
    stream.respond({ ':status': 200 }, { waitForTrailers: true })
    stream.on('wantTrailers', async () => stream.sendTrailers({ received: await received }))
    await pipeline(Readable.from(body(() => askOf(sockets[0] as RenegotiationTLSSocket))), stream)
  })
  const { session, socket } = http2Client(t, port)
  await once(socket, 'secureConnect')
  t.equal(socket.alpnProtocol, 'h2')
  for (const time of [1, 2]) {
    const request = session.request({ ':method': 'POST' })
    const trailers = once(request, 'trailers')
    const sent = pipeline(Readable.from(body(() => askOf(socket))), request)
    t.equal(await hashOf(request), expected, 'what it receives')
    t.match((await trailers)[0], { received: expected }, 'what it sent')
    await sent
    await clear(time * 2 * RENEGOTIATIONS_PER_BODY)
  }
  for (const end of [socket, sockets[0] as RenegotiationTLSSocket]) {
    t.equal(end.state, 'open')
    t.match(end.counters, { renegotiations: 0 })
  }
  session.close()
  await closed(socket)
})

t.test('many streams at once on one connection, and a server that pings', async (t) => {
  const { web, port, sockets } = await http2Server(t)
  web.on('request', (request, response) => request.pipe(response))
  web.on('session', (session) => session.ping(() => t.pass('pong')))
  const { session, socket } = http2Client(t, port)
  const { askOf, clear } = refusals(t)
  const echoes = Array.from({ length: 20 }, async (_, i) => {
    const request = session.request({ ':method': 'POST' })
    request.end(Buffer.alloc(200_000, `stream ${i}`))
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    askOf(socket)
    return Buffer.concat(chunks).equals(Buffer.alloc(200_000, `stream ${i}`))
  })
  t.ok((await Promise.all(echoes)).every(Boolean), 'byte for byte')
  await clear(20)
  t.equal(sockets.length, 1)
  session.close()
  await closed(socket)
})

t.test('undici on h2', async (t) => {
  const { web, port } = await http2Server(t)
  web.on('request', (request, response) => request.pipe(response))
  const { connect, sockets } = connector(t, { ALPNProtocols: ['h2'] })
  const client = new Client(`https://localhost:${port}`, {
    allowH2: true,
    connect(_options, callback) {
      const socket = connect(port)
      socket.once('secureConnect', () => callback(null, socket))
    },
  })
  const { askOf, clear } = refusals(t)
  // Not a stream as the body: undici 7.30 (writeStream() of client-h2.js) hears `data` of the answer as that of what it
  // sends, so that the first chunk is lost where it comes in one piece with the headers, as it does over any stream.
  const response = await client.request({ method: 'POST', path: '/', body: Buffer.concat([...body()]) })
  const received: Buffer[] = []
  for await (const chunk of response.body) {
    if (received.push(chunk) % 10 === 1) askOf(sockets[0] as RenegotiationTLSSocket)
  }
  t.equal(await hashOf(received), expected)
  await clear(Math.ceil(received.length / 10))
  // Before its socket: undici 7.30 throws where the socket of an h2 session closes first, over a plain one, too.
  await client.destroy()
})

t.test('with allowHTTP1 the same server speaks HTTP/1.1 to others, and there renegotiates', async (t) => {
  const { web, port, sockets } = await http2Server(t, { allowHTTP1: true })
  const renegotiations = new Renegotiations()
  web.on('request', async (request, response) => {
    const received = Buffer.concat(await request.toArray())
    renegotiations.of(sockets[0] as RenegotiationTLSSocket)
    response.end(`HTTP/${request.httpVersion}: ${received.length}`)
  })
  const client = connector(t, { ALPNProtocols: ['http/1.1'] })
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 })
  agent.createConnection = (() => client.connect(port)) as never
  t.teardown(() => agent.destroy())
  for (let i = 0; i < 3; i++) {
    const request = https.request({ port, agent, method: 'POST' })
    const answered = once(request, 'response')
    request.end(Buffer.alloc(1_000_000))
    const [response] = await answered
    t.equal(Buffer.concat(await response.toArray()).toString(), 'HTTP/1.1: 1000000')
    renegotiations.of(client.sockets[0] as RenegotiationTLSSocket)
  }
  await renegotiations.verified(t, 6)
  t.equal(client.sockets.length, 1)
})

t.test('http2 knows that its session is encrypted, and waits for the handshake', async (t) => {
  const { port } = await http2Server(t)
  const { session, socket } = http2Client(t, port)
  t.equal(session.connecting, true)
  await once(session, 'connect')
  t.match(session, { encrypted: true, alpnProtocol: 'h2' })
  t.match(socket, { encrypted: true, alpnProtocol: 'h2' })
})
