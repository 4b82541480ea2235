import { EventEmitter, once } from 'node:events'
import net from 'node:net'
import { Duplex, PassThrough } from 'node:stream'
import tls from 'node:tls'
import sinon from 'sinon'
import t, { type Test } from 'tap'
import type { RenegotiationTLSSocket } from '../../src/index.ts'
import type { OpenSSL } from '../../src/openssl/binding.ts'
import { createSecureContext as contextBy } from '../../src/openssl/context.ts'
import { createSecureContext, createServer, type OpenSSLServerOptions } from '../../src/openssl/index.ts'
import { loadOpenSSL } from '../../src/openssl/library.ts'
import { clientOf, connected, openSSLServer, versions } from '../fixtures/openssl-pair.ts'
import { client as clientPki, otherServer, rogueClient, server as serverPki } from '../fixtures/pki.ts'
import { closed, nextError } from '../fixtures/settled.ts'

/** Resolves with the error and the stream of the next `tlsClientError`. */
async function refused(server: tls.Server): Promise<[NodeJS.ErrnoException, RenegotiationTLSSocket]> {
  return (await once(server, 'tlsClientError')) as [NodeJS.ErrnoException, RenegotiationTLSSocket]
}

function raw(t: Test, port: number): net.Socket {
  const socket = net.connect(port, '127.0.0.1').on('error', () => {})
  t.teardown(() => socket.destroy())
  return socket
}

