import { createHash } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type tls from 'node:tls'
import t, { type Test } from 'tap'
import {
  connect,
  createServer,
  type RenegotiateOptions,
  type RenegotiationReport,
  type RenegotiationTLSSocket,
} from '../../src/index.ts'
import * as pki from '../fixtures/pki.ts'

/** Starts Node's http server on streams of this package. */
async function webServer(t: Test, handler: http.RequestListener) {
  const web = http.createServer(handler)
  const server = createServer(
    { ...pki.server, ca: pki.ca, maxVersion: 'TLSv1.2', renegotiation: { peerLimit: false } },
    (socket) => web.emit('connection', socket),
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    web.closeAllConnections()
  })
  return { web, port: (server.address() as AddressInfo).port }
}

/** Returns Node's agent, whose sockets are streams of this package. */
function agentFor(t: Test, identity: tls.SecureContextOptions = pki.client) {
  const sockets: RenegotiationTLSSocket[] = []
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 })
  agent.createConnection = ((options: https.RequestOptions) => {
    const socket = connect({ ...options, ...identity, ca: pki.ca, servername: 'localhost' } as tls.ConnectionOptions)
    sockets.push(socket)
    return socket
  }) as never
  t.teardown(() => agent.destroy())
  return { agent, sockets }
}

function request(port: number, agent: https.Agent, options: https.RequestOptions = {}): http.ClientRequest {
  return https.request({ host: '127.0.0.1', port, agent, ...options })
}

async function responseTo(request: http.ClientRequest): Promise<http.IncomingMessage> {
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  return response
}

async function textOf(response: http.IncomingMessage): Promise<string> {
  const chunks = await response.toArray()
  return Buffer.concat(chunks).toString()
}

const CHUNK = Buffer.alloc(50_000, 'a body')
const CHUNKS = 1000

/** Yields 50 MB, and calls `renegotiate` ten times in between. */
function* body(renegotiate: () => void): Generator<Buffer> {
  for (let i = 0; i < CHUNKS; i++) {
    if (i % (CHUNKS / 10) === 50) renegotiate()
    yield CHUNK
  }
}

async function hashOf(stream: Readable): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of stream) hash.update(chunk)
  return hash.digest('hex')
}

t.test('two https requests on one connection carry 50 MB each way while both ends renegotiate', async (t) => {
  const renegotiations: Promise<RenegotiationReport>[] = []
  const ask = (socket: RenegotiationTLSSocket) => () => void renegotiations.push(socket.renegotiate())
  const { port } = await webServer(t, async (request, response) => {
    const received = hashOf(request)
    await pipeline(Readable.from(body(ask(request.socket as RenegotiationTLSSocket))), response, { end: false })
    response.end(await received)
  })
  const { agent, sockets } = agentFor(t)
  const expected = createHash('sha256')
  for (const chunk of body(() => {})) expected.update(chunk)
  const sum = expected.copy().digest('hex')
  const sumOfAnswer = expected.update(sum).digest('hex')

  for (const time of [1, 2]) {
    const sending = request(port, agent, { method: 'POST' })
    const [socket] = (await once(sending, 'socket')) as [RenegotiationTLSSocket]
    const response = responseTo(sending)
    const sent = pipeline(Readable.from(body(ask(socket))), sending)
    t.equal(await hashOf(await response), sumOfAnswer, 'the response, which ends with the hash of the received request')
    await sent
    t.equal(sockets.length, 1, 'all requests use the same connection')
    const reports = await Promise.all(renegotiations)
    t.equal(reports.length, time * 20)
    t.ok(reports.every(({ verified }) => verified))
  }
})

t.test('an http handler requests the client certificate for some paths, and requires it for one', async (t) => {
  const { port } = await webServer(t, async (request, response) => {
    const socket = request.socket as RenegotiationTLSSocket
    const options: RenegotiateOptions = { requestCert: true, rejectUnauthorized: request.url === '/secret' }
    try {
      if (request.url !== '/public') await socket.renegotiate(options)
    } catch {
      return
    }
    response.end(`${socket.authorized} ${socket.getPeerCertificate()?.subject?.CN}`)
  })
  const known = agentFor(t)
  t.equal(await textOf(await responseTo(request(port, known.agent, { path: '/public' }).end())), 'false undefined')
  t.equal(await textOf(await responseTo(request(port, known.agent, { path: '/secret' }).end())), 'true client')
  t.equal(known.sockets.length, 1)

  const unknown = agentFor(t, {})
  t.equal(await textOf(await responseTo(request(port, unknown.agent, { path: '/else' }).end())), 'false undefined')
  const refused = request(port, unknown.agent, { path: '/secret' }).end()
  await t.rejects(responseTo(refused), Error, 'a client without the required certificate is disconnected')
})

t.test('a connection carries data and renegotiates after an HTTP upgrade', async (t) => {
  const { web, port } = await webServer(t, () => t.fail('the server got a request instead of an upgrade'))
  web.on('upgrade', (_request, socket: RenegotiationTLSSocket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
    socket.pipe(socket)
  })
  const { agent } = agentFor(t)
  const upgrading = request(port, agent, { headers: { Connection: 'Upgrade', Upgrade: 'echo' } }).end()
  const [, socket] = (await once(upgrading, 'upgrade')) as [http.IncomingMessage, RenegotiationTLSSocket]
  for (let i = 0; i < 3; i++) {
    socket.write(`echo ${i}`)
    t.equal(String((await once(socket, 'data'))[0]), `echo ${i}`)
    t.match(await socket.renegotiate(), { origin: 'local', verified: true })
  }
  socket.end()
  await once(socket, 'close')
})
