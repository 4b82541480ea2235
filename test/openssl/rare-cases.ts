/* Branches over OpenSSL that no other test reaches. */
import { once } from 'node:events'
import net from 'node:net'
import { Duplex } from 'node:stream'
import t from 'tap'
import { RenegotiationDuplex } from '../../src/index.ts'
import { encodeProtocols } from '../../src/openssl/alpn.ts'
import { createSecureContext as ownContext } from '../../src/openssl/context.ts'
import { connect } from '../../src/openssl/index.ts'
import { negotiate, reportSessions } from '../../src/openssl/ssl-events.ts'
import { engineTransport } from '../../src/transports/engine.ts'
import { clientEngine, MemoryLink, openssl, serverEngine } from '../fixtures/engine-end.ts'
import { clientAndServer, openSSLServer } from '../fixtures/openssl-pair.ts'
import { ca, server as identity } from '../fixtures/pki.ts'
import { closed } from '../fixtures/settled.ts'

t.test('a context that asks somebody for each connection serves those that nobody listens to', async (t) => {
  const context = ownContext(openssl, identity)
  negotiate(openssl, context.pointer)
  const own = ownContext(openssl, { ca })
  reportSessions(openssl, own.pointer)
  const client = clientEngine({ context: own.pointer })
  const protocols = encodeProtocols(['x']) as Buffer
  openssl.SSL_set_alpn_protos(client.ssl, protocols, protocols.length)
  const link = new MemoryLink(client, serverEngine({ context: context.pointer }))
  link.run()
  t.equal(link.client.engine.handshaking, false)
  // An error that somebody has left behind is not one of the connection.
  openssl.SSL_CTX_set_cipher_list(own.pointer, 'nonsense')
  t.equal(client.write(Buffer.from('abc')), 3)
  for (const end of [client, link.server.engine]) end.destroy()
  context.free()
  own.free()
})

t.test('an option that is found to be bad late leaves a socket of the caller alone', async (t) => {
  const socket = new Duplex({ read() {}, write() {} })
  for (const options of [{ socket }, { port: 1 }]) {
    t.throws(() => connect({ ca, session: 5 as never, ...options }), { code: 'ERR_INVALID_ARG_TYPE' })
  }
  t.equal(socket.destroyed, false)
})

t.test('a session that cannot be decoded is ignored', async (t) => {
  const session = Buffer.from('nonsense')
  for (const rejectUnauthorized of [false, true]) {
    const { client } = await clientAndServer(t, 'TLSv1.3', { client: { session, rejectUnauthorized } })
    t.equal(client.isSessionReused(), false)
  }
})

t.test('on a server, a session is not bound to a name, and setSession() has no effect', async (t) => {
  const { server } = await clientAndServer(t, 'TLSv1.3')
  // Not in the types of Node.
  ;(server as unknown as { setSession(session: Buffer): void }).setSession(server.getSession() as Buffer)
  t.ok(server.getSession())
})

t.test('a stream that is destroyed has no keys to export', async (t) => {
  const { client } = await clientAndServer(t, 'TLSv1.3')
  client.destroy()
  await closed(client)
  t.throws(() => client.exportKeyingMaterial(10, 'label', Buffer.alloc(0)), { code: 'ERR_TLS_INVALID_STATE' })
})

t.test('over a Duplex that is no socket, there are no addresses', async (t) => {
  const socket = new Duplex({ read() {}, write() {} })
  Object.assign(socket, { getTypeOfService: () => 4 })
  const stream = connect({ socket, ca })
  t.same(stream.address(), {})
  t.strictSame([stream.connecting, stream.pending, stream.remotePort], [false, false, undefined])
  t.equal((stream as unknown as { getTypeOfService?(): number }).getTypeOfService?.(), 4)
  stream.destroy()
})

t.test('a server whose client has resumed a session of TLS 1.2 may not know the server name', async (t) => {
  const listening = await openSSLServer(t, { maxVersion: 'TLSv1.2' })
  const dial = async (session?: Buffer) => {
    const accepted = once(listening, 'secureConnection')
    const stream = connect({ port: listening.port, ca, servername: 'localhost', ...(session && { session }) })
    stream.on('error', () => {})
    const fresh = session === undefined ? once(stream, 'session') : undefined
    const [server] = await accepted
    server.on('error', () => {}).resume()
    return { stream: stream.resume(), server, session: (await fresh)?.[0] as Buffer }
  }
  const first = await dial()
  first.stream.destroy()
  const second = await dial(first.session)
  t.equal(second.stream.isSessionReused(), true)
  t.match(await second.server.renegotiate(), { kind: 'renegotiation', verified: true })
  second.stream.destroy()
})

t.test('a server has ticket keys, and reports a client that leaves before its handshake', async (t) => {
  const listening = await openSSLServer(t)
  const keys = listening.getTicketKeys()
  listening.setTicketKeys(keys)
  t.same(listening.getTicketKeys(), keys)
  const failed = once(listening, 'tlsClientError')
  net.connect(listening.port, '127.0.0.1').end()
  t.match(await failed, [{ code: 'ECONNRESET' }])
})

t.test("an engine's limit of records is that of the stream", async (t) => {
  const engine = Object.assign(clientEngine(), {})
  Object.defineProperty(engine, 'keyUpdates', { get: () => ({ sent: 0, answered: 0, byPeer: 0 }) })
  Object.defineProperty(engine, 'recordLimit', { get: () => 7 })
  const transport = engineTransport(engine)
  t.equal(transport.recordLimit, 7)
  new RenegotiationDuplex(transport, { rekey: 'auto' }).destroy()
})

t.test('a server reports a connection that the application itself destroys before its handshake', async (t) => {
  const listening = await openSSLServer(t)
  const failed = once(listening, 'tlsClientError')
  const stream = once(listening, 'connection').then(([below]) => below.destroy())
  const client = net.connect(listening.port, '127.0.0.1').on('error', () => {})
  t.match(await failed, [{ code: 'ECONNRESET', message: 'socket hang up' }])
  await stream
  client.destroy()
})

t.test('what the application has not read when the socket below closes can still be read', async (t) => {
  const { client, server } = await clientAndServer(t, 'TLSv1.3', { client: { highWaterMark: 1024 } })
  const below = (client.socket as unknown as { below: net.Socket }).below
  server.resume().end(Buffer.alloc(50_000))
  client.end()
  await once(below, 'close')
  t.equal(client.closed, false)
  let bytes = 0
  client.on('data', (chunk: Buffer) => {
    bytes += chunk.length
  })
  await once(client, 'close')
  t.equal(bytes, 50_000)
})

t.test('an SNICallback that throws ends the connection, not the process', async (t) => {
  const mine = new Error('mine')
  const listening = await openSSLServer(t, {
    SNICallback: () => {
      throw mine
    },
  })
  const failed = once(listening, 'tlsClientError')
  const client = connect({ port: listening.port, ca, servername: 'localhost' })
  client.on('error', () => {})
  t.equal((await failed)[0], mine)
  await closed(client)
})
