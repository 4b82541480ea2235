import { once } from 'node:events'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import type { RenegotiationTLSSocket } from '../../src/index.ts'
import { Connection } from '../../src/openssl/connection.ts'
import { connect, createSecureContext, isAvailable, type OpenSSLConnectionOptions } from '../../src/openssl/index.ts'
import { freePort } from '../fixtures/free-port.ts'
import { JavaScriptDuplex } from '../fixtures/javascript-duplex.ts'
import { clientOf, connected, openSSLServer, versions } from '../fixtures/openssl-pair.ts'
import { ca, client as clientPki, elsewhere, server as serverPki } from '../fixtures/pki.ts'
import { closed, nextError } from '../fixtures/settled.ts'

/** Returns the connections of OpenSSL that are used from now on. */
function everyConnection(t: Test): Set<Connection> {
  const used = new Set<Connection>()
  const own = Object.getOwnPropertyDescriptor(Connection.prototype, 'ssl') as PropertyDescriptor
  t.teardown(() => Object.defineProperty(Connection.prototype, 'ssl', own))
  Object.defineProperty(Connection.prototype, 'ssl', {
    configurable: true,
    get() {
      used.add(this)
      return own.get?.call(this)
    },
  })
  return used
}

/** How many connections are not freed. */
function left(connections: Set<Connection>): number {
  return [...connections].filter(({ freed }) => !freed).length
}

t.test('connect() takes the arguments of tls.connect(), and calls its listener once', async (t) => {
  const server = await openSSLServer(t)
  server.on('secureConnection', (stream) => stream.on('error', () => {}).resume())
  const { port } = server
  const rest = { ca, servername: 'localhost' }
  const ways: ((listener: () => void) => RenegotiationTLSSocket)[] = [
    (listener) => connect(clientOf(port), listener),
    (listener) => connect(port, '127.0.0.1', rest, listener),
    (listener) => connect(port, { ...rest, host: '127.0.0.1' }, listener),
    (listener) => connect(String(port) as never, '127.0.0.1', rest, listener),
  ]
  for (const way of ways) {
    const listener = t.captureFn(() => {})
    const stream = way(listener)
    await once(stream, 'secureConnect')
    t.equal(stream.authorized, true)
    t.match(await stream.renegotiate(), { kind: 'key-update' })
    t.equal(listener.calls.length, 1)
    stream.destroy()
  }
})

t.test('connect() connects to a path', async (t) => {
  const server = await openSSLServer(t)
  const path = join(tmpdir(), `renegotiation-duplex-${process.pid}.sock`)
  const relay = net.createServer((socket) => {
    const far = net.connect(server.port, '127.0.0.1')
    socket.on('error', () => {}).pipe(far)
    far.on('error', () => {}).pipe(socket)
  })
  relay.listen(path)
  await once(relay, 'listening')
  t.teardown(() => relay.close())
  for (const stream of [
    connect({ path, ca, servername: 'localhost' }),
    connect(path as never, { ca, servername: 'localhost' } as never),
  ]) {
    await once(stream, 'secureConnect')
    t.equal(stream.authorized, true)
    stream.destroy()
    await closed(stream)
  }
})

