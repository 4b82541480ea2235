import { constants } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import tls, { type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { createServer, type RenegotiationTLSSocket, wrapTLSSocket } from '../../src/index.ts'
import { alice, facts, mallory, selfMade, server as serverCredentials, until } from '../fixtures/attack.ts'
import { ca, server as identity } from '../fixtures/pki.ts'
import { closed, rejection } from '../fixtures/settled.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'
import type { HandshakeOptions } from '../fixtures/tls12/options.ts'
import { RawPeer } from '../fixtures/tls12/peer.ts'

/** Without tickets, Node calls a `newSession` listener, and `secure` waits for it. */
const options: tls.TlsOptions = {
  ...identity,
  ca,
  maxVersion: 'TLSv1.2',
  requestCert: true,
  secureOptions: constants.SSL_OP_NO_TICKET,
}
const UNJUDGED = { code: 'ERR_RENEGOTIATION_UNSUPPORTED', message: /cannot be judged/ }

/** The server's listener for `newSession`, which calls back when the test says so. */
function slowStore(server: tls.Server): (() => void)[] {
  const waiting: (() => void)[] = []
  server.on('newSession', (_id: Buffer, _data: Buffer, stored: () => void) => waiting.push(stored))
  return waiting
}

async function listen(t: Test, server: tls.Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** Sends the next ClientHello, or its first `only` bytes, right after Finished in the same TCP segment. */
function behindFinished(raw: RawPeer, only?: number) {
  return (step: string) => {
    if (step !== 'Finished') return
    raw.sendHandshake('ClientHello', raw.clientHello(), only === undefined ? {} : { only })
  }
}

/** A connection of a plain server with a slow session store, after the first handshake. */
async function acceptedBehindStore(t: Test, serverOptions: tls.TlsOptions, rawOptions: HandshakeOptions) {
  const server = tls.createServer(serverOptions)
  const stores = slowStore(server)
  const accepted = once(server, 'secureConnection') as Promise<[TLSSocket]>
  const raw = await RawPeer.connect({ port: await listen(t, server), ...rawOptions }, t)
  const first = raw.handshake()
  await once(server, 'newSession')
  stores.pop()?.()
  await first
  return { raw, plain: (await accepted)[0], stores }
}

for (const only of [5, undefined]) {
  // A whole second ClientHello crashes plain Node here.
  const what = only === undefined ? 'a second ClientHello' : 'the first bytes of a second ClientHello'
  for (const keylog of [false, true]) {
    const listens = keylog ? ', with a keylog listener' : ''
    t.test(`createServer() refuses ${what} while the first session is being stored${listens}`, async (t) => {
      const server = createServer(options)
      const stores = slowStore(server)
      // A program may store values of its own on the stream.
      if (keylog) server.on('keylog', (_line, stream) => Object.assign(stream, { socket: 'my socket' }))
      const accepted = t.captureFn(() => {})
      server.on('secureConnection', accepted)
      const raw = await RawPeer.connect({ port: await listen(t, server), ...mallory }, t)
      const failed = once(server, 'tlsClientError') as Promise<[Error, TLSSocket]>
      void raw.handshake({ after: behindFinished(raw, only) })
      const [error, socket] = await failed
      t.match(error, UNJUDGED)
      await closed(socket)
      for (const stored of stores) stored()
      await new Promise(setImmediate)
      t.same(accepted.calls, [])
    })
  }
}

t.test(
  'createServer() refuses it as well if the listener for newSession came late, after one for resumeSession',
  async (t) => {
    const server = createServer(options)
    server.on('resumeSession', (_id: Buffer, resume: (error: null, session: null) => void) => resume(null, null))
    // A whole second ClientHello crashes plain Node here.
    server.once('connection', () => slowStore(server))
    const raw = await RawPeer.connect({ port: await listen(t, server), ...mallory }, t)
    const failed = once(server, 'tlsClientError') as Promise<[Error, TLSSocket]>
    void raw.handshake({ after: behindFinished(raw) })
    const [error, socket] = await failed
    t.match(error, UNJUDGED)
    await closed(socket)
  },
)

t.test('createServer() accepts a waiting client when its session has been stored', async (t) => {
  const server = createServer(options)
  const stores = slowStore(server)
  // Because of this listener, `keylog` carries the stream. createServer() itself checks the socket below the stream.
  server.once('keylog', () => {})
  const accepted = once(server, 'secureConnection') as Promise<[RenegotiationTLSSocket]>
  const port = await listen(t, server)
  for (const wait of [0, 1]) {
    const raw = await RawPeer.connect({ port, ...mallory }, t)
    const asked = once(server, 'newSession')
    const handshake = raw.handshake()
    await asked
    stores[wait]?.()
    await handshake
    if (wait === 0) {
      const [stream] = await accepted
      stream.resume()
      t.match(stream.getPeerCertificate(), { subject: { CN: 'other client' } })
      const renegotiated = once(stream, 'renegotiated')
      const again = raw.handshake()
      await once(server, 'newSession')
      stores.pop()?.()
      await again
      t.match((await renegotiated)[0], { verified: true })
      stream.destroy()
    } else {
      server.removeAllListeners('newSession')
    }
  }
})

t.test('a wrapped socket is destroyed if a second handshake began before wrapTLSSocket()', async (t) => {
  const server = tls.createServer(options)
  const stores = slowStore(server)
  const accepted = once(server, 'secureConnection') as Promise<[TLSSocket]>
  const raw = await RawPeer.connect({ port: await listen(t, server), ...mallory }, t)
  void raw.handshake({ after: behindFinished(raw, 5) })
  await once(server, 'newSession')
  // The event is emitted within a callback of OpenSSL, so the bytes after Finished have not been read yet.
  await new Promise(setImmediate)
  for (const stored of stores) stored()
  const [plain] = await accepted
  const stream = wrapTLSSocket(plain)
  const data = t.captureFn(() => {})
  const error = once(stream, 'error')
  stream.on('data', data)
  t.same(stream.getPeerCertificate(), {}, 'no certificate is shown')
  t.equal(stream.authorized, false)
  t.match((await error)[0], UNJUDGED)
  await closed(stream)
  t.same(data.calls, [])
})

t.test('a handshake that begins before Node reports the end of the previous one destroys the stream', async (t) => {
  const { raw, plain, stores } = await acceptedBehindStore(t, options, mallory)
  const stream = wrapTLSSocket(plain).resume()
  const before = facts(stream)
  const errors: Error[] = []
  stream.on('error', (error) => errors.push(error))
  void raw.handshake({ after: behindFinished(raw, 5) })
  await closed(stream)
  t.match(errors, [UNJUDGED])
  t.equal(stream.counters.byPeer, 1, 'the first of the two handshakes was judged')
  t.strictSame(Object.keys(facts(stream)), Object.keys(before))
  stores.pop()?.()
  await new Promise(setImmediate)
})

for (const [name, who] of Object.entries({
  'another client': alice,
  'a client with a self-signed certificate': selfMade,
})) {
  t.test(`a renegotiation as ${name} is judged before the next data, even with a slow session store`, async (t) => {
    const { raw, plain, stores } = await acceptedBehindStore(t, { ...options, rejectUnauthorized: false }, mallory)
    const stream = wrapTLSSocket(plain)
    const before = facts(stream)
    const data = t.captureFn(() => {})
    const errors: Error[] = []
    stream.on('error', (error) => errors.push(error)).on('data', data)
    void raw.handshake({
      ...who,
      after: (step) => {
        if (step === 'Finished') raw.sendData('as somebody else')
        behindFinished(raw, 5)(step)
      },
    })
    await closed(stream)
    t.match(errors, [{ code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED' }])
    t.same(data.calls, [])
    t.strictSame(facts(stream), before)
    stores.pop()?.()
  })
}

t.test('a self-signed certificate that was requested later is not authorized', async (t) => {
  const secureOptions = constants.SSL_OP_NO_TICKET
  const { raw, plain, stores } = await acceptedBehindStore(t, { ...options, requestCert: false, secureOptions }, {})
  const stream = wrapTLSSocket(plain).resume()
  stream.on('error', () => {})
  const asked = stream.renegotiate({ requestCert: true })
  await raw.expect('HelloRequest')
  void raw.handshake({ ...selfMade, after: behindFinished(raw, 5) })
  t.match(await rejection(asked), { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE' })
  await closed(stream)
  t.equal(stream.authorized, false)
  t.same(stream.getPeerCertificate(), {})
  stores.pop()?.()
})

for (const only of [undefined, 5]) {
  const what =
    only === undefined ? 'an honest client is accepted' : 'a client that begins another handshake at once is refused'
  t.test(`wrapTLSSocket() while Node holds back the secure event: ${what}`, async (t) => {
    const server = tls.createServer({ ...options, ALPNProtocols: ['mqtt'] })
    const stores = slowStore(server)
    const held = once(server, 'keylog') as Promise<[Buffer, TLSSocket]>
    const raw = await RawPeer.connect({ port: await listen(t, server), alpn: ['mqtt'], ...mallory }, t)
    const first = raw.handshake(only === undefined ? {} : { after: behindFinished(raw, only) })
    const [, plain] = await held
    await once(server, 'newSession')
    await new Promise(setImmediate)
    const stream = wrapTLSSocket(plain)
    t.same(stream.getPeerCertificate(), {}, 'no certificate is shown yet')
    const error = only === undefined ? undefined : once(stream, 'error')
    stores.pop()?.()
    if (error !== undefined) {
      t.match((await error)[0], UNJUDGED)
      return
    }
    await first
    t.equal(stream.alpnProtocol, 'mqtt')
    t.match(stream.getPeerCertificate(), { subject: { CN: 'other client' } })
    raw.sendData('hello')
    t.equal(String((await once(stream, 'data'))[0]), 'hello')
    const renegotiated = once(stream, 'renegotiated')
    const again = raw.handshake()
    await once(server, 'newSession')
    stores.pop()?.()
    await again
    t.match((await renegotiated)[0], { verified: true })
    stream.destroy()
  })
}

t.test('wrapTLSSocket() emits an error if this end has renegotiated on the plain socket before', async (t) => {
  const { client, server } = await tlsPair(t)
  client.resume()
  server.resume()
  await new Promise((resolve) => server.renegotiate({}, resolve))
  const stream = wrapTLSSocket(server)
  t.match((await once(stream, 'error'))[0], UNJUDGED)
})

t.test('a wrapped client is destroyed when a handshake ends that began before wrapTLSSocket()', async (t) => {
  // Node counts handshakes on a server, but not on a client. There, only the end of the handshake reveals it.
  const listening = await RawPeer.listen(serverCredentials, t)
  const plain = tls.connect({ port: listening.port, host: '127.0.0.1', servername: 'localhost', ca })
  plain.on('error', () => {})
  const secure = once(plain, 'secureConnect')
  const raw = await listening.accept()
  await raw.handshake()
  await secure
  plain.resume()
  const first = raw.state
  raw.sendHandshake('HelloRequest')
  await until(() => raw.state !== first)
  const stream = wrapTLSSocket(plain).resume()
  const error = once(stream, 'error')
  void raw.handshake()
  t.match((await error)[0], UNJUDGED)
  await closed(stream)
})
