import { X509Certificate } from 'node:crypto'
import t from 'tap'
import { callbacks } from '../../src/openssl/callbacks.ts'
import type { OpenSSLEngine } from '../../src/openssl/engine.ts'
import {
  clientEngine,
  clientIdentity,
  connected,
  MemoryLink,
  makeContext,
  openssl,
  serverEngine,
  versions,
} from '../fixtures/engine-end.ts'
import { rogueClient, server as serverIdentity } from '../fixtures/pki.ts'
import { Random, SEED } from '../fixtures/random.ts'

t.before(() => t.comment(`SEED=${SEED}`))

for (const version of versions) {
  t.test(`two engines lose no byte and keep count of all handshakes, in any fragments, ${version}`, async (t) => {
    const random = new Random(SEED)
    for (let round = 0; round < 30; round++) {
      const options = { version, maxOutputBytes: random.size(200_000) }
      const link = new MemoryLink(clientEngine(options), serverEngine(options), random)
      const { client, server } = link
      const ends = [client, server]
      const begun = new Map(ends.map((end) => [end, 0]))
      let budget = 40
      link.run(() => {
        const end = random.below(2) === 0 ? client : server
        if (budget === 0 || end.engine.handshaking) return
        budget--
        if (random.below(4) > 0) {
          for (let i = random.below(4); i >= 0; i--) end.send(random.chunk(100_000))
        } else if (end.unsent === 0 && ends.every(({ engine }) => !engine.handshaking) && link.isQuiet()) {
          end.engine.renegotiate()
          begun.set(end, (begun.get(end) as number) + 1)
          end.pump()
        }
      })
      t.equal(client.error, undefined, 'the client has no error')
      t.equal(server.error, undefined, 'the server has no error')
      t.same(client.received.sum(), server.sent.sum(), 'all bytes of the server have arrived')
      t.same(server.received.sum(), client.sent.sum(), 'all bytes of the client have arrived')
      t.same(client.engine.session().keys, server.engine.session().keys, 'both have the same keys')
      for (const end of ends) {
        t.equal(end.engine.handshaking, false, 'no handshake is left')
        const other = end === client ? server : client
        if (version === 'TLSv1.2') t.equal(end.engine.keyUpdates, undefined)
        else {
          const sent = begun.get(end)
          t.match(end.engine.keyUpdates, { sent, answered: sent, byPeer: begun.get(other) as number })
        }
        end.engine.destroy()
      }
    }
  })
}

const der = (pem: string) => new X509Certificate(pem).raw

