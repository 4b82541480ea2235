import { once } from 'node:events'
import type { ConnectionOptions } from 'node:tls'
import t from 'tap'
import { wrapTLSSocket } from '../../src/index.ts'
import { otherServer, rogueClient } from '../fixtures/pki.ts'
import { closed, nextError, rejection } from '../fixtures/settled.ts'
import { allowResumption, tlsPair } from '../fixtures/tls-pair.ts'

const nobody: ConnectionOptions = { key: undefined, cert: undefined }

t.test('a plain server reports success without a certificate, because the session was resumed (control)', async (t) => {
  const pair = await tlsPair(t)
  pair.client.resume()
  pair.server.resume()
  const options = { requestCert: true, rejectUnauthorized: false }
  t.equal(await new Promise((resolve) => pair.server.renegotiate(options, resolve)), null)
  t.equal(pair.server.getPeerCertificate().raw, undefined)
})

t.test('a plain server that requires a certificate reports success and destroys the socket (control)', async (t) => {
  const pair = await tlsPair(t)
  pair.client.on('error', () => {}).resume()
  pair.server.resume()
  t.equal(await new Promise((resolve) => pair.server.renegotiate({ requestCert: true }, resolve)), null)
  t.equal(pair.server.destroyed, true)
  t.equal(pair.server.errored, null, 'the socket was destroyed without an error')
})

t.test('renegotiate({ requestCert: true }) fails if the session is resumed, and the stream stays open', async (t) => {
  const pair = await tlsPair(t)
  pair.client.resume()
  allowResumption(pair.server)
  const stream = wrapTLSSocket(pair.server)
  const error = await rejection(stream.renegotiate({ requestCert: true }))
  t.match(error, {
    code: 'ERR_RENEGOTIATION_NO_CERTIFICATE',
    message: /SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION/,
  })
  t.equal(stream.state, 'open')
  const report = await stream.renegotiate()
  t.match(report, { verified: true, resumed: true }, 'a later renegotiation succeeds')
})

t.test('with a callback, as with Node, the server decides by what it was made with', async (t) => {
  for (const rejectUnauthorized of [true, false]) {
    const pair = await tlsPair(t, { server: { rejectUnauthorized }, client: nobody })
    pair.client.on('error', () => {}).resume()
    const stream = wrapTLSSocket(pair.server)
    stream.on('error', () => {}).resume()
    const error = await new Promise<NodeJS.ErrnoException | null>((resolve) =>
      stream.renegotiate({ requestCert: true, rejectUnauthorized: undefined }, resolve as never),
    )
    t.equal(error?.code, rejectUnauthorized ? 'ERR_RENEGOTIATION_NO_CERTIFICATE' : undefined)
    t.equal(stream.destroyed, rejectUnauthorized)
    if (!rejectUnauthorized) t.equal(stream.authorized, false)
  }
})

t.test('a server gets a verified client certificate by renegotiating, and the same one the next time', async (t) => {
  const pair = await tlsPair(t)
  const peer = wrapTLSSocket(pair.client)
  peer.resume()
  const stream = wrapTLSSocket(pair.server)
  const first = await stream.renegotiate({ requestCert: true })
  t.match(first, { verified: true, resumed: false, authorized: true, peerCertificateChanged: true })
  t.equal(pair.server.getPeerCertificate().subject.CN, 'client')
  const second = await stream.renegotiate({ requestCert: true })
  t.match(second, { verified: true, authorized: true, peerCertificateChanged: false })
})

