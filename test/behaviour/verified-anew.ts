import { constants } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { type RenegotiationOptions, wrapTLSSocket } from '../../src/index.ts'
import { ca, elsewhere, otherServer, rogueClient, server as serverPki } from '../fixtures/pki.ts'
import { nextError, rejection } from '../fixtures/settled.ts'
import { tlsServer } from '../fixtures/tls-pair.ts'

/** Returns a client made by `new tls.TLSSocket()`, as after STARTTLS. Node does not verify the server there. */
async function upgraded(t: Test, options: tls.TLSSocketOptions = {}) {
  // Without this option, a renegotiation that the server begins would resume the session and keep its certificate.
  const listening = await tlsServer(t, { secureOptions: constants.SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION })
  const accepted = once(listening, 'secureConnection') as Promise<[tls.TLSSocket]>
  const socket = new tls.TLSSocket(net.connect(listening.port, '127.0.0.1'), {
    secureContext: tls.createSecureContext({ ca, maxVersion: 'TLSv1.2' }),
    ...options,
  })
  ;(socket as unknown as { setServername(name: string): void }).setServername('localhost')
  socket.write('what it writes first begins the handshake')
  const [[server]] = await Promise.all([accepted, once(socket, 'secure')])
  t.teardown(() => {
    for (const end of [socket, server]) end.on('error', () => {}).destroy()
  })
  server.resume()
  return { socket, server }
}

const allowing: RenegotiationOptions = { allowIdentityChange: true }

/** Certificates for the next handshake, and what is wrong with them. */
const wrong = {
  'is for another host': { certificate: elsewhere, code: 'ERR_TLS_CERT_ALTNAME_INVALID' },
  'is self-signed': { certificate: rogueClient, code: /SELF_SIGNED_CERT/ },
}

t.test('a plain STARTTLS client accepts any certificate in a renegotiation (control)', async (t) => {
  const { socket, server } = await upgraded(t)
  server.setKeyCert(tls.createSecureContext(rogueClient))
  await new Promise((resolve) => socket.resume().renegotiate({}, resolve))
  t.match(socket.getPeerCertificate(), { subject: { CN: 'rogue client' } })
})

for (const [what, { certificate, code }] of Object.entries(wrong)) {
  for (const begins of ['client', 'server'] as const) {
    t.test(`a client fails if the new server certificate ${what}, when the ${begins} renegotiates`, async (t) => {
      const { socket, server } = await upgraded(t)
      const client = wrapTLSSocket(socket, allowing).resume()
      server.setKeyCert(tls.createSecureContext(certificate))
      const failed = nextError(client)
      if (begins === 'server') server.renegotiate({}, () => {})
      else t.equal(await rejection(client.renegotiate()), await failed)
      t.match(await failed, { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED', cause: { code } })
    })
  }
}

t.test('with allowIdentityChange, a client accepts another valid server certificate in a renegotiation', async (t) => {
  const { socket, server } = await upgraded(t)
  const client = wrapTLSSocket(socket, allowing).resume()
  server.setKeyCert(tls.createSecureContext(otherServer))
  t.match(await client.renegotiate(), { peerCertificateChanged: true, authorized: true })
})

t.test('a client that could not verify its server in the first handshake can still renegotiate', async (t) => {
  const { socket } = await upgraded(t, { secureContext: tls.createSecureContext({ maxVersion: 'TLSv1.2' }) })
  const client = wrapTLSSocket(socket).resume()
  t.match(await client.renegotiate(), { authorized: false, authorizationError: Error })
})

t.test('a client without a host name verifies only the certificate chain in a renegotiation', async (t) => {
  const { port } = await tlsServer(t, serverPki)
  const context = { secureContext: tls.createSecureContext({ ca, maxVersion: 'TLSv1.2' }) }
  const socket = new tls.TLSSocket(net.connect(port, '127.0.0.1'), context)
  t.teardown(() => socket.destroy())
  socket.write('begin')
  await once(socket, 'secure')
  t.match(await wrapTLSSocket(socket).resume().renegotiate(), { authorized: true })
})