for (const version of versions) {
  t.test(`the session says who the peer is, ${version}`, async (t) => {
    const { client, server } = connected(t, { version, identity: clientIdentity }, { version, requestCert: true })
    const extendedMasterSecret = version === 'TLSv1.2' ? true : undefined
    const common = { resumed: false, authorized: true, authorizationError: undefined, extendedMasterSecret }
    t.match(client.engine.session(), { ...common, identity: der(serverIdentity.cert) })
    t.match(server.engine.session(), { ...common, identity: der(clientIdentity.cert) })
    t.same(client.engine.session().keys, server.engine.session().keys)
    t.same(client.engine.certificatePolicy, undefined)
    t.same(server.engine.certificatePolicy, { requestCert: true, rejectUnauthorized: true })
  })

  t.test(`a certificate that does not verify is accepted, and its error is that of Node, ${version}`, async (t) => {
    const { client, server } = connected(
      t,
      { version, identity: rogueClient, trusted: null, servername: undefined },
      { version, requestCert: true, trusted: null },
    )
    t.match(client.engine.session(), { authorized: false, authorizationError: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' })
    t.match(server.engine.session(), {
      authorized: false,
      authorizationError: 'DEPTH_ZERO_SELF_SIGNED_CERT',
    })
  })

  t.test(`a server can insist on a certificate, ${version}`, async (t) => {
    const link = connected(t, { version }, { version, requestCert: true })
    t.equal(link.server.error?.code, 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE')
    t.match(link.client.error?.code, /^ERR_SSL_.*ALERT/, 'the client gets an alert')
    const lenient = connected(t, { version }, { version, requestCert: true, rejectUnauthorized: false })
    t.match(lenient.server.engine.session(), { authorized: false, authorizationError: undefined })
  })

  t.test(`a session can be resumed, ${version}`, async (t) => {
    const context = makeContext({ version, identity: serverIdentity })
    const first = connected(t, { version }, { context })
    const session = openssl.SSL_get1_session(first.client.engine.ssl) as bigint
    const { client, server } = connected(t, { version, session }, { context })
    openssl.SSL_SESSION_free(session)
    t.match([client.engine.session().resumed, server.engine.session().resumed], [true, true])
    t.match(client.engine.session(), { authorized: true, identity: der(serverIdentity.cert) })
  })

  t.test(`write() takes nothing while too much waits to be sent, ${version}`, async (t) => {
    const link = connected(t, { version, maxOutputBytes: 10_000 }, { version })
    const { client } = link
    const data = Buffer.alloc(100_000)
    t.equal(client.engine.write(Buffer.alloc(0)), 0)
    t.equal(client.engine.write(data), 65_536)
    t.equal(client.engine.write(data), 'want-write')
    t.equal(client.engine.write(data), 'want-write')
    link.run()
    t.equal(client.engine.write(data), 65_536)
  })

  t.test(`each end closes its own side, ${version}`, async (t) => {
    const link = connected(t, { version }, { version })
    const { client, server } = link
    client.send('last words')
    t.equal(client.engine.outputState, 'open')
    t.equal(client.engine.end(), true)
    t.equal(client.engine.end(), true)
    t.equal(client.engine.outputState, 'ended')
    server.send('an answer')
    link.run()
    t.match([server.text, server.ended, client.text, client.ended], ['last words', true, 'an answer', false])
    t.throws(() => client.engine.write(Buffer.from('x')), { code: 'ERR_SSL_PROTOCOL_IS_SHUTDOWN' })
    t.throws(() => client.engine.write(Buffer.from('x')), { code: 'ERR_SSL_PROTOCOL_IS_SHUTDOWN' }, 'and again')
    server.engine.receive(Buffer.from('ignored'))
    t.equal(server.engine.read(Buffer.alloc(10)), 0)
    t.equal(server.engine.nextRecord, undefined)
  })

  t.test(`the end of the connection is the end of the data, as with Node, ${version}`, async (t) => {
    const { client, server } = connected(t, { version }, { version })
    server.engine.write(Buffer.from('data'))
    const output = Buffer.alloc(1000)
    const length = server.engine.take(output)
    client.reads = false
    client.engine.receive(output.subarray(0, length))
    // A part of a record.
    client.engine.receive(Buffer.from([23, 3, 3]))
    client.engine.endInput()
    t.equal(client.engine.nextRecord, 'data')
    client.reads = true
    client.pump()
    t.match([client.text, client.ended, client.error], ['data', true, undefined])
    t.equal(client.engine.nextRecord, undefined)
    client.engine.closeOutput()
    t.throws(() => client.engine.write(output), { code: 'EPIPE' })
  })

  t.test(`a small read leaves the rest of the record, ${version}`, async (t) => {
    const { client, server } = connected(t, { version }, { version })
    server.engine.write(Buffer.from('abcdef'))
    server.engine.renegotiate()
    server.engine.onReady = null
    const output = Buffer.alloc(1000)
    client.reads = false
    client.engine.receive(output.subarray(0, server.engine.take(output)))
    const into = Buffer.alloc(4)
    t.equal(client.engine.nextRecord, 'data')
    t.equal(client.engine.read(into), 4)
    t.equal(client.engine.nextRecord, 'data')
    client.engine.renegotiate()
    t.equal(client.engine.read(into), 2)
    t.equal(client.engine.read(into), 'want-read')
    t.throws(() => client.engine.read(Buffer.alloc(0)), RangeError)
  })

  t.test(`destroy() from inside a callback of OpenSSL waits for its end, ${version}`, async (t) => {
    const context = makeContext({ version, identity: serverIdentity })
    let server: OpenSSLEngine | undefined
    const run = () => {
      server?.destroy()
      return 1
    }
    const destroy = openssl.callback(callbacks.cert, run, () => t.fail())
    openssl.SSL_CTX_set_cert_cb(context, destroy, null)
    server = serverEngine({ context })
    const link = new MemoryLink(clientEngine({ version }), server)
    link.run()
    t.equal(link.server.error?.code, 'ERR_STREAM_DESTROYED')
    link.client.engine.destroy()
  })

  t.test(`a handshake that a callback has stopped goes on, ${version}`, async (t) => {
    const context = makeContext({ version, identity: serverIdentity })
    let answer = -1
    const wait = openssl.callback(
      callbacks.cert,
      () => answer,
      () => t.fail(),
    )
    openssl.SSL_CTX_set_cert_cb(context, wait, null)
    const { client, server } = connected(t, { version }, { context })
    t.match([client.engine.handshaking, server.engine.handshaking], [true, true])
    answer = 1
    server.engine.proceed()
    server.engine.proceed()
    await server.until(() => server.engine.take(Buffer.alloc(1)) === 1)
    t.equal(server.error, undefined)
  })
}
