import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import tls from 'node:tls'
import t from 'tap'
import { selfSigned } from '../../src/cli/self-signed.ts'
import { tlsServer } from '../fixtures/tls-pair.ts'

t.test('selfSigned() makes a certificate of the key, signed by the key, that does not expire', async (t) => {
  const { key, cert } = selfSigned('soak')
  const certificate = new X509Certificate(cert)
  t.equal(certificate.subject, 'CN=soak')
  t.equal(certificate.issuer, 'CN=soak')
  t.ok(certificate.verify(certificate.publicKey), 'the signature is valid')
  t.ok(certificate.checkIssued(certificate))
  t.match(certificate.validTo, /9999 GMT$/)
  tls.createSecureContext({ key, cert })
  t.not(selfSigned('soak').cert, cert, 'each is another')
})

t.test('ends that trust such a certificate recognize each other by it, and no other', async (t) => {
  const [ours, other] = [selfSigned('soak'), selfSigned('soak')]
  const server = await tlsServer(t, { ...ours, ca: ours.cert, requestCert: true, maxVersion: 'TLSv1.3' })
  server.on('tlsClientError', () => {})
  const connect = (identity: typeof ours, ca: string) => {
    const socket = tls.connect({
      port: server.port,
      host: '127.0.0.1',
      ...identity,
      ca,
      checkServerIdentity: () => undefined,
    })
    t.teardown(() => socket.destroy())
    return socket
  }
  const accepted = once(server, 'secureConnection')
  const socket = connect(ours, ours.cert)
  await once(socket, 'secureConnect')
  t.equal(socket.authorized, true)
  t.equal((await accepted)[0].authorized, true)
  await t.rejects(once(connect(ours, other.cert), 'secureConnect'), { code: /SIGNATURE|SELF_SIGNED/ })
  const refused = once(server, 'tlsClientError')
  const stranger = connect(other, ours.cert).on('error', () => {})
  await refused
  stranger.destroy()
})
