import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import tls, { type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { type RenegotiationStream, wrapTLSSocket } from '../../src/index.ts'
import { OpenSSL, skip } from '../fixtures/openssl.ts'
import { ca, server as identity } from '../fixtures/pki.ts'
import { Random, SEED } from '../fixtures/random.ts'
import { relay } from '../fixtures/relay.ts'
import { Tally } from '../fixtures/tally.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

/**
 * Connects `openssl s_client` to a wrapped server through a relay with a latency
 * of 20 ms. The relay calls `fromClient` when it receives data from the client.
 */
async function connect(t: Test, fromClient: () => void): Promise<{ client: OpenSSL; stream: RenegotiationStream }> {
  const server = tls.createServer({ ...identity, maxVersion: 'TLSv1.2' }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const far = await relay((server.address() as AddressInfo).port, { latency: 20, fromClient })
  t.teardown(() => far.close())
  const dir = t.testdir({ 'ca.pem': ca })
  const client = new OpenSSL('s_client', '-connect', `127.0.0.1:${far.port}`, '-CAfile', `${dir}/ca.pem`)
  t.teardown(() => client.kill())
  const [socket] = (await once(server, 'secureConnection')) as [TLSSocket]
  server.close()
  return { client, stream: wrapTLSSocket(socket, { peerLimit: false }) }
}

t.test('a server completes ten renegotiations of openssl s_client, and no byte is lost', { skip }, async (t) => {
  const { client, stream } = await connect(t, () => {})
  const random = new Random(SEED)
  const sent = new Tally()
  const received = new Tally()
  const send = () => {
    const chunk = random.chunk()
    sent.add(chunk)
    stream.write(chunk)
  }
  stream.on('data', (chunk: Buffer) => received.add(chunk))
  // This write is held until the handshake is complete. Data during the handshake would make s_client fail.
  stream.on('renegotiating', send)
  for (let i = 0; i < 10; i++) {
    send()
    await client.send(random.chunk())
    while (received.bytes < client.sent.bytes) await once(stream, 'data')
    await client.hasReceived(sent.bytes)
    await client.renegotiate()
    await once(stream, 'renegotiated')
  }
  stream.end()
  await once(stream, 'close')
  t.equal(await client.exited, 0)
  t.same(received.sum(), client.sent.sum())
  t.same(client.received.sum(), sent.sum())
  t.has(stream.counters, { renegotiations: 10, byPeer: 10, failed: 0 })
})

t.test('data that meets the handshake of s_client causes ERR_RENEGOTIATION_PEER_DATA', { skip }, async (t) => {
  let meet = () => {}
  const { client, stream } = await connect(t, () => meet())
  stream.resume()
  // The client sends nothing but its ClientHello. Only one record is written: if the client exits before it has read
  // everything, its kernel resets the connection, and the alert may be lost.
  meet = () => stream.write(Buffer.alloc(1000))
  const failed = once(stream, 'renegotiated')
  await client.renegotiate()
  await t.rejects(failed, {
    name: 'RenegotiationError',
    code: 'ERR_RENEGOTIATION_PEER_DATA',
    cause: { code: /^ERR_SSL_.*_ALERT_UNEXPECTED_MESSAGE$/ },
  })
  await client.says(/unexpected record/)
  t.has(stream.counters, { renegotiations: 0, byPeer: 0, failed: 0 })
})
