import { once } from 'node:events'
import tls from 'node:tls'
import t from 'tap'
import { RenegotiationDuplex, tlsTransport } from '../../src/index.ts'
import { closed, nextError } from '../fixtures/settled.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'

t.test("the default peerLimit is Node's current CLIENT_RENEG_LIMIT on a server, and none on a client", async (t) => {
  const { client, server } = await tlsPair(t)
  const setting = tls as { CLIENT_RENEG_LIMIT: number }
  t.teardown(() => {
    setting.CLIENT_RENEG_LIMIT = 3
  })
  const transport = tlsTransport(server)
  t.same(transport.peerLimit, { max: 3, windowMs: 600_000 })
  setting.CLIENT_RENEG_LIMIT = 0
  t.same(transport.peerLimit, { max: 0, windowMs: 600_000 })
  t.equal(tlsTransport(client).peerLimit, false)
})

t.test("an error of a handshake is classified by OpenSSL's reason, in the code or in the message", async (t) => {
  const { client } = await tlsPair(t)
  const transport = tlsTransport(client)
  const failure = (code: string, message: string) => transport.failure?.(Object.assign(new Error(message), { code }))
  t.equal(failure('ERR_SSL_NO_RENEGOTIATION', ''), 'refused')
  t.equal(failure('ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', ''), 'refused')
  t.equal(failure('ERR_SSL_UNSAFE_LEGACY_RENEGOTIATION_DISABLED', ''), 'insecure')
  t.equal(failure('ERR_SSL_UNEXPECTED_RECORD', ''), 'peer-data')
  t.equal(failure('EPROTO', 'write EPROTO 0:error:SSL routines:ssl3_read_bytes:unexpected record:'), 'peer-data')
  t.equal(failure('ERR_SSL_APP_DATA_IN_HANDSHAKE', ''), 'peer-data')
  t.equal(failure('ERR_SSL_SSL/TLS_ALERT_UNEXPECTED_MESSAGE', ''), 'unexpected-message')
  t.equal(failure('ECONNRESET', 'read ECONNRESET'), undefined)
})

t.test('session() returns keys, identity and authorization of the session', async (t) => {
  const pair = await tlsPair(t, {
    server: { requestCert: true },
    client: { rejectUnauthorized: false, checkServerIdentity: () => new Error('who are you?') },
  })
  t.match(tlsTransport(pair.client).session(), {
    keys: Buffer,
    identity: Buffer,
    resumed: false,
    authorized: false,
    authorizationError: 'who are you?',
  })
  const server = tlsTransport(pair.server).session()
  t.match(server, { keys: Buffer, identity: Buffer, authorized: true, authorizationError: undefined })

  const without = await tlsPair(t)
  t.match(tlsTransport(without.client).session(), { authorized: true, authorizationError: undefined })
  t.match(tlsTransport(without.server).session(), { identity: undefined, authorized: undefined })
})

t.test('a timeout that Node sets to 0 in a renegotiation is restored', async (t) => {
  const pair = await tlsPair(t)
  pair.client.resume()
  // Simulates a Node whose private options have another name, so that they cannot be set.
  const own = pair.server as unknown as { _tlsOptions: object | undefined }
  const { _tlsOptions: options } = own
  own._tlsOptions = undefined
  const stream = new RenegotiationDuplex(tlsTransport(pair.server))
  own._tlsOptions = options
  for (const timeout of [60_000, 0]) {
    pair.server.setTimeout(timeout)
    await stream.renegotiate()
    t.equal(pair.server.timeout, timeout)
  }
})

t.test('a destroyed socket has an empty session, and does not call back its pending writes', async (t) => {
  for (const how of ['write', 'writev'] as const) {
    const { client } = await tlsPair(t)
    const transport = tlsTransport(client)
    const done = t.captureFn(() => {})
    if (how === 'write') transport.write(Buffer.from('a'), done)
    else transport.writev?.([Buffer.from('b'), Buffer.from('c')], done)
    client.destroy()
    t.same(transport.session(), {})
    await closed(client)
    await new Promise(setImmediate)
    t.same(done.calls, [])
  }
})

t.test('a destroyed socket does not call back a pending end', async (t) => {
  const { client, server } = await tlsPair(t)
  server.pause()
  const transport = tlsTransport(client)
  const done = t.captureFn(() => {})
  transport.write(Buffer.alloc(64 * 1024 * 1024), done)
  transport.end(done)
  client.destroy()
  await closed(client)
  await new Promise(setImmediate)
  t.same(done.calls, [])
})

t.test("if Node destroys a client for the peer's certificate after a handshake, its error is emitted", async (t) => {
  let trusted = true
  const pair = await tlsPair(t, {
    server: { sessionTimeout: 1 },
    client: { checkServerIdentity: () => (trusted ? undefined : new Error('not you')) },
  })
  pair.server.on('error', () => {}).resume()
  const stream = new RenegotiationDuplex(tlsTransport(pair.client))
  stream.resume()
  trusted = false
  const error = nextError(stream)
  const renegotiation = stream.renegotiate()
  t.match(await error, { message: 'not you' })
  await t.rejects(renegotiation, { code: 'ERR_RENEGOTIATION_CLOSED', cause: { message: 'not you' } })
  await closed(stream)
})

t.test('several buffers are written in one call and as one record', async (t) => {
  const { client, server } = await tlsPair(t)
  const stream = new RenegotiationDuplex(tlsTransport(client))
  stream.cork()
  const written = ['a', 'b', 'c'].map((chunk) => new Promise((resolve) => stream.write(chunk, resolve)))
  stream.uncork()
  t.equal(stream.bytesInFlight, 3)
  t.equal(stream.heldBytes, 0)
  t.equal(String((await once(server, 'data'))[0]), 'abc', 'all in one record')
  await Promise.all(written)
})

t.test('on HTTP/2, setNoDelay() is called, because http2 cannot call it through a stream', async (t) => {
  for (const [protocol, times] of [
    ['h2', 1],
    ['http/1.1', 0],
  ] as const) {
    const { client } = await tlsPair(t, {
      server: { ALPNProtocols: [protocol] },
      client: { ALPNProtocols: [protocol] },
    })
    const set = t.capture(client, 'setNoDelay', client.setNoDelay)
    new RenegotiationDuplex(tlsTransport(client))
    t.equal(set().length, times, protocol)
  }
})
