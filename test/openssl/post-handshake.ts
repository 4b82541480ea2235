import t, { type Test } from 'tap'
import { SSL_KEY_UPDATE_NOT_REQUESTED, SSL_KEY_UPDATE_REQUESTED } from '../../src/openssl/constants.ts'
import { sslCallbacks } from '../../src/openssl/ssl-callbacks.ts'
import {
  clientEngine,
  clientIdentity,
  connected as connectedOver,
  type EndOptions,
  type MemoryLink,
  openssl,
} from '../fixtures/engine-end.ts'

/** A KeyUpdate as a record: header, message, content type and tag. */
const KEY_UPDATE_BYTES = 5 + 5 + 1 + 16

function connected(t: Test, client: EndOptions = {}, server: EndOptions = {}): MemoryLink {
  const version = 'TLSv1.3'
  const link = connectedOver(t, { version, ...client }, { version, ...server })
  t.match([link.client.error, link.server.error], [undefined, undefined])
  return link
}

/** Takes all output of an end, cut into records. */
function records(end: MemoryLink['client']): Buffer[] {
  const into = Buffer.alloc(100_000)
  let rest = into.subarray(0, end.engine.take(into))
  const result: Buffer[] = []
  for (; rest.length > 0; rest = rest.subarray(5 + rest.readUInt16BE(3))) {
    result.push(rest.subarray(0, 5 + rest.readUInt16BE(3)))
  }
  return result
}

t.test('there are no counts before the first handshake', async (t) => {
  const engine = clientEngine({ version: 'TLSv1.3' })
  t.equal(engine.keyUpdates, undefined)
  t.equal(engine.authentications, undefined)
  t.same(engine.session(), {})
  engine.destroy()
})

for (const origin of ['client', 'server'] as const) {
  t.test(`an idle peer answers a key update of the ${origin} at once, with one message`, async (t) => {
    const link = connected(t)
    const { [origin]: near, [origin === 'client' ? 'server' : 'client']: far } = link
    const before = { ...link.carried }
    for (let i = 1; i <= 3; i++) {
      near.engine.renegotiate()
      t.match(near.engine.keyUpdates, { sent: i, answered: i - 1, byPeer: 0 })
      t.equal(near.engine.handshaking, false)
      link.run()
      t.match(near.engine.keyUpdates, { sent: i, answered: i, byPeer: 0 })
      t.match(far.engine.keyUpdates, { sent: 0, answered: 0, byPeer: i })
      t.equal(link.carried.client - before.client, i * KEY_UPDATE_BYTES)
      t.equal(link.carried.server - before.server, i * KEY_UPDATE_BYTES)
    }
    near.send('to and')
    far.send('fro')
    link.run()
    t.match([near.text, far.text], ['fro', 'to and'])
  })
}

t.test('requests of both ends that cross are both answered', async (t) => {
  const link = connected(t)
  link.client.engine.renegotiate()
  link.server.engine.renegotiate()
  link.run()
  t.match(link.client.engine.keyUpdates, { sent: 1, answered: 1, byPeer: 1 })
  t.match(link.server.engine.keyUpdates, { sent: 1, answered: 1, byPeer: 1 })
})

t.test('one answer serves all requests before it, and further answers count for nothing', async (t) => {
  const link = connected(t)
  const { client, server } = link
  server.reads = false
  for (let i = 0; i < 3; i++) client.engine.renegotiate()
  link.run()
  // OpenSSL alone would answer only the first ones, when it reads the next.
  server.reads = true
  link.run()
  t.match(client.engine.keyUpdates, { sent: 3, answered: 3, byPeer: 0 })
  t.equal(server.engine.keyUpdates?.byPeer, 3)
})

t.test('a flood of requests costs bounded memory while the peer receives nothing', async (t) => {
  const { client, server } = connected(t)
  let blocked = 0
  for (let i = 0; i < 20_000; i++) {
    client.engine.renegotiate()
    for (const record of records(client)) server.engine.receive(record)
    blocked = server.engine.inputBytes > 0 ? blocked + 1 : 0
    // As the wire does: it stops receiving.
    if (blocked > 0) break
  }
  t.equal(server.engine.read(Buffer.alloc(100)), 'want-write')
  let output = 0
  for (let taken = -1; taken !== 0; output += taken) taken = server.engine.take(Buffer.alloc(10_000))
  t.ok(output <= 65_536 + 66_560 + 2 * KEY_UPDATE_BYTES, `${output} bytes`)
  t.equal(server.error, undefined)
})

t.test('an answer waits until there is room for it, and then comes before data', async (t) => {
  const { client, server } = connected(t, {}, { maxOutputBytes: 0 })
  server.send('x')
  client.engine.renegotiate()
  for (const record of records(client)) server.engine.receive(record)
  t.equal(server.engine.keyUpdates?.byPeer, 1)
  t.equal(server.engine.write(Buffer.from('y')), 'want-write')
  t.equal(records(server).length, 1, 'the data')
  t.match(
    records(server).map(({ length }) => length),
    [KEY_UPDATE_BYTES],
    'then the answer',
  )
})

t.test('an answer that OpenSSL has sent by itself is not sent again', async (t) => {
  const { client, server } = connected(t, {}, { maxOutputBytes: 0 })
  server.send('x')
  client.engine.renegotiate()
  // A KeyUpdate that requests nothing: OpenSSL sends what it owes before it reads that.
  openssl.SSL_key_update(client.engine.ssl, SSL_KEY_UPDATE_NOT_REQUESTED)
  openssl.SSL_do_handshake(client.engine.ssl)
  for (const record of records(client)) server.engine.receive(record)
  t.match(server.engine.keyUpdates, { byPeer: 2 })
  t.equal(records(server).length, 2, 'the data and one answer')
  t.equal(records(server).length, 0)
})