for (const [what, options, message] of [
  ['no certificate', nobody, /gave none/],
  ['a certificate that does not verify', rogueClient, /does not verify/],
] as const) {
  t.test(`renegotiate({ requestCert: true }) destroys the stream if the client has ${what}`, async (t) => {
    const pair = await tlsPair(t, { client: options })
    pair.client.on('error', () => {}).resume()
    const stream = wrapTLSSocket(pair.server)
    const errored = nextError(stream)
    const error = await rejection(stream.renegotiate({ requestCert: true }))
    t.match(error, { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE', message })
    t.equal(await errored, error)
    await closed(stream)
  })

  t.test(`with rejectUnauthorized: false, a client with ${what} is reported as not authorized`, async (t) => {
    const pair = await tlsPair(t, { client: options })
    pair.client.resume()
    const stream = wrapTLSSocket(pair.server)
    const report = await stream.renegotiate({ requestCert: true, rejectUnauthorized: false })
    t.match(report, { verified: true, resumed: false })
    t.not(report.authorized, true)
    t.equal(report.peerCertificateChanged, options === rogueClient)
    if (options === rogueClient) t.match(report.authorizationError, { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
    t.equal(stream.state, 'open')
  })
}

t.test('a server created with requestCert: true requests the certificate again in a renegotiation', async (t) => {
  const pair = await tlsPair(t, { server: { requestCert: true, rejectUnauthorized: true } })
  pair.client.resume()
  const stream = wrapTLSSocket(pair.server)
  t.match(await stream.renegotiate(), { verified: true, authorized: true, peerCertificateChanged: false })
})

t.test('a server that shows another certificate causes ERR_RENEGOTIATION_IDENTITY_CHANGED', async (t) => {
  const pair = await tlsPair(t)
  pair.server.on('error', () => {}).resume()
  pair.server.setKeyCert(otherServer)
  const stream = wrapTLSSocket(pair.client)
  const errored = nextError(stream)
  const error = await rejection(stream.renegotiate())
  t.match(error, { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED', message: /another certificate/ })
  t.equal(await errored, error)
})

t.test('the server keeps the client certificate in later renegotiations, whichever end begins them', async (t) => {
  const pair = await tlsPair(t)
  const peer = wrapTLSSocket(pair.client)
  peer.resume()
  const stream = wrapTLSSocket(pair.server)
  stream.resume()
  await stream.renegotiate({ requestCert: true })
  t.match(await stream.renegotiate(), { authorized: true, peerCertificateChanged: false })
  if (peer.counters.renegotiations < 2) await once(peer, 'renegotiated')
  await Promise.all([peer.renegotiate(), once(stream, 'renegotiated')])
  t.equal(pair.server.getPeerCertificate().subject.CN, 'client')
  t.match(stream.counters, { renegotiations: 3, byPeer: 1 })
  t.match(pair.server, { _requestCert: false, _rejectUnauthorized: true }, "Node's own flags are unchanged")
})

t.test('a client that no longer shows its certificate causes ERR_RENEGOTIATION_IDENTITY_CHANGED', async (t) => {
  const pair = await tlsPair(t)
  pair.client.on('error', () => {}).resume()
  const stream = wrapTLSSocket(pair.server)
  await stream.renegotiate({ requestCert: true })
  const errored = nextError(stream)
  const error = await rejection(stream.renegotiate({ requestCert: false }))
  t.match(error, { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED', message: /no certificate/ })
  t.equal(await errored, error)
})

t.test('with allowIdentityChange, the client may stop showing its certificate', async (t) => {
  const pair = await tlsPair(t)
  pair.client.resume()
  const stream = wrapTLSSocket(pair.server, { allowIdentityChange: true })
  await stream.renegotiate({ requestCert: true })
  t.match(await stream.renegotiate({ requestCert: false }), { verified: true, peerCertificateChanged: true })
})

t.test('requestCert on a client fails with ERR_RENEGOTIATION_UNSUPPORTED, and the stream stays open', async (t) => {
  const pair = await tlsPair(t)
  const stream = wrapTLSSocket(pair.client)
  t.match(await rejection(stream.renegotiate({ requestCert: true })), {
    code: 'ERR_RENEGOTIATION_UNSUPPORTED',
    message: /requestCert is for a server/,
  })
  t.equal(stream.state, 'open')
})