t.test('bad options throw, no connection is made, and nothing is left behind', async (t) => {
  const connections = everyConnection(t)
  const server = net.createServer(() => t.fail('a connection was made')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as net.AddressInfo
  const objects = new PassThrough({ objectMode: true })
  const reading = new net.Socket({
    onread: { buffer: Buffer.alloc(10), callback: () => true },
  } as net.SocketConstructorOpts)
  const bad: [object, { code?: string | RegExp; message?: RegExp }][] = [
    [{ renegotiation: { drainTimeout: -1 } }, { message: /drainTimeout/ }],
    [{ renegotiation: null }, { message: /options must be|renegotiation/ }],
    [{ onread: { buffer: Buffer.alloc(10), callback: () => true } }, { message: /onread/ }],
    [{ port: 'x' }, { code: 'ERR_SOCKET_BAD_PORT' }],
    [{ session: 5 }, { code: 'ERR_INVALID_ARG_TYPE' }],
    [{ signal: 5 }, { code: 'ERR_INVALID_ARG_TYPE' }],
    [{ timeout: 'x' }, { code: 'ERR_INVALID_ARG_TYPE' }],
    [{ timeout: -1 }, { code: 'ERR_OUT_OF_RANGE' }],
    [{ socket: 5 }, { code: 'ERR_INVALID_ARG_TYPE' }],
    [{ socket: objects }, { code: 'ERR_INVALID_ARG_VALUE' }],
    [{ socket: new PassThrough().setEncoding('utf8') }, { message: /encoding/ }],
    [{ socket: reading }, { message: /onread/ }],
    [{ ALPNProtocols: [''] }, { code: 'ERR_INVALID_ARG_VALUE' }],
    [{ ALPNProtocols: 5 }, { code: 'ERR_INVALID_ARG_TYPE' }],
    [{ servername: '127.0.0.1' }, { code: 'ERR_INVALID_ARG_VALUE' }],
    [{ servername: 'x'.repeat(300) }, { code: /^ERR_SSL/ }],
    [{ key: 'no key' }, { code: /^ERR_OSSL/ }],
    [{ secureContext: tls.createSecureContext() }, { message: /secureContext/ }],
    [{ openssl: { path: '/no/such/libssl.so' } }, {}],
  ]
  for (const [options, expected] of bad) {
    t.throws(
      () => connect({ port, host: '127.0.0.1', ...options } as OpenSSLConnectionOptions),
      expected as unknown as Error,
    )
  }
  t.ok(connections.size > 1)
  t.equal(left(connections), 0, 'every connection of OpenSSL was freed')
})

t.test('without OpenSSL there is one clear error', (t) => {
  t.equal(isAvailable(), true)
  t.equal(isAvailable({ path: '/no/such/libssl.so' }), false)
  const openssl = { path: '/no/such/libssl.so' }
  for (const call of [() => connect({ port: 1, openssl }), () => createSecureContext({ openssl })]) {
    t.throws(call, { code: 'ERR_RENEGOTIATION_UNSUPPORTED', message: /libssl/ })
  }
  t.end()
})

t.test('every connection of OpenSSL is freed once, however the connection ends', async (t) => {
  const connections = everyConnection(t)
  const server = await openSSLServer(t)
  const streams: RenegotiationTLSSocket[] = []
  server.on('secureConnection', (stream: RenegotiationTLSSocket) => {
    stream.on('error', () => {}).resume()
    streams.push(stream)
  })
  server.on('tlsClientError', (_error, stream) => streams.push(stream as RenegotiationTLSSocket))
  const ways: ((stream: RenegotiationTLSSocket) => unknown)[] = [
    (stream) => stream.destroy(),
    (stream) => stream.on('connect', () => stream.destroy()),
    (stream) => stream.on('secureConnect', () => stream.destroy(new Error('mine'))),
    (stream) => stream.end('x'),
    (stream) => stream.destroySoon(),
  ]
  for (const way of ways) {
    const stream = connected(t, server.port).resume()
    stream.on('error', () => {})
    way(stream)
    await closed(stream)
  }
  await new Promise((resolve) => server.close(resolve))
  await Promise.all(streams.map(closed))
  t.ok(connections.size > ways.length)
  t.equal(left(connections), 0)
})

t.test('a failed connection emits the error of the socket, and then close', async (t) => {
  const stream = connect({ port: await freePort(), host: '127.0.0.1' })
  t.equal(stream.connecting, true)
  const written = new Promise((resolve) => stream.write('x', resolve))
  t.match(await nextError(stream), { code: 'ECONNREFUSED' })
  t.match(await written, { code: 'ERR_SOCKET_CLOSED_BEFORE_CONNECTION' })
  await closed(stream)
})

for (const version of versions) {
  t.test(`a client verifies its server unless it is told not to, ${version}`, async (t) => {
    const server = await openSSLServer(t, { maxVersion: version, ...elsewhere })
    server.on('secureConnection', (stream) => stream.on('error', () => {}).resume())
    const rejecting: [OpenSSLConnectionOptions, string][] = [
      [{}, 'ERR_TLS_CERT_ALTNAME_INVALID'],
      [{ rejectUnauthorized: true, ca: undefined }, 'SELF_SIGNED_CERT_IN_CHAIN'],
      [{ rejectUnauthorized: undefined }, 'ERR_TLS_CERT_ALTNAME_INVALID'],
      [{ servername: 'elsewhere.example', checkServerIdentity: () => new Error('mine') }, 'mine'],
    ]
    for (const [options, code] of rejecting) {
      const client = connected(t, server.port, options)
      client.on('secureConnect', () => t.fail('the server is not accepted'))
      const error = await nextError(client)
      const told = (error as NodeJS.ErrnoException).code ?? error.message
      t.ok(told === code || told === 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', `${told}, expected ${code}`)
      t.equal(client.authorized, false)
      await closed(client)
    }
    const accepting: [OpenSSLConnectionOptions, object][] = [
      [{ servername: 'elsewhere.example' }, { authorized: true, authorizationError: null }],
      [{ rejectUnauthorized: false }, { authorized: false, authorizationError: 'ERR_TLS_CERT_ALTNAME_INVALID' }],
      [{ checkServerIdentity: () => undefined }, { authorized: true }],
    ]
    for (const [options, expected] of accepting) {
      const client = connected(t, server.port, options)
      await once(client, 'secureConnect')
      t.match(client, expected)
      client.destroy()
      await closed(client)
    }
  })
}

t.test('NODE_TLS_REJECT_UNAUTHORIZED=0 makes the first connection warn, with the text of Node', async (t) => {
  t.teardown(() => Reflect.deleteProperty(process.env, 'NODE_TLS_REJECT_UNAUTHORIZED'))
  const server = await openSSLServer(t)
  const warnings = t.capture(process, 'emitWarning')
  const options = clientOf(server.port, { rejectUnauthorized: true })
  connected(t, server.port, options)
  t.equal(warnings().length, 0)
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
  const node = tls.connect(options as tls.ConnectionOptions).on('error', () => {})
  t.teardown(() => void node.destroy())
  const [expected] = warnings()
  t.match(expected?.args, [/NODE_TLS_REJECT_UNAUTHORIZED/])
  for (let i = 0; i < 2; i++) connected(t, server.port, options)
  const told = warnings()
  t.equal(told.length, 1)
  t.strictSame(told[0]?.args, expected?.args)
})

t.test('NODE_TLS_REJECT_UNAUTHORIZED=0 applies unless the option is there', async (t) => {
  t.teardown(() => Reflect.deleteProperty(process.env, 'NODE_TLS_REJECT_UNAUTHORIZED'))
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
  const server = await openSSLServer(t)
  server.on('secureConnection', (stream) => stream.on('error', () => {}).resume())
  const client = connected(t, server.port, { servername: 'other' })
  await once(client, 'secureConnect')
  t.equal(client.authorized, false)
  for (const rejectUnauthorized of [true, undefined]) {
    const rejecting = connected(t, server.port, { servername: 'other', rejectUnauthorized })
    t.match(await nextError(rejecting), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
  }
})

t.test('connect() uses a secure context of this module, also for its certificate', async (t) => {
  const server = await openSSLServer(t, { requestCert: true })
  const secureContext = createSecureContext({ ca, ...clientPki })
  const client = connected(t, server.port, { ca: undefined, secureContext })
  const [stream] = (await once(server, 'secureConnection')) as [RenegotiationTLSSocket]
  t.match(stream.getPeerCertificate(), { subject: { CN: 'client' } })
  t.match(await stream.resume().renegotiate({ requestCert: true }), { kind: 'post-handshake-auth' })
  client.destroy()
})

t.test('the signal and the timeout of connect() work', async (t) => {
  const server = await openSSLServer(t)
  const controller = new AbortController()
  const client = connected(t, server.port, { signal: controller.signal, timeout: 60_000 })
  t.equal(client.timeout, 60_000)
  await once(client, 'secureConnect')
  controller.abort()
  t.match(await nextError(client), { name: 'AbortError' })
  const early = connected(t, server.port, { signal: AbortSignal.abort() })
  t.match(await nextError(early), { name: 'AbortError' })
  t.throws(() => connect({ port: 1, signal: AbortSignal.abort(), session: 5 } as never), {
    code: 'ERR_INVALID_ARG_TYPE',
  })
  const idle = connected(t, server.port, { timeout: 1 })
  await once(idle, 'timeout')
  idle.destroy()
  t.equal(idle.setTimeout(5), idle)
  await closed(idle)
})

t.test('TLS runs over a socket of the caller, over a JavaScript Duplex, and inside TLS', async (t) => {
  const server = await openSSLServer(t)
  server.on('secureConnection', (stream) => stream.on('error', () => {}).pipe(stream))
  const outer = await openSSLServer(t)
  outer.on('secureConnection', (stream) => server.emit('connection', stream))
  const ways: (() => net.Socket | JavaScriptDuplex)[] = [
    () => net.connect(server.port, '127.0.0.1'),
    () => new JavaScriptDuplex(net.connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true })),
    () => connected(t, outer.port),
  ]
  for (const way of ways) {
    const below = way()
    const client = connected(t, 0, { socket: below as net.Socket })
    client.write(Buffer.alloc(300_000, 'x'))
    let bytes = 0
    for await (const chunk of client) {
      bytes += (chunk as Buffer).length
      if (bytes === 300_000) client.end()
    }
    t.equal(bytes, 300_000)
    await closed(client)
    t.equal(below.destroyed, true)
  }
})

t.test('a socket of the caller that has closed, or has ended, ends the stream', async (t) => {
  const server = net.createServer((socket) => socket.end()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as net.AddressInfo
  const dead = net.connect(port, '127.0.0.1')
  dead.destroy()
  await closed(dead)
  const stream = connect({ socket: dead, ca, servername: 'localhost' })
  stream.on('error', () => {})
  await closed(stream)
  const ended = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }).resume()
  await once(ended, 'end')
  const late = connect({ socket: ended, ca, servername: 'localhost' })
  t.match(await nextError(late), { code: 'ECONNRESET' })
  await closed(late)
})

t.test('ALPN is negotiated with a list of names, and with bytes', async (t) => {
  const server = await openSSLServer(t, { ALPNProtocols: ['b', 'a'], ...serverPki })
  for (const ALPNProtocols of [['a', 'b'], Buffer.from('\x01b'), ['c', 'a']]) {
    const client = connected(t, server.port, { ALPNProtocols })
    t.equal(client.alpnProtocol, null)
    await once(client, 'secureConnect')
    t.equal(client.alpnProtocol, String(ALPNProtocols).includes('b') ? 'b' : 'a')
    client.destroy()
  }
})
