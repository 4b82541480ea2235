/* Programs that get a stream over OpenSSL in the place of a TLS socket, with key updates during their traffic. */
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import t, { type Test } from 'tap'
import { Client } from 'undici'
import { WebSocket, WebSocketServer } from 'ws'
import type { RenegotiationTLSSocket } from '../../src/index.ts'
import { connect } from '../../src/openssl/index.ts'
import { clientOf, openSSLServer, versions } from '../fixtures/openssl-pair.ts'

const bytes = Buffer.alloc(1_000_000, 'x')

/** Serves HTTP over OpenSSL. Answers with the body of the request, and changes its keys meanwhile. */
async function webServer(t: Test, version: (typeof versions)[number]) {
  const server = http.createServer(async (request, response) => {
    const stream = request.socket as unknown as RenegotiationTLSSocket
    const renegotiated = stream.renegotiate()
    request.pipe(response)
    await once(response, 'close')
    await renegotiated.catch(() => {})
  })
  const listener = await openSSLServer(t, { maxVersion: version })
  listener.on('secureConnection', (stream) => server.emit('connection', stream))
  t.teardown(() => server.closeAllConnections())
  return { server, port: listener.port }
}

for (const version of versions) {
  t.test(`https requests share a kept connection, ${version}`, async (t) => {
    const { port } = await webServer(t, version)
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 })
    agent.createConnection = ((options: object, ...rest: []) =>
      connect({ ...options, maxVersion: version } as never, ...rest)) as never
    t.teardown(() => agent.destroy())
    for (const reused of [false, true]) {
      const request = https.request({ ...clientOf(port), agent, method: 'POST' } as https.RequestOptions)
      request.end(bytes)
      const [response] = (await once(request, 'response')) as [http.IncomingMessage]
      const body = Buffer.concat(await response.toArray())
      t.ok(body.equals(bytes))
      t.equal(request.reusedSocket, reused)
      t.equal((request.socket as unknown as RenegotiationTLSSocket).getProtocol(), version)
      await new Promise(setImmediate)
    }
  })

  t.test(`undici makes requests, ${version}`, async (t) => {
    const { port } = await webServer(t, version)
    const client = new Client(`https://localhost:${port}`, {
      connect(_options, callback) {
        const stream = connect(clientOf(port), () => callback(null, stream as never))
        stream.on('error', (error) => callback(error, null))
      },
    })
    t.teardown(() => client.destroy())
    for (let i = 0; i < 3; i++) {
      const { body } = await client.request({ path: '/', method: 'POST', body: bytes })
      t.ok(Buffer.from(await body.arrayBuffer()).equals(bytes))
    }
  })

  t.test(`ws exchanges messages, ${version}`, async (t) => {
    const { server, port } = await webServer(t, version)
    const sockets = new WebSocketServer({ server })
    sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)))
    const client = new WebSocket(`wss://localhost:${port}`, {
      createConnection: () => connect(clientOf(port)) as never,
    })
    await once(client, 'open')
    const stream = (client as unknown as { _socket: RenegotiationTLSSocket })._socket
    for (let i = 0; i < 3; i++) {
      client.send(bytes)
      const [[data]] = await Promise.all([once(client, 'message'), stream.renegotiate()])
      t.ok(bytes.equals(data))
    }
    client.close()
    await once(client, 'close')
  })

  t.test(`pipeline() sends through a stream and back, ${version}`, async (t) => {
    const listener = await openSSLServer(t, { maxVersion: version, allowHalfOpen: true } as object)
    listener.on('secureConnection', (stream) => void pipeline(stream, stream))
    const client = connect(clientOf(listener.port, { allowHalfOpen: true }))
    const received = client.toArray()
    await pipeline(Readable.from(Array.from({ length: 50 }, () => bytes.subarray(0, 50_000))), client)
    t.equal(Buffer.concat(await received).length, 2_500_000)
  })
}
