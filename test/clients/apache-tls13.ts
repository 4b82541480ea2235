import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import tls from 'node:tls'
import t from 'tap'
import type { RenegotiationReport } from '../../src/index.ts'
import { connect, isAvailable } from '../../src/openssl/index.ts'
import { browser, type Seen, startApache } from '../fixtures/apache-browser.ts'
import { skip } from '../fixtures/servers.ts'
import { hashOf } from '../fixtures/web.ts'

const unavailable = skip.apache || (!isAvailable() && 'there is no OpenSSL here')

if (unavailable) t.plan(0, unavailable)
else {
  const options = await startApache(t, 'TLSv1.3')

  t.test('Apache asks for a certificate in TLS 1.3 when a GET needs one, and gets it', async (t) => {
    const { sockets, fetch } = browser(t, options, connect)
    const open = await fetch('/')
    t.match(open, { status: 200, seen: { client: undefined } }, 'it does not know the client before')
    const reports: RenegotiationReport[] = []
    sockets[0]?.on('renegotiated', (report) => reports.push(report))
    t.match(await fetch('/secret'), { status: 200, seen: { client: 'client' } })
    t.match(await fetch('/secret'), { status: 200, seen: { client: 'client' } }, 'and need not ask again')
    t.equal(sockets[0]?.getProtocol(), 'TLSv1.3')
    t.match(reports, [{ origin: 'peer', kind: 'post-handshake-auth', verified: false, authorized: true }])
    t.match(
      sockets.map(({ counters }) => counters),
      [{ renegotiations: 1, byPeer: 1 }],
      'by one request, on one connection',
    )
  })

  t.test("Node's own https gets 403, because it does not offer to authenticate later (control)", async (t) => {
    const { sockets, fetch } = browser(t, options, tls.connect)
    t.match(await fetch('/'), { status: 200 })
    t.match(await fetch('/secret'), { status: 403 })
    t.equal(sockets[0]?.getProtocol(), 'TLSv1.3')
  })

  t.test('without postHandshakeAuth, or without a certificate, a client gets 403 as well', async (t) => {
    const { cert: _, key: __, ...anonymous } = options
    for (const its of [{ ...options, postHandshakeAuth: false }, anonymous]) {
      const { fetch } = browser(t, its, connect)
      t.match(await fetch('/secret'), { status: 403 })
    }
  })

  t.test('Apache asks for a certificate when it has received 15 MB of a POST, and no byte is lost', async (t) => {
    const body = randomBytes(15 * 1024 * 1024)
    const { sockets, fetch } = browser(t, options, connect)
    for (let time = 1; time <= 2; time++) {
      const { status, seen } = await fetch('/secret', body)
      t.equal(status, 200, `request ${time}`)
      t.match(seen, { client: 'client', sha256: await hashOf([body]) })
    }
    t.match(
      sockets.map(({ counters }) => counters),
      [{ renegotiations: 1, byPeer: 1 }],
    )
  })

  t.test('http.request() on a stream: Apache answers a key update during a POST, with its response', async (t) => {
    const stream = connect(options)
    const agent = new http.Agent({ keepAlive: true })
    agent.createConnection = () => stream
    t.teardown(() => agent.destroy())
    const fetch = async (body: readonly Buffer[], between: () => void = () => {}) => {
      const request = http.request({ agent, path: '/secret', method: 'POST' })
      for (const part of body) {
        request.write(part)
        between()
      }
      request.end()
      const [response] = (await once(request, 'response')) as [IncomingMessage]
      const seen: Seen = JSON.parse((await response.setEncoding('utf8').toArray()).join(''))
      t.match(seen, { client: 'client', sha256: await hashOf(body) })
    }
    const body = Array.from({ length: 8 }, () => randomBytes(1024 * 1024))
    // Not in the request for which Apache asks for the certificate: docs/compatibility.md tells why.
    await fetch(body)
    for (let time = 1; time <= 3; time++) {
      let update: Promise<RenegotiationReport> | undefined
      await fetch(body, () => {
        update ??= stream.renegotiate()
      })
      t.match(await update, { origin: 'local', kind: 'key-update', verified: true })
    }
    t.match(stream.counters, { renegotiations: 4, byPeer: 1, failed: 0 })
  })
}