t.test('createServer() takes the arguments of tls.createServer()', async (t) => {
  const listener = t.captureFn((_stream: RenegotiationTLSSocket) => {})
  t.equal(createServer(listener).listenerCount('secureConnection'), 1)
  t.equal(createServer().listenerCount('secureConnection'), 0)
  t.equal(createServer(null as never).listenerCount('secureConnection'), 0)
  const server = createServer({ ...serverPki, renegotiation: { readableHighWaterMark: 9 } }, listener)
  t.ok(server instanceof tls.Server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  connected(t, (server.address() as net.AddressInfo).port)
  const [stream] = (await once(server, 'secureConnection')) as [RenegotiationTLSSocket]
  t.equal(listener.args()[0]?.[0], stream)
  t.match(stream, { readableHighWaterMark: 9, server })
  stream.destroy()
})

t.test('bad options and unsupported events throw, and name what is wrong', (t) => {
  const bad: [object, RegExp][] = [
    [{ pauseOnConnect: true }, /pauseOnConnect/],
    [{ pskCallback: () => null }, /pskCallback/],
    [{ enableTrace: true }, /enableTrace/],
    [{ secureContext: tls.createSecureContext() }, /secureContext/],
    [{ renegotiation: { drainTimeout: 'x' } }, /drainTimeout/],
    [{ ALPNProtocols: ['a'], ALPNCallback: () => 'a' }, /ALPNCallback/],
    [{ ALPNProtocols: 5 }, /ALPNProtocols/],
    [{ handshakeTimeout: 'x' }, /handshakeTimeout/],
    [{ openssl: { path: '/no/such/libssl.so' } }, /openssl|OpenSSL/],
  ]
  for (const [options, message] of bad) t.throws(() => createServer(options as OpenSSLServerOptions), { message })
  for (const event of ['newSession', 'resumeSession', 'OCSPRequest']) {
    t.throws(() => createServer().on(event, () => {}), { code: 'ERR_INVALID_ARG_VALUE', message: new RegExp(event) })
  }
  t.end()
})

t.test('tlsClientError tells why a handshake failed, once, with the stream that has closed', async (t) => {
  const server = await openSSLServer(t, { requestCert: true })
  server.on('secureConnection', () => t.fail('there is no connection'))
  const ways: [string, () => unknown, object][] = [
    ['garbage', () => raw(t, server.port).write('GET / HTTP/1.1\r\n\r\n'), { code: /^ERR_SSL_/ }],
    ['an end', () => raw(t, server.port).end(), { code: 'ECONNRESET' }],
    [
      'a reset',
      () =>
        raw(t, server.port).on('connect', function (this: net.Socket) {
          this.resetAndDestroy()
        }),
      { code: 'ECONNRESET' },
    ],
    ['a part of a record', () => raw(t, server.port).end(Buffer.from([22, 3, 1, 0, 200, 1])), { code: 'ECONNRESET' }],
    ['no certificate', () => connected(t, server.port).on('error', () => {}), { code: /PEER_DID_NOT_RETURN/ }],
    ['a wrong certificate', () => connected(t, server.port, rogueClient).on('error', () => {}), { code: 'ECONNRESET' }],
    [
      'an old version',
      () =>
        tls
          .connect({ ...clientOf(server.port), maxVersion: 'TLSv1.1', minVersion: 'TLSv1.1' } as tls.ConnectionOptions)
          .on('error', () => {}),
      { code: /^ERR_SSL_/ },
    ],
  ]
  for (const [what, connect, expected] of ways) {
    const heard = refused(server)
    connect()
    const [error, stream] = await heard
    t.match(error, expected, what)
    t.ok(stream instanceof tls.TLSSocket, what)
    await closed(stream)
  }
  t.equal(await new Promise((resolve) => server.getConnections((_error, count) => resolve(count))), 0)
})

t.test('a handshake that takes longer than handshakeTimeout fails', async (t) => {
  for (const handshakeTimeout of [5_000, undefined]) {
    const server = await openSSLServer(t, { handshakeTimeout })
    const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    t.teardown(() => clock.restore())
    const [heard, accepted] = [refused(server), once(server, 'connection')]
    raw(t, server.port)
    await accepted
    clock.tick((handshakeTimeout ?? 120_000) - 1)
    t.equal(clock.countTimers(), 1)
    clock.tick(1)
    const [error, stream] = await heard
    t.match(error, { code: 'ERR_TLS_HANDSHAKE_TIMEOUT' })
    await closed(stream)
    t.equal(clock.countTimers(), 0)
    clock.restore()
  }
})

t.test('an ALPNCallback that throws refuses the client with that error', async (t) => {
  const mine = new Error('mine')
  const server = await openSSLServer(t, {
    ALPNCallback() {
      throw mine
    },
  })
  const client = connected(t, server.port, { ALPNProtocols: ['a'] })
  const failed = nextError(client)
  const [error] = await refused(server)
  t.equal(error, mine)
  await failed
})

t.test('an SNICallback that calls back twice, or passes a context of node:tls, ends the connection', async (t) => {
  const answers: Record<string, (done: (error: null, context?: never) => void) => void> = {
    twice(done) {
      done(null)
      done(null)
    },
    'twice.later'(done) {
      setImmediate(done, null)
      setImmediate(done, null)
    },
    foreign: (done) => done(null, tls.createSecureContext() as never),
  }
  const server = await openSSLServer(t, { SNICallback: (name, done) => answers[name]?.(done as never) })
  for (const [servername, code] of [
    ['twice', 'ERR_MULTIPLE_CALLBACK'],
    ['twice.later', 'ERR_MULTIPLE_CALLBACK'],
    ['foreign', 'ERR_INVALID_ARG_VALUE'],
  ]) {
    const client = connected(t, server.port, { servername: servername as string }).on('error', () => {})
    const [error] = await refused(server)
    t.match(error, { code })
    await closed(client)
  }
})

t.test('an SNICallback that answers after the connection has closed changes nothing', async (t) => {
  const asked = new EventEmitter()
  const server = await openSSLServer(t, { SNICallback: (_name, done) => asked.emit('asked', done) })
  const heard = once(asked, 'asked')
  const client = connected(t, server.port)
  const [answer] = await heard
  client.destroy()
  const [error, stream] = await refused(server)
  t.match(error, { code: 'ECONNRESET' })
  await closed(stream)
  answer(null)
  t.doesNotThrow(() => answer(new Error('late')))
})

t.test('an SNICallback may throw anything', async (t) => {
  for (const thrown of [new Error('mine'), undefined, 'mine']) {
    const server = await openSSLServer(t, {
      SNICallback() {
        throw thrown
      },
    })
    const client = connected(t, server.port).on('error', () => {})
    const [error] = await refused(server)
    t.match(error, { message: thrown instanceof Error ? 'mine' : `SNICallback has thrown ${thrown}` })
    await closed(client)
  }
})

t.test('a listener for keylog may come late, and after the end', async (t) => {
  const server = await openSSLServer(t, { maxVersion: 'TLSv1.2' })
  server.addContext('localhost', createSecureContext({ ...otherServer, maxVersion: 'TLSv1.2' }))
  const client = connected(t, server.port)
  client.resume()
  const [stream] = (await once(server, 'secureConnection')) as [RenegotiationTLSSocket]
  const lines: Buffer[] = []
  stream.resume().on('keylog', (line) => lines.push(line))
  await stream.renegotiate()
  t.match(String(lines[0]), /^CLIENT_RANDOM /)
  client.destroy()
  stream.destroy()
  for (const end of [client, stream]) {
    await closed(end)
    t.doesNotThrow(() => end.on('keylog', () => {}))
  }
})

for (const version of versions) {
  t.test(`a server listens to keylog, also with a context that is chosen by name, ${version}`, async (t) => {
    const server = await openSSLServer(t, { maxVersion: version })
    server.addContext('localhost', createSecureContext({ ...otherServer, maxVersion: version }))
    const lines: string[] = []
    server.on('keylog', (line, stream) => {
      if (stream instanceof tls.TLSSocket) lines.push(String(line))
    })
    const client = connected(t, server.port)
    await once(client, 'secureConnect')
    t.ok(lines.length > 0)
    t.match(lines[0], /^[A-Z_]+ [\da-f]+ [\da-f]+\n$/)
  })

  t.test(`a session is resumed, also with the ticket keys of another server, ${version}`, async (t) => {
    const ticketKeys = Buffer.alloc(48, 5)
    const sessions: Buffer[] = []
    for (const [index, resumed] of [false, true, false].entries()) {
      const server = await openSSLServer(t, { maxVersion: version, ticketKeys, sessionIdContext: 'x' })
      if (index === 2) server.setTicketKeys(Buffer.alloc(48, 6))
      server.on('secureConnection', (stream) => stream.end('x'))
      const client = connected(t, server.port, { session: sessions[0] as Buffer })
      client.on('session', (session) => sessions.push(session))
      await once(client.resume(), 'secureConnect')
      t.equal(client.isSessionReused(), resumed)
      t.equal(client.authorized, true)
      await closed(client)
    }
  })
}

t.test('setKeyCert() gives a connection another certificate in a renegotiation', async (t) => {
  const server = await openSSLServer(t, { maxVersion: 'TLSv1.2' })
  const client = connected(t, server.port, { renegotiation: { allowIdentityChange: true } }).resume()
  const [[stream]] = await Promise.all([once(server, 'secureConnection'), once(client, 'secureConnect')])
  for (const context of [otherServer, createSecureContext(serverPki)]) {
    const before = client.getPeerX509Certificate()?.serialNumber
    stream.resume().setKeyCert(context)
    const renegotiated = once(client, 'renegotiated')
    await stream.renegotiate({ requestCert: true, rejectUnauthorized: false })
    await renegotiated
    t.not(client.getPeerX509Certificate()?.serialNumber, before)
  }
})

t.test('a context that OpenSSL does not take is an error of setKeyCert(), with the reason of OpenSSL', async (t) => {
  const server = await openSSLServer(t)
  connected(t, server.port)
  const [stream] = (await once(server, 'secureConnection')) as [RenegotiationTLSSocket]
  const socket = stream.socket as unknown as { openssl: OpenSSL }
  const { openssl } = socket
  // No context can make OpenSSL itself fail here.
  const SSL_set_SSL_CTX = () => {
    openssl.SSL_CTX_new(null)
    return null
  }
  Object.assign(socket, { openssl: { ...openssl, SSL_set_SSL_CTX } })
  t.throws(() => stream.setKeyCert(otherServer), { code: 'ERR_SSL_NULL_SSL_METHOD_PASSED' })
  t.equal(openssl.ERR_peek_error(), 0, 'no error is left in the queue')
})

t.test('a secure context of another OpenSSL is refused, because OpenSSL would crash with it', async (t) => {
  const context = contextBy({ ...loadOpenSSL() }, otherServer)
  const expected = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE', message: /same OpenSSL/ }
  t.throws(() => connected(t, 1, { secureContext: context }), expected)
  const server = await openSSLServer(t, { SNICallback: (_name, done) => done(null, context) })
  const failed = refused(server)
  const client = connected(t, server.port).on('error', () => {})
  t.match((await failed)[0], expected)
  await closed(client)
  context.free()
})

for (const [when, answer] of [
  ['at once', (done: () => void) => done()],
  ['later', setImmediate],
] as const) {
  t.test(`a context that cannot be used fails the handshake, not the SNICallback that passes it ${when}`, async (t) => {
    const context = createSecureContext(otherServer)
    context.free()
    const server = await openSSLServer(t, {
      ALPNProtocols: ['x'],
      SNICallback: (_name, done) => void answer(() => done(null, context)),
    })
    const failed = once(server, 'tlsClientError')
    const client = connected(t, server.port).on('error', () => {})
    t.match(await failed, [{ message: 'The secure context was freed' }])
    await closed(client)
  })
}

t.test('renegotiations of a server keep the server name, also when they resume the session', async (t) => {
  const server = await openSSLServer(t, { maxVersion: 'TLSv1.2' })
  const client = tls.connect({ ...(clientOf(server.port) as tls.ConnectionOptions), ...clientPki })
  t.teardown(() => void client.destroy())
  const [stream] = (await once(server, 'secureConnection')) as [RenegotiationTLSSocket & { servername: unknown }]
  client.resume()
  stream.resume()
  for (let i = 0; i < 3; i++) t.match(await stream.renegotiate(), { kind: 'renegotiation', verified: true })
  t.equal(stream.servername, 'localhost')
})

t.test('a server takes connections over any Duplex', async (t) => {
  const server = await openSSLServer(t)
  const [up, down] = [new PassThrough(), new PassThrough()]
  const near = Duplex.from({ readable: down, writable: up })
  const far = Duplex.from({ readable: up, writable: down })
  const accepted = once(server, 'secureConnection') as Promise<[RenegotiationTLSSocket]>
  server.emit('connection', far)
  const client = connected(t, 0, { socket: near })
  const [stream] = await accepted
  stream.pipe(stream)
  client.write('over a Duplex')
  t.equal(String((await once(client, 'data'))[0]), 'over a Duplex')
  t.same([client.address(), client.remoteAddress, client.ref().unref() === client], [{}, undefined, true])
  client.end()
  await Promise.all([closed(client), closed(stream)])
})

t.test('without a listener for error, an error of a connection does not end the process', async (t) => {
  const server = await openSSLServer(t)
  const client = connected(t, server.port)
  const [stream] = (await once(server, 'secureConnection')) as [RenegotiationTLSSocket]
  stream.destroy(new Error('mine'))
  await closed(client.on('error', () => {}))
  t.equal(stream.destroyed, true)
})

t.test('a context that chooses a protocol leaves nothing behind', async (t) => {
  const entries = t.capture(Map.prototype, 'set', Map.prototype.set)
  for (let i = 0; i < 3; i++) createServer({ ...serverPki, ALPNProtocols: ['x'] })
  // Keys that are numbers or addresses of OpenSSL.
  const kept = entries().filter(
    ({ receiver, args: [key] }) => typeof key === 'bigint' && (receiver as Map<unknown, unknown>).has(key),
  )
  t.equal(kept.length, 0)
})
