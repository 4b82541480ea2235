import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import t, { type Test } from 'tap'
import { connect, type RenegotiationTLSSocket } from '../../src/index.ts'
import { ca, client } from '../fixtures/pki.ts'
import { apache, skip } from '../fixtures/servers.ts'
import { hashOf } from '../fixtures/web.ts'

if (skip.apache) t.plan(0, skip.apache)
else {
  /** What Apache passed on. */
  interface Seen {
    client: string | undefined
    sha256: string
  }

  const backend = http.createServer(async (request, response) => {
    const seen: Seen = { client: request.headers['x-client'] as string | undefined, sha256: await hashOf(request) }
    response.end(JSON.stringify(seen))
  })
  backend.listen(0, '127.0.0.1')
  await once(backend, 'listening')
  t.teardown(() => backend.close())
  const { port } = await apache(t, (backend.address() as AddressInfo).port)
  const options = { host: '127.0.0.1', port, servername: 'localhost', ca, maxVersion: 'TLSv1.2', ...client } as const

  /** Node's client, on one connection of this package. Returns what Apache passed on of each request. */
  function browser(t: Test) {
    const sockets: RenegotiationTLSSocket[] = []
    class Agent extends https.Agent {
      override createConnection(options: https.RequestOptions): RenegotiationTLSSocket {
        const socket = connect(options as ConnectionOptions)
        sockets.push(socket)
        return socket
      }
    }
    const agent = new Agent({ ...options, keepAlive: true, maxSockets: 1 })
    t.teardown(() => agent.destroy())
    return {
      sockets,
      async fetch(path: string, body?: Buffer): Promise<Seen> {
        const method = body === undefined ? 'GET' : 'POST'
        const request = https.request({ agent, host: options.host, port, path, method })
        request.end(body)
        const [response] = (await once(request, 'response')) as [IncomingMessage]
        return JSON.parse((await response.setEncoding('utf8').toArray()).join(''))
      },
    }
  }

  t.test('Apache asks for a certificate when a GET needs one, and gets it', async (t) => {
    const { sockets, fetch } = browser(t)
    t.equal((await fetch('/')).client, undefined, 'it does not know the client before')
    t.equal((await fetch('/secret')).client, 'client')
    t.equal((await fetch('/secret')).client, 'client', 'and need not ask again')
    t.match(
      sockets.map(({ counters }) => counters),
      [{ renegotiations: 1, byPeer: 1 }],
      'by one renegotiation, on one connection',
    )
  })

  t.test('Apache asks for a certificate when it has received 15 MB of a POST, and no byte is lost', async (t) => {
    const body = randomBytes(15 * 1024 * 1024)
    const { sockets, fetch } = browser(t)
    for (let time = 1; time <= 2; time++) {
      const seen = await fetch('/secret', body)
      t.equal(seen.sha256, await hashOf([body]), `request ${time}`)
    }
    t.match(
      sockets.map(({ counters }) => counters),
      [{ renegotiations: 1, byPeer: 1 }],
    )
  })

  /** Sends a request that needs a certificate, and others without waiting for its answer. Returns all that comes back. */
  async function pipeline(t: Test, others: number) {
    const socket = connect(options)
    t.teardown(() => socket.destroy())
    const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`
    socket.write(request('/secret') + request('/').repeat(others))
    const answer = (await socket.toArray()).join('')
    return { answer, answers: answer.split('HTTP/1.1 ').length - 1, renegotiations: socket.counters.renegotiations }
  }

  t.test('Apache closes the connection after a renegotiation if the next request had come before', async (t) => {
    const { answer, answers, renegotiations } = await pipeline(t, 1)
    t.match(answer, /^HTTP\/1\.1 200 OK\r\n.*Connection: close.*"client":"client"/s)
    t.equal(answers, 1, 'the next request is not answered')
    t.equal(renegotiations, 1)
  })

  t.test('Apache refuses a request that needs a certificate while further records with requests come', async (t) => {
    // More than a record holds.
    const { answer, answers, renegotiations } = await pipeline(t, 2000)
    t.match(answer, /^HTTP\/1\.1 403 Forbidden\r\n.*Connection: close/s)
    t.equal(answers, 1)
    t.equal(renegotiations, 0)
  })
}
