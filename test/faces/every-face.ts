/* What is the same for the streams over every kind of TLS socket. */
import { once } from 'node:events'
import net from 'node:net'
import { Duplex } from 'node:stream'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { RenegotiationTLSSocket } from '../../src/faces/renegotiation-tls-socket.ts'
import { wrapTLSSocket } from '../../src/index.ts'
import { sessionMethods, sessionProperties } from '../../src/transports/shown-session.ts'
import { clientAndServer, versions } from '../fixtures/openssl-pair.ts'
import { closed } from '../fixtures/settled.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'

interface Kind {
  name: string
  hasRenegotiations: boolean
  pair(t: Test): Promise<{ client: RenegotiationTLSSocket; server: RenegotiationTLSSocket }>
}

const kinds: Kind[] = [
  {
    name: "over Node's own TLS",
    hasRenegotiations: true,
    async pair(t) {
      const { client, server } = await tlsPair(t, { server: { requestCert: true } })
      return { client: wrapTLSSocket(client), server: wrapTLSSocket(server) }
    },
  },
  ...versions.map((version) => ({
    name: `over OpenSSL with ${version}`,
    hasRenegotiations: version === 'TLSv1.2',
    pair: (t: Test) => clientAndServer(t, version, { server: { requestCert: true } }),
  })),
]

