import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type tls from 'node:tls'
import t, { type Test } from 'tap'
import { RenegotiationError, wrapTLSSocket } from '../../src/index.ts'
import { attackedServer } from '../fixtures/attack.ts'
import { skip } from '../fixtures/servers.ts'
import { nextError, rejection } from '../fixtures/settled.ts'
import { tlsServer } from '../fixtures/tls-pair.ts'

/** Starts a client without secure renegotiation (RFC 5746). GnuTLS can be configured so, OpenSSL cannot. */
async function legacyClient(t: Test): Promise<tls.TLSSocket> {
  const server = await tlsServer(t)
  const priority = 'NORMAL:-VERS-TLS1.3:%DISABLE_SAFE_RENEGOTIATION'
  const args = ['--insecure', '--priority', priority, '--port', `${server.port}`, '127.0.0.1']
  const client = spawn('gnutls-cli', args, { stdio: ['pipe', 'ignore', 'ignore'] })
  t.teardown(() => client.kill())
  const [socket] = (await once(server, 'secureConnection')) as [tls.TLSSocket]
  return socket.resume()
}

t.test('renegotiate() fails with ERR_RENEGOTIATION_REFUSED if the client does not support RFC 5746', async (t) => {
  const { raw, stream, errors } = await attackedServer(t, { raw: { renegotiationInfo: false } })
  const renegotiated = stream.renegotiate()
  await raw.expect('HelloRequest')
  void raw.handshake()
  const error = await rejection(renegotiated)
  t.match(error, {
    code: 'ERR_RENEGOTIATION_REFUSED',
    message: /secure renegotiation \(RFC 5746\)/,
    cause: { code: 'ERR_SSL_UNSAFE_LEGACY_RENEGOTIATION_DISABLED' },
  })
  t.same(errors, [error])
  raw.destroy()
})

if (skip.gnutls) t.comment(skip.gnutls)
else {
  t.test('a plain server never calls the callback if the client does not support RFC 5746 (control)', async (t) => {
    const socket = await legacyClient(t)
    const callback = t.captureFn(() => {})
    socket.renegotiate({}, callback)
    t.match(await nextError(socket), { code: 'ERR_SSL_UNSAFE_LEGACY_RENEGOTIATION_DISABLED' })
    t.same(callback.calls, [])
    socket.destroy()
  })

  t.test('renegotiate() fails with ERR_RENEGOTIATION_REFUSED with a GnuTLS client without RFC 5746', async (t) => {
    const stream = wrapTLSSocket(await legacyClient(t))
    const failed = nextError(stream)
    const error = await rejection(stream.renegotiate())
    t.type(error, RenegotiationError)
    t.match(error, {
      code: 'ERR_RENEGOTIATION_REFUSED',
      message: /secure renegotiation \(RFC 5746\)/,
      cause: { code: 'ERR_SSL_UNSAFE_LEGACY_RENEGOTIATION_DISABLED' },
    })
    t.equal(await failed, error)
  })
}
