import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import type { RenegotiationTLSSocket } from '../../src/index.ts'
import { createServer, isAvailable } from '../../src/openssl/index.ts'
import { skip as missing, OpenSSL } from '../fixtures/openssl.ts'
import { OpenSSLTraffic } from '../fixtures/openssl-traffic.ts'
import { ca, client as clientIdentity, server as identity } from '../fixtures/pki.ts'
import { Random, SEED } from '../fixtures/random.ts'
import { Tally } from '../fixtures/tally.ts'

const skip = missing || (!isAvailable() && 'there is no OpenSSL here')
t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

/** Connects `openssl s_client`, which has a certificate, to a server of this package. */
async function connect(t: Test, ...more: string[]): Promise<{ client: OpenSSL; stream: RenegotiationTLSSocket }> {
  const server = createServer({ ...identity, ca, minVersion: 'TLSv1.3' }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const dir = t.testdir({ 'ca.pem': ca, 'client.pem': `${clientIdentity.key}\n${clientIdentity.cert}\n` })
  const files = ['-CAfile', `${dir}/ca.pem`, '-cert', `${dir}/client.pem`]
  const client = new OpenSSL('s_client', '-tls1_3', '-connect', `127.0.0.1:${port}`, ...files, ...more)
  t.teardown(() => client.kill())
  const [stream] = (await once(server, 'secureConnection')) as [RenegotiationTLSSocket]
  t.teardown(() => stream.destroy())
  server.close()
  return { client, stream }
}

t.test('a server and openssl s_client update their keys under traffic, and no byte is lost', { skip }, async (t) => {
  const { client, stream } = await connect(t)
  const traffic = new OpenSSLTraffic(stream, client, SEED)
  for (let i = 0; i < 10; i++) {
    // Without a request, and with one, which is answered.
    t.match(await traffic.command('k'), { origin: 'peer', kind: 'key-update', verified: true, freshSecret: false })
    t.match(await traffic.command('K'), { origin: 'peer', kind: 'key-update', verified: true, freshSecret: false })
    await client.says(/read server key update/)
    t.match(await traffic.update(), { origin: 'local', kind: 'key-update', verified: true, freshSecret: false })
  }
  await traffic.finish()
  t.equal(await client.exited, 0)
  t.same(traffic.received.sum(), client.sent.sum())
  t.same(client.received.sum(), traffic.sent.sum())
  t.equal(traffic.reports.length, 30)
  t.has(stream.counters, { renegotiations: 30, byPeer: 20, failed: 0 })
})

t.test('an s_client that only reads never answers, and the stream stays open', { skip }, async (t) => {
  const { client, stream } = await connect(t)
  const sent = new Tally()
  const received = new Tally()
  const random = new Random(SEED)
  const send = () => {
    const chunk = random.chunk()
    sent.add(chunk)
    stream.write(chunk)
  }
  const answer = async () => {
    await client.send(random.chunk())
    while (received.bytes < client.sent.bytes) await once(stream, 'data')
  }
  stream.on('data', (chunk: Buffer) => received.add(chunk))
  send()
  const unanswered = stream.renegotiate({ handshakeTimeout: 200 })
  send()
  t.match(await unanswered, { origin: 'local', kind: 'key-update', verified: false })
  t.equal(stream.state, 'open')
  t.equal(stream.destroyed, false)
  // It has read the new keys all the same.
  send()
  await client.hasReceived(sent.bytes)
  // The late answer comes with its first data, and counts for nothing.
  await answer()
  const answered = stream.renegotiate()
  send()
  await client.hasReceived(sent.bytes)
  await answer()
  t.match(await answered, { origin: 'local', kind: 'key-update', verified: true })
  stream.end()
  await once(stream, 'close')
  t.same(received.sum(), client.sent.sum())
  t.same(client.received.sum(), sent.sum())
  t.has(stream.counters, { renegotiations: 2, byPeer: 0, failed: 0 })
})

t.test('several late answers are not taken for updates of the peer', { skip }, async (t) => {
  const { client, stream } = await connect(t)
  const arrived = once(stream, 'data')
  t.match(await stream.renegotiate({ handshakeTimeout: 200 }), { kind: 'key-update', verified: false })
  // OpenSSL answers a request before it reads the next one, and the last one with its next data.
  t.match(await stream.renegotiate(), { kind: 'key-update', verified: true })
  t.match(await stream.renegotiate(), { kind: 'key-update', verified: true })
  await client.send(Buffer.alloc(10, 200))
  await arrived
  t.has(stream.counters, { renegotiations: 3, byPeer: 0, failed: 0 })
})

t.test('a server requests the certificate of s_client -enable_pha under traffic', { skip }, async (t) => {
  const { client, stream } = await connect(t, '-enable_pha')
  t.same(stream.getPeerCertificate(), {}, 'not in the first handshake')
  const traffic = new OpenSSLTraffic(stream, client, SEED)
  for (let i = 0; i < 3; i++) {
    await traffic.programSends()
    t.match(await stream.renegotiate({ requestCert: true }), {
      origin: 'local',
      kind: 'post-handshake-auth',
      authorized: true,
      peerCertificateChanged: i === 0,
    })
    t.equal(stream.getPeerCertificate().subject.CN, 'client')
    t.match(await traffic.command('K'), { origin: 'peer', kind: 'key-update', verified: true })
  }
  await traffic.finish()
  t.same(traffic.received.sum(), client.sent.sum())
  t.same(client.received.sum(), traffic.sent.sum())
})

t.test('the late answer to a key update is not taken for the certificate of the client', { skip }, async (t) => {
  const { stream } = await connect(t, '-enable_pha')
  stream.resume()
  t.match(await stream.renegotiate({ handshakeTimeout: 200 }), { kind: 'key-update', verified: false })
  // OpenSSL sends the answer before it reads the request.
  t.match(await stream.renegotiate({ requestCert: true }), { kind: 'post-handshake-auth', authorized: true })
  t.equal(stream.getPeerCertificate().subject.CN, 'client')
  t.has(stream.counters, { renegotiations: 2, byPeer: 0, failed: 0 })
})

t.test('without -enable_pha, the request is an error, and the connection goes on', { skip }, async (t) => {
  const { client, stream } = await connect(t)
  const traffic = new OpenSSLTraffic(stream, client, SEED)
  await t.rejects(stream.renegotiate({ requestCert: true }), { code: 'ERR_RENEGOTIATION_UNSUPPORTED' })
  t.match(await traffic.update(), { kind: 'key-update', verified: true })
  await traffic.finish()
  t.same(traffic.received.sum(), client.sent.sum())
  t.same(client.received.sum(), traffic.sent.sum())
})
