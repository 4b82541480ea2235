/*
 * npm run example -- http-agent
 *
 * An https.Agent whose connections can renegotiate. Five uploads of 8 MB go
 * over one kept-alive connection, each to a server that sends back what comes
 * as it comes; the client changes the keys between them and in the middle of
 * their bodies.
 */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import type { ConnectionOptions } from 'node:tls'
import { connect, createServer, type RenegotiationReport, type RenegotiationTLSSocket } from 'renegotiation-duplex'
import * as certificates from '../certificates.ts'

const REQUESTS = 5
const CHUNKS = 128
const CHUNK_BYTES = 65_536
/** Renegotiations within each body. */
const WITHIN = 8

/** This is all that it takes. */
class RenegotiatingAgent extends https.Agent {
  readonly connections: RenegotiationTLSSocket[] = []

  override createConnection(options: https.RequestOptions): RenegotiationTLSSocket {
    const connection = connect(options as ConnectionOptions)
    this.connections.push(connection)
    return connection
  }
}

const web = http.createServer((request, response) => {
  pipeline(request, response).catch(() => {}) // the client sees it
})
const server = createServer(
  // The client renegotiates more often than a server allows by default.
  { ...certificates.server, maxVersion: 'TLSv1.2', renegotiation: { peerLimit: false } },
  (socket) => web.emit('connection', socket),
)
server.listen(0, '127.0.0.1')
await once(server, 'listening')
const { port } = server.address() as AddressInfo

const agent = new RenegotiatingAgent({ keepAlive: true, maxSockets: 1, ca: certificates.ca })
const rows = []
for (let i = 0; i < REQUESTS; i++) {
  rows.push(await upload())
  for (const idle of agent.connections) await idle.renegotiate()
}
const [connection] = agent.connections
const renegotiations = connection?.counters.renegotiations
agent.destroy()
server.close()
await once(server, 'close')

console.table(rows)
console.log(`${agent.connections.length} connection, ${renegotiations} renegotiations.`)
const isRight =
  rows.every(({ status, intact, proven }) => status === 200 && intact && proven === WITHIN) &&
  agent.connections.length === 1 &&
  renegotiations === REQUESTS * (WITHIN + 1)
console.log(isRight ? 'All is right.' : 'Something is WRONG.')
process.exitCode = isRight ? 0 : 1

async function upload() {
  const sent = createHash('sha256')
  const received = createHash('sha256')
  let receivedBytes = 0
  const request = https.request({ host: '127.0.0.1', port, agent, method: 'POST' })
  const responding = once(request, 'response') as Promise<[http.IncomingMessage]>
  const [connection] = (await once(request, 'socket')) as [RenegotiationTLSSocket]

  const asked: Promise<RenegotiationReport>[] = []
  function* body() {
    for (let i = 0; i < CHUNKS; i++) {
      if (i % (CHUNKS / WITHIN) === 8) asked.push(connection.renegotiate()) // and on: it holds what has to wait
      const chunk = randomBytes(CHUNK_BYTES)
      sent.update(chunk)
      yield chunk
    }
  }
  const sending = pipeline(body(), request)
  const [response] = await responding
  for await (const chunk of response) {
    received.update(chunk)
    receivedBytes += chunk.length
  }
  await sending
  const proven = (await Promise.all(asked)).filter(({ verified }) => verified).length
  const intact = sent.digest('hex') === received.digest('hex')
  return { status: response.statusCode, receivedBytes, intact, proven }
}
