import { constants } from 'node:crypto'
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import tls from 'node:tls'
import t from 'tap'
import { connect, createSecureContext, type OpenSSLServerOptions } from '../../src/openssl/index.ts'
import type { OpenSSLSocket } from '../../src/openssl/openssl-socket.ts'
import { clientAndServer, clientOf, connected, openSSLServer } from '../fixtures/openssl-pair.ts'
import { ca, elsewhere, otherServer, server as serverPki } from '../fixtures/pki.ts'
import { nextError, rejection } from '../fixtures/settled.ts'

t.test('the socket below a stream has the methods of a TLS socket', async (t) => {
  const { client } = await clientAndServer(t, 'TLSv1.3')
  const socket = client.socket as unknown as OpenSSLSocket
  t.throws(() => client.enableTrace(), { code: 'ERR_INVALID_ARG_VALUE', message: /keylog/ })
  t.type(socket.getTypeOfService(), 'number')
  const overDuplex = connect({ socket: new PassThrough(), ca, servername: 'localhost' })
  t.equal((overDuplex.socket as unknown as OpenSSLSocket).getTypeOfService(), 0)
  overDuplex.on('error', () => {}).destroy()
  t.throws(() => socket.setServername('x'.repeat(300)), { code: /^ERR_SSL/ })
  t.throws(() => client.setMaxSendFragment('x' as never), { code: 'ERR_INVALID_ARG_TYPE' })
})

t.test('setServername() sets the server name before the handshake', async (t) => {
  const server = await openSSLServer(t)
  const client = connected(t, server.port, { checkServerIdentity: () => undefined })
  ;(client as unknown as { setServername(name: string): void }).setServername('another')
  const [stream] = await once(server, 'secureConnection')
  t.equal(stream.servername, 'another')
})

t.test('a client judges the certificate that its server has after a renegotiation', async (t) => {
  const { client, server } = await clientAndServer(t, 'TLSv1.2', {
    client: { renegotiation: { allowIdentityChange: true } },
  })
  client.resume()
  server.resume().setKeyCert(elsewhere)
  const failed = nextError(client)
  server.renegotiate({ requestCert: true }).catch(() => {})
  t.match(await failed, { code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
})

t.test('a peer that refuses a renegotiation is reported', async (t) => {
  const server = await openSSLServer(t, { maxVersion: 'TLSv1.2', secureOptions: constants.SSL_OP_NO_RENEGOTIATION })
  server.on('secureConnection', (stream) => stream.resume())
  const client = connected(t, server.port)
  client.on('error', () => {}).resume()
  t.match(await rejection(client.renegotiate()), { code: 'ERR_RENEGOTIATION_REFUSED' })
})

t.test('an ALPNCallback gets an empty name from a client without SNI, also with a context used twice', async (t) => {
  const names: string[] = []
  const context = createSecureContext(otherServer)
  const server = await openSSLServer(t, {
    SNICallback: (_name, done) => done(null, context),
    ALPNCallback: ({ servername, protocols }) => {
      names.push(servername)
      return protocols[0]
    },
  })
  for (const servername of ['', 'a', 'b']) {
    const client = connected(t, server.port, { servername, ALPNProtocols: ['x'], rejectUnauthorized: false })
    await once(client, 'secureConnect')
    t.equal(client.alpnProtocol, 'x')
  }
  t.same(names, ['', 'a', 'b'])
})

t.test('a server without protocols takes no part in ALPN, even with the context of one that has some', async (t) => {
  const context = createSecureContext(otherServer)
  // In TLS 1.3, OpenSSL asks for the protocol before the context.
  const options: OpenSSLServerOptions = { maxVersion: 'TLSv1.2', SNICallback: (_name, done) => done(null, context) }
  for (const [own, expected] of [
    [{ ALPNProtocols: ['x'] }, 'x'],
    [{}, false],
  ] as const) {
    const server = await openSSLServer(t, { ...options, ...(own as OpenSSLServerOptions) })
    const client = connected(t, server.port, { ALPNProtocols: ['x'], rejectUnauthorized: false })
    await once(client, 'secureConnect')
    t.equal(client.alpnProtocol, expected)
  }
})

t.test('an exception of a keylog listener is uncaught, and the handshake goes on', async (t) => {
  const server = await openSSLServer(t)
  const mine = new Error('mine')
  const uncaught = new Promise((resolve) => process.setUncaughtExceptionCaptureCallback(resolve))
  t.teardown(() => process.setUncaughtExceptionCaptureCallback(null))
  const client = connect(clientOf(server.port))
  client.once('keylog', () => {
    throw mine
  })
  await once(client, 'secureConnect')
  t.equal(await uncaught, mine)
  client.destroy()
})

t.test('how many records a key may protect depends on the cipher', async (t) => {
  for (const [ciphers, limit] of [
    ['TLS_AES_128_GCM_SHA256', Math.floor(2 ** 24.5)],
    ['TLS_AES_128_CCM_SHA256', 2 ** 23],
    ['TLS_CHACHA20_POLY1305_SHA256', Infinity],
  ] as const) {
    const { client } = await clientAndServer(t, 'TLSv1.3', { server: { ciphers }, client: { ciphers } })
    t.equal((client.socket as unknown as OpenSSLSocket).engine.recordLimit, limit)
  }
})

t.test('ends of this module and of node:tls export the same keying material', async (t) => {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const server = await openSSLServer(t, { ...serverPki, maxVersion })
    const client = tls.connect(clientOf(server.port) as tls.ConnectionOptions)
    t.teardown(() => void client.destroy())
    const [[stream]] = await Promise.all([once(server, 'secureConnection'), once(client, 'secureConnect')])
    const [a, b] = [client, stream].map((end) => end.exportKeyingMaterial(16, 'x', Buffer.from('y')))
    t.same(a, b)
  }
})
