/*
 * npm run example -- tls13-late-certificate
 *
 * Node's http server on TLS 1.3. /public is for everybody; /secret asks for a
 * certificate while the upload of the client is on its way. A client of
 * node:tls does not offer that, so it is turned away and keeps its connection.
 * A server of node:tls cannot ask.
 */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import tls from 'node:tls'
import type { RenegotiationError, RenegotiationTLSSocket } from 'renegotiation-duplex'
import { connect, createServer, isAvailable, type OpenSSLConnectionOptions } from 'renegotiation-duplex/openssl'
import * as certificates from '../certificates.ts'

if (!isAvailable()) {
  console.log('There is no OpenSSL that can be called: npm install koffi')
  process.exit(1)
}

const { ca } = certificates
const host = '127.0.0.1'
const body = randomBytes(4 * 2 ** 20)
const bodyHash = createHash('sha256').update(body).digest('hex')
/** How the requests for a certificate ended, and how much of the upload had arrived by then. */
const asked: string[] = []
const connections = new Set<unknown>()

const web = http.createServer(async (request, response) => {
  const socket = request.socket as RenegotiationTLSSocket
  const hash = createHash('sha256')
  // The upload is read while the server waits for the certificate.
  const uploaded = pipeline(request, hash)
  if (request.url === '/secret' && !socket.authorized) {
    try {
      const { kind } = await socket.renegotiate({ requestCert: true })
      asked.push(kind)
    } catch (error) {
      const { code } = error as RenegotiationError
      asked.push(code)
      // This client did not say that it has a certificate for later. It keeps its connection.
      await uploaded
      response.writeHead(403).end(`No entry: ${code}`)
      return
    }
  }
  await uploaded
  const intact = hash.digest('hex') === bodyHash
  response.end(`Hello, ${socket.getPeerCertificate()?.subject?.CN ?? 'whoever you are'}; intact: ${intact}`)
})

const server = createServer({ ...certificates.server, ca, minVersion: 'TLSv1.3' }, (stream) => {
  connections.add(stream)
  web.emit('connection', stream)
})
server.listen(0, host)
await once(server, 'listening')
const { port } = server.address() as AddressInfo

/** Connects over OpenSSL. This is all that it takes. */
class OpenSSLAgent extends https.Agent {
  override createConnection(options: https.RequestOptions): RenegotiationTLSSocket {
    return connect(options as OpenSSLConnectionOptions)
  }
}

const ours = new OpenSSLAgent({ keepAlive: true, maxSockets: 1, ca, servername: 'localhost', ...certificates.client })
const plain = new https.Agent({ keepAlive: true, maxSockets: 1, ca, servername: 'localhost', ...certificates.client })
const rows = [
  await row('of this package', ours, '/public', 'Hello, whoever you are; intact: true'),
  await row('of this package', ours, '/secret', 'Hello, client; intact: true'),
  await row('of this package', ours, '/secret', 'Hello, client; intact: true'),
  await row('of node:tls', plain, '/public', 'Hello, whoever you are; intact: true'),
  await row('of node:tls', plain, '/secret', 'No entry: ERR_RENEGOTIATION_UNSUPPORTED'),
  await row('of node:tls', plain, '/public', 'Hello, whoever you are; intact: true'),
]
ours.destroy()
plain.destroy()
server.close()
await once(server, 'close')

console.table(rows)
console.log(`${connections.size} connections; asked for a certificate: ${asked.join(', ')}.`)
const refusal = await plainServer()
console.log(`A server of node:tls that asks for a certificate over TLS 1.3: ${refusal}`)
const isRight =
  rows.every(({ right }) => right) &&
  connections.size === 2 &&
  asked.join() === 'post-handshake-auth,ERR_RENEGOTIATION_UNSUPPORTED' &&
  /version/.test(refusal)
console.log(isRight ? 'All is right.' : 'Something is WRONG.')
process.exitCode = isRight ? 0 : 1

async function row(client: string, agent: https.Agent, path: string, expected: string) {
  const answer = await upload(agent, path).catch((error: Error) => error.message)
  return { client, path, answer, right: answer === expected }
}

async function upload(agent: https.Agent, path: string): Promise<string> {
  const request = https.request({ host, port, path, agent, method: 'POST' })
  const responding = once(request, 'response') as Promise<[http.IncomingMessage]>
  request.end(body)
  const [response] = await responding
  return await text(response)
}

/** What node:tls answers. */
async function plainServer(): Promise<string> {
  const listening = tls.createServer({ ...certificates.server, ca, minVersion: 'TLSv1.3' }).listen(0, host)
  await once(listening, 'listening')
  const client = tls.connect({ host, port: (listening.address() as AddressInfo).port, ca, ...certificates.client })
  const [socket] = (await once(listening, 'secureConnection')) as [tls.TLSSocket]
  const error = await new Promise<Error | null>((resolve) => socket.renegotiate({ requestCert: true }, resolve))
  client.destroy()
  socket.destroy()
  listening.close()
  return error === null ? 'it worked' : error.message.trim()
}
