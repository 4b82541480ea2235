/*
 * npm run example -- https-client-certificate-on-demand
 *
 * Node's http server on createServer(). /public is for everybody; /secret asks
 * whoever comes for a certificate, in the middle of the connection. The clients
 * are Node's own, and know nothing of it: one has a certificate, one has none.
 */
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { createServer, type RenegotiationError, type RenegotiationTLSSocket } from 'renegotiation-duplex'
import * as certificates from '../certificates.ts'

const { ca } = certificates
const handshakes: string[] = []
const connections = new Set<unknown>()

const web = http.createServer(async (request, response) => {
  const socket = request.socket as RenegotiationTLSSocket
  // Who has shown a certificate on this connection need not do it again.
  if (request.url === '/secret' && !socket.authorized) {
    try {
      await socket.renegotiate({ requestCert: true })
      handshakes.push('good')
    } catch (error) {
      handshakes.push((error as RenegotiationError).code)
      return // the client has no connection any more
    }
  }
  response.end(`Hello, ${socket.getPeerCertificate()?.subject?.CN ?? 'whoever you are'}`)
})

const server = createServer({ ...certificates.server, ca, maxVersion: 'TLSv1.2' }, (socket) => {
  connections.add(socket)
  web.emit('connection', socket)
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
const { port } = server.address() as AddressInfo

// Each keeps its one connection, as long as it has one.
const known = new https.Agent({ keepAlive: true, maxSockets: 1, ca, ...certificates.client })
const unknown = new https.Agent({ keepAlive: true, maxSockets: 1, ca })

const rows = [
  await row('with a certificate', known, '/public', 'Hello, whoever you are'),
  await row('with a certificate', known, '/secret', 'Hello, client'),
  await row('with a certificate', known, '/secret', 'Hello, client'),
  await row('without', unknown, '/public', 'Hello, whoever you are'),
  await row('without', unknown, '/secret', 'thrown out'),
  await row('without, again', unknown, '/public', 'Hello, whoever you are'),
  await row('with a certificate', known, '/secret', 'Hello, client'),
]
known.destroy()
unknown.destroy()
server.close()
await once(server, 'close')

console.table(rows)
console.log(`${connections.size} connections; asked for a certificate: ${handshakes.join(', ')}.`)
const isRight =
  rows.every(({ right }) => right) &&
  // One for the client with the certificate; one for the other until it was thrown out, and one after that.
  connections.size === 3 &&
  handshakes.join() === 'good,ERR_RENEGOTIATION_NO_CERTIFICATE'
console.log(isRight ? 'All is right.' : 'Something is WRONG.')
process.exitCode = isRight ? 0 : 1

async function row(client: string, agent: https.Agent, path: string, expected: string) {
  const answer = await get(agent, path).catch((error: Error) => {
    console.log(`${path} ${client}: ${error.message}`)
    return 'thrown out'
  })
  return { client, path, answer, right: answer === expected }
}

async function get(agent: https.Agent, path: string): Promise<string> {
  const [response] = await once(https.get({ host: '127.0.0.1', port, path, agent }), 'response')
  return await text(response)
}
