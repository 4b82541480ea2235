import { once } from 'node:events'
import t, { type Test } from 'tap'
import type { RenegotiationOptions, RenegotiationTLSSocket } from '../../src/index.ts'
import { connect } from '../../src/openssl/index.ts'
import { alice, mallory, nameOfPeer } from '../fixtures/attack.ts'
import { clientAndServer, openSSLServer } from '../fixtures/openssl-pair.ts'
import { nextError } from '../fixtures/settled.ts'
import type { HandshakeOptions } from '../fixtures/tls12/options.ts'
import { RawPeer } from '../fixtures/tls12/peer.ts'

/** The streams of a connection with TLS 1.2 whose server has these options. Both flow. */
async function streams(t: Test, renegotiation: RenegotiationOptions) {
  const { client, server } = await clientAndServer(t, 'TLSv1.2', { server: { renegotiation } })
  client.resume()
  server.resume()
  return { client, server }
}

t.test('by default, a session is resumed unless a certificate is requested or known', async (t) => {
  const { server } = await streams(t, {})
  t.match(await server.renegotiate(), { resumed: true, freshSecret: false, verified: true })
  t.match(await server.renegotiate({ requestCert: true }), { resumed: false, authorized: true })
  t.match(await server.renegotiate(), { resumed: false, authorized: true })
})

t.test('with resumption: true, a session is resumed unless a certificate is requested', async (t) => {
  const { client, server } = await streams(t, { resumption: true })
  const atClient = once(client, 'renegotiated')
  t.match(await server.renegotiate(), { resumed: true, freshSecret: false, verified: true })
  t.match(await atClient, [{ resumed: true, authorized: true }])
  t.match(await server.renegotiate({ requestCert: true }), { resumed: false, freshSecret: true, authorized: true })
  // OpenSSL gives the client no ticket in such a handshake, but in the next one.
  t.match(await server.renegotiate(), { resumed: false, authorized: true })
  t.match(await server.renegotiate(), { resumed: true, authorized: true, peerCertificateChanged: false })
  t.equal(nameOfPeer(server), 'client')
  t.match(await server.renegotiate({ rejectUnauthorized: true }), { resumed: false, authorized: true })
})

t.test('with resumption: false, each handshake is a full one, also of a client that offers its session', async (t) => {
  const { server } = await streams(t, { resumption: false })
  for (let i = 0; i < 2; i++) t.match(await server.renegotiate(), { resumed: false, freshSecret: true })
  const { raw, stream } = await (await scripted(t, { resumption: false, peerLimit: false }))(mallory)
  const over = once(stream, 'renegotiated')
  await raw.renegotiate({ resume: raw.session })
  t.match(await over, [{ origin: 'peer', resumed: false }])
})

/** Returns a function that connects a scripted client. */
async function scripted(t: Test, renegotiation: RenegotiationOptions) {
  const options = { requestCert: true, rejectUnauthorized: false, maxVersion: 'TLSv1.2' } as const
  const server = await openSSLServer(t, { ...options, renegotiation })
  return async (client: HandshakeOptions) => {
    const accepted = once(server, 'secureConnection') as Promise<[RenegotiationTLSSocket]>
    const raw = await RawPeer.connect({ port: server.port, servername: 'localhost', ticket: true, ...client }, t)
    await raw.handshake()
    const [stream] = await accepted
    stream.on('error', () => {}).resume()
    t.teardown(() => stream.destroy())
    return { raw, stream }
  }
}

t.test('a session with another certificate, or with a first one, ends the stream when it is resumed', async (t) => {
  const dial = await scripted(t, { resumption: true, peerLimit: false })
  for (const own of [mallory, { certificates: [] }]) {
    const { raw, stream } = await dial(own)
    const over = once(stream, 'renegotiated')
    await raw.renegotiate({ resume: raw.session })
    t.match(await over, [{ origin: 'peer', resumed: true, peerCertificateChanged: false }], 'its own session (control)')
    const { raw: another } = await dial(alice)
    const name = nameOfPeer(stream)
    const failed = nextError(stream)
    await raw.handshake({ resume: another.session }).catch(() => {})
    t.equal(raw.state.resumed, true, 'OpenSSL has resumed the other session')
    t.match(await failed, { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED' })
    t.equal(nameOfPeer(stream), name)
  }
})

t.test('a client whose server has a wrong name is not authorized after the session was resumed', async (t) => {
  const options = { server: { renegotiation: { resumption: true } }, client: { rejectUnauthorized: false } }
  const client = { ...options.client, servername: 'wrong.example' }
  const { client: near, server: far } = await clientAndServer(t, 'TLSv1.2', { ...options, client })
  near.resume()
  far.resume()
  t.strictSame([near.authorized, `${near.authorizationError}`], [false, 'ERR_TLS_CERT_ALTNAME_INVALID'])
  const atClient = once(near, 'renegotiated')
  t.match(await far.renegotiate(), { resumed: true })
  t.match(await atClient, [{ resumed: true, authorized: false }])
  t.strictSame([near.authorized, `${near.authorizationError}`], [false, 'ERR_TLS_CERT_ALTNAME_INVALID'])
  t.match(await near.renegotiate(), { resumed: false, authorized: false })
})

t.test('a client refuses the option', async (t) => {
  t.throws(() => connect({ port: 1, renegotiation: { resumption: true } }), {
    code: 'ERR_INVALID_ARG_VALUE',
    message: /resumption is an option of a server/,
  })
})