for (const { name, hasRenegotiations, pair } of kinds) {
  t.test(`the stream is an instance of tls.TLSSocket, net.Socket and Duplex, ${name}`, async (t) => {
    const { client } = await pair(t)
    for (const known of [RenegotiationTLSSocket, tls.TLSSocket, net.Socket, Duplex]) {
      t.ok(client instanceof known, known.name)
    }
    t.equal((client as unknown as { _handle: unknown })._handle, null)
  })

  t.test(`the getters say what the session is, also during a handshake, ${name}`, async (t) => {
    for (const whose of ['client', 'server'] as const) {
      const ends = await pair(t)
      const stream = ends[whose]
      const facts = () => [
        ...sessionMethods.map((method) => String(JSON.stringify((stream[method] as () => unknown)()))),
        ...sessionProperties.map((property) => (stream as unknown as Record<string, unknown>)[property]),
        stream.getPeerX509Certificate()?.fingerprint256,
        JSON.stringify(stream.getPeerCertificate(true).issuerCertificate?.subject),
      ]
      const before = facts()
      t.equal(stream.authorized, true)
      ends.client.resume()
      ends.server.resume()
      if (hasRenegotiations) {
        const renegotiated = stream.renegotiate()
        await once(stream, 'renegotiating')
        t.same(facts(), before)
        t.throws(() => stream.exportKeyingMaterial(8, 'x', Buffer.alloc(0)), { code: 'ERR_TLS_INVALID_STATE' })
        t.match(await renegotiated, { verified: true, kind: 'renegotiation' })
      }
      stream.destroy()
      await closed(stream)
      for (const method of sessionMethods) t.doesNotThrow(() => stream[method](), method)
    }
  })

  t.test(`properties and methods of the connection work, ${name}`, async (t) => {
    const { client, server } = await pair(t)
    t.match(client.address(), { address: '127.0.0.1', family: 'IPv4', port: client.localPort as number })
    t.same([client.remoteAddress, client.remoteFamily, server.remotePort], ['127.0.0.1', 'IPv4', client.localPort])
    t.match(client, { connecting: false, pending: false, encrypted: true, secureConnecting: false, bufferSize: 0 })
    for (const stream of [client, server]) {
      t.equal(stream.setNoDelay(true).setKeepAlive(true).ref().unref(), stream)
      t.equal(stream.setMaxSendFragment(1000), true)
      stream.servername = 'other'
      t.equal(stream.servername, 'other')
    }
    const keys = [client, server].map((stream) =>
      stream.exportKeyingMaterial(16, 'x', Buffer.from('y')).toString('hex'),
    )
    t.equal(keys[0], keys[1])
    t.throws(() => (server as unknown as { setServername(name: string): void }).setServername('x'), {
      code: 'ERR_TLS_SNI_FROM_SERVER',
    })
    t.throws(() => client.resetAndDestroy(), { code: 'ERR_INVALID_HANDLE_TYPE' })
    client.destroy()
    t.equal(client.resetAndDestroy(), client)
    await closed(client)
  })

  t.test(`disableRenegotiation() refuses renegotiations, but no key updates, ${name}`, async (t) => {
    const { client, server } = await pair(t)
    client.resume().disableRenegotiation()
    server.resume()
    const how = await client.renegotiate().then(
      ({ kind }) => kind,
      (error) => error.code,
    )
    t.equal(how, hasRenegotiations ? 'ERR_RENEGOTIATION_UNSUPPORTED' : 'key-update')
    t.equal(client.destroyed, false)
  })

  t.test(
    `renegotiate() with a callback calls it once, and returns what Node's renegotiate() returns, ${name}`,
    async (t) => {
      const { client, server } = await pair(t)
      const stream = client.resume()
      server.resume()
      let returned: unknown
      const error = await new Promise((resolve) => {
        returned = stream.renegotiate({}, resolve)
      })
      t.equal(returned, true)
      t.equal(error, null)
      t.equal(stream.counters.renegotiations, 1)
      const code = 'ERR_INVALID_ARG_TYPE'
      t.throws(() => stream.renegotiate({}, 'no' as never), { name: 'TypeError', code, message: /callback.*'no'/ })
      stream.destroy()
      const late = await new Promise((resolve) => {
        returned = stream.renegotiate({}, resolve)
      })
      t.equal(returned, undefined)
      t.match(late, { code: 'ERR_RENEGOTIATION_CLOSED' })
    },
  )

  t.test(`setTimeout() sets the timeout of the socket below, and calls our callback, ${name}`, async (t) => {
    const { client } = await pair(t)
    const stream = client
    const never = t.captureFn(() => {})
    stream.setTimeout(60_000, never)
    t.equal(stream.timeout, 60_000)
    stream.setTimeout(0, never)
    t.equal(stream.listenerCount('timeout'), 0)
    const timedOut = new Promise((resolve) => stream.setTimeout(1, () => resolve(undefined)))
    await timedOut
    t.equal(stream.setTimeout(0), stream)
    t.same(never.calls, [])
  })

  t.test(`close is the last event, and tells whether there was an error, ${name}`, async (t) => {
    for (const error of [undefined, new Error('mine')]) {
      const { client } = await pair(t)
      const stream = client
      const events: unknown[] = []
      stream.on('error', () => events.push('error'))
      stream.on('close', (hadError) => events.push(hadError))
      stream.destroy(error)
      await new Promise((resolve) => stream.once('close', resolve))
      t.same(events, error ? ['error', true] : [false])
      t.same([stream.destroyed, stream.closed], [true, true])
    }
  })

  t.test(`destroySoon() sends what was written, ${name}`, async (t) => {
    const { client, server } = await pair(t)
    const stream = client
    stream.write('all of it')
    stream.destroySoon()
    t.equal(String((await once(server, 'data'))[0]), 'all of it')
    await closed(stream)
  })

  t.test(`corked writes of a destroyed stream are called back and returned by unsent(), ${name}`, async (t) => {
    const { client } = await pair(t)
    const stream = client
    stream.cork()
    const called = new Promise((resolve) => stream.write('a', resolve))
    stream.destroy()
    t.match(await called, { code: 'ERR_STREAM_DESTROYED' })
    t.same(stream.unsent(), [Buffer.from('a')])
  })

  t.test(`methods can be replaced, as http does, ${name}`, async (t) => {
    const { client } = await pair(t)
    const stream = client
    const replaced = () => stream
    for (const name of ['on', 'addListener', 'prependListener', 'once', 'setNoDelay'] as const) {
      Object.assign(stream, { [name]: replaced })
      t.equal(stream[name], replaced)
    }
  })
}
