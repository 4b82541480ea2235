import { once } from 'node:events'
import t, { type Test } from 'tap'
import type { RenegotiationTLSSocket } from '../../src/index.ts'
import { connect as connectTLS, isAvailable } from '../../src/openssl/index.ts'
import { skip as missing, OpenSSL } from '../fixtures/openssl.ts'
import { OpenSSLTraffic } from '../fixtures/openssl-traffic.ts'
import { ca, client as clientIdentity, server as identity } from '../fixtures/pki.ts'
import { SEED } from '../fixtures/random.ts'

const skip = missing || (!isAvailable() && 'there is no OpenSSL here')
t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

/** Connects a client of this package, which has a certificate, to `openssl s_server`. */
async function connect(t: Test): Promise<{ server: OpenSSL; stream: RenegotiationTLSSocket }> {
  const dir = t.testdir({ 'ca.pem': ca, 'server.pem': `${identity.key}\n${identity.cert}\n` })
  const files = ['-CAfile', `${dir}/ca.pem`, '-cert', `${dir}/server.pem`]
  const server = new OpenSSL('s_server', '-tls1_3', '-accept', '127.0.0.1:0', '-naccept', '1', ...files)
  t.teardown(() => server.kill())
  const [, port] = await server.says(/ACCEPT 127\.0\.0\.1:(\d+)/)
  const stream = connectTLS({ host: '127.0.0.1', port: Number(port), servername: 'localhost', ca, ...clientIdentity })
  t.teardown(() => stream.destroy())
  await once(stream, 'secureConnect')
  return { server, stream }
}

t.test('a client and openssl s_server update their keys under traffic, and no byte is lost', { skip }, async (t) => {
  const { server, stream } = await connect(t)
  const traffic = new OpenSSLTraffic(stream, server, SEED)
  for (let i = 0; i < 10; i++) {
    t.match(await traffic.command('k'), { origin: 'peer', kind: 'key-update', verified: true, freshSecret: false })
    t.match(await traffic.command('K'), { origin: 'peer', kind: 'key-update', verified: true, freshSecret: false })
    await server.says(/read client key update/)
    t.match(await traffic.update(), { origin: 'local', kind: 'key-update', verified: true, freshSecret: false })
  }
  await traffic.finish()
  t.equal(await server.exited, 0)
  t.same(traffic.received.sum(), server.sent.sum())
  t.same(server.received.sum(), traffic.sent.sum())
  t.equal(traffic.reports.length, 30)
  t.has(stream.counters, { renegotiations: 30, byPeer: 20, failed: 0 })
})

t.test('a client answers the certificate requests of openssl s_server under traffic', { skip }, async (t) => {
  const { server, stream } = await connect(t)
  const traffic = new OpenSSLTraffic(stream, server, SEED)
  for (let i = 0; i < 3; i++) {
    t.match(await traffic.command('c'), { origin: 'peer', kind: 'post-handshake-auth', verified: false })
    await server.says(/read client certificate/)
    await server.says(/read finished/)
    t.match(await traffic.update(), { origin: 'local', kind: 'key-update', verified: true })
  }
  await traffic.finish()
  t.same(traffic.received.sum(), server.sent.sum())
  t.same(server.received.sum(), traffic.sent.sum())
  t.has(stream.counters, { renegotiations: 6, byPeer: 3, failed: 0 })
})