t.test('a request of the peer in place of an answer is both', async (t) => {
  const { client, server } = connected(t, {}, { maxOutputBytes: 0 })
  server.send('x')
  client.engine.renegotiate()
  for (const record of records(client)) server.engine.receive(record)
  t.match(server.engine.keyUpdates, { byPeer: 1 })
  // As an application of OpenSSL does that knows nothing of what it owes.
  openssl.SSL_key_update(server.engine.ssl, SSL_KEY_UPDATE_REQUESTED)
  openssl.SSL_do_handshake(server.engine.ssl)
  const sent = records(server)
  t.equal(sent.length, 2, 'the data, and one message')
  for (const record of sent) client.engine.receive(record)
  t.match(client.engine.keyUpdates, { sent: 1, answered: 1, byPeer: 1 })
  // Lets the engine count its output again, which the calls above went around.
  server.engine.end()
})

t.test('nothing is answered after the end', async (t) => {
  const link = connected(t)
  link.server.engine.end()
  const closeNotify = records(link.server)
  t.equal(closeNotify.length, 1)
  link.client.engine.renegotiate()
  link.run()
  t.match(link.server.engine.keyUpdates, { byPeer: 1 })
  t.equal(records(link.server).length, 0)
})

t.test('a server requests a certificate after the handshake', async (t) => {
  const link = connected(t, { identity: clientIdentity, offersAuthentication: true })
  const { client, server } = link
  t.match(server.engine.session(), { authorized: false, identity: undefined })
  for (let i = 1; i <= 2; i++) {
    server.engine.renegotiate({ requestCert: true })
    t.match(server.engine.authentications, { sent: i, answered: i - 1, byPeer: 0 })
    link.run()
    t.match(server.engine.authentications, { sent: i, answered: i, byPeer: 0 })
    t.match(client.engine.authentications, { sent: 0, answered: 0, byPeer: i })
  }
  t.match(server.engine.keyUpdates, { sent: 0, answered: 0, byPeer: 0 })
  t.match(client.engine.keyUpdates, { sent: 0, answered: 0, byPeer: 0 }, 'tickets are no key updates')
  const { authorized, identity } = server.engine.session()
  t.equal(authorized, true)
  t.ok(identity)
  t.equal(client.engine.handshaking, false)
})

t.test('a client without a certificate answers, too', async (t) => {
  const link = connected(t, { offersAuthentication: true })
  link.server.engine.renegotiate({ requestCert: true })
  link.run()
  t.match(link.server.engine.authentications, { sent: 1, answered: 1 })
  t.match(link.server.engine.session(), { authorized: false, identity: undefined })
})

t.test('a client that has not offered it is told from one that does not answer', async (t) => {
  const link = connected(t)
  t.throws(() => link.server.engine.renegotiate({ requestCert: true }), {
    code: 'ERR_RENEGOTIATION_UNSUPPORTED',
    message: 'The client did not offer post-handshake authentication',
    cause: { code: 'ERR_SSL_EXTENSION_NOT_RECEIVED' },
  })
  t.match(link.server.engine.authentications, { sent: 0 })
  link.server.send('goes on')
  link.client.engine.renegotiate({ requestCert: true })
  link.run()
  t.equal(link.client.text, 'goes on')
  t.match(link.client.engine.keyUpdates, { answered: 1 }, 'a client does not request certificates')
})

t.test('a second request before the answer fails, and the connection goes on', async (t) => {
  const link = connected(t, { offersAuthentication: true })
  link.server.engine.renegotiate({ requestCert: true })
  t.throws(() => link.server.engine.renegotiate({ requestCert: true }), { code: 'ERR_SSL_REQUEST_SENT' })
  link.run()
  t.match(link.server.engine.authentications, { sent: 1, answered: 1 })
})

t.test('while the client authenticates itself, writes, end and key updates wait', async (t) => {
  const link = connected(t, { identity: clientIdentity, offersAuthentication: true })
  const { client, server } = link
  client.engine.renegotiate()
  const [request] = records(client)
  server.engine.renegotiate({ requestCert: true })
  link.carry('server')
  const [certificate, verify, finished] = records(client)
  const data = Buffer.from('data')
  server.engine.receive(request as Buffer)
  for (const record of [certificate, verify]) {
    server.engine.receive(record as Buffer)
    t.equal(server.engine.write(data), 'want-read')
    t.equal(server.engine.end(), 'want-read')
    server.engine.renegotiate()
    t.match(server.engine.keyUpdates, { sent: 0, byPeer: 1 })
  }
  server.engine.receive(finished as Buffer)
  t.match(server.engine.authentications, { answered: 1 })
  t.match(server.engine.keyUpdates, { sent: 1 }, 'the request that waited')
  t.equal(server.engine.write(data), data.length)
  link.run()
  t.equal(client.text, 'data')
  t.match(server.engine.keyUpdates, { sent: 1, answered: 1 })
})

t.test('an exception in a listener does not get into OpenSSL', async (t) => {
  const link = connected(t)
  const warned = new Promise((resolve) => process.once('warning', resolve))
  sslCallbacks(openssl).listeners.set(link.client.engine.ssl, {
    message() {
      throw new Error('from a listener')
    },
  })
  link.server.engine.renegotiate()
  link.run()
  t.match(await warned, { message: 'from a listener' })
  t.equal(link.client.error, undefined)
})
