// In the middle of a renegotiation, the getters of a TLSSocket tell what the peer claims, not who it is.
//
// A client proves to be "client". On the same connection it begins a renegotiation, sends the certificate of "other
// client", which is public, and stops: it has no key to it. From then on, for as long as the client likes, the server's
// getPeerCertificate() and getPeerX509Certificate() tell of "other client", and getCipher(), of no cipher at all: code
// that reads getCipher().name throws. They read OpenSSL's pending session (SSL_get_peer_certificate(),
// SSL_get_current_cipher()).
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import { ca, client, server as identity, somebodyElse } from './certificates.mjs'
import { RawClient } from './raw-client.mjs'

const WAIT_MS = 2000

const server = tls.createServer({
  ...identity,
  ca,
  requestCert: true,
  rejectUnauthorized: true,
  maxVersion: 'TLSv1.2',
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')

const accepted = once(server, 'secureConnection')
const peer = await RawClient.connect(server.address().port, client)
await peer.handshake()
const [socket] = await accepted
socket.on('error', () => {}).resume()

function tell() {
  return {
    getPeerCertificate: socket.getPeerCertificate().subject?.CN,
    getPeerX509Certificate: socket.getPeerX509Certificate()?.subject,
    getCipher: socket.getCipher()?.name,
    authorized: socket.authorized,
  }
}

const before = tell()
console.log('proven:       ', before)
await peer.begin()
console.log('begun:        ', tell())
peer.certificate(somebodyElse)
peer.flush()
const claimed = new X509Certificate(somebodyElse).subject
let now = tell()
for (let waited = 0; waited < WAIT_MS && now.getPeerX509Certificate !== claimed; waited += 50) {
  await sleep(50)
  now = tell()
}
console.log('only claimed: ', now)

const wrong = Object.keys(now).filter((name) => now[name] !== before[name])
console.log(
  wrong.length > 0
    ? `DEFECT: in the middle of a handshake ${wrong.join(', ')} told of that one (Node ${process.version})`
    : `no defect: all of them told of the last completed handshake (Node ${process.version})`,
)
peer.destroy()
socket.destroy()
server.close()
process.exitCode = wrong.length > 0 ? 0 : 1
