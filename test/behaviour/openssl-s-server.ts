import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import tls, { type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { type RenegotiationReport, wrapTLSSocket } from '../../src/index.ts'
import { OpenSSL, skip } from '../fixtures/openssl.ts'
import { ca, server as identity } from '../fixtures/pki.ts'
import { Random, SEED } from '../fixtures/random.ts'
import { relay } from '../fixtures/relay.ts'
import { Tally } from '../fixtures/tally.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

/** Connects a client to `openssl s_server` through a relay with a latency of 20 ms. */
async function connect(t: Test): Promise<{ server: OpenSSL; socket: TLSSocket }> {
  const dir = t.testdir({ 'server.pem': `${identity.key}\n${identity.cert}\n` })
  const server = new OpenSSL('s_server', '-accept', '127.0.0.1:0', '-naccept', '1', '-cert', `${dir}/server.pem`)
  t.teardown(() => server.kill())
  const [, port] = await server.says(/ACCEPT 127\.0\.0\.1:(\d+)/)
  const far = await relay(Number(port), { latency: 20 })
  t.teardown(() => far.close())
  const socket = tls.connect({ host: '127.0.0.1', port: far.port, ca })
  await once(socket, 'secureConnect')
  return { server, socket }
}

/**
 * Both ends send as fast as they can while the server renegotiates ten times. The
 * client emits the event `renegotiated` after each renegotiation.
 */
async function converse(
  server: OpenSSL,
  stream: Duplex,
  renegotiated: string,
): Promise<{ sent: Tally; received: Tally }> {
  const sent = new Tally()
  const received = new Tally()
  let done = false
  stream.on('data', (chunk: Buffer) => received.add(chunk))

  async function client(): Promise<void> {
    const random = new Random(SEED)
    while (!done) {
      const chunk = random.chunk()
      sent.add(chunk)
      if (!stream.write(chunk)) await once(stream, 'drain')
    }
  }

  async function renegotiations(): Promise<void> {
    const random = new Random(SEED + 1)
    for (let i = 0; i < 10; i++) {
      let handshaking = true
      const completed = once(stream, renegotiated).finally(() => {
        handshaking = false
      })
      const meanwhile = async () => {
        await server.renegotiate()
        while (handshaking) await server.send(random.chunk())
      }
      await Promise.all([completed, meanwhile()])
      while (received.bytes < server.sent.bytes) await once(stream, 'data')
    }
    done = true
  }

  await Promise.all([client(), renegotiations()])
  return { sent, received }
}

t.test('a client completes ten renegotiations of openssl s_server, and no byte is lost', { skip }, async (t) => {
  const { server, socket } = await connect(t)
  const stream = wrapTLSSocket(socket)
  let inboundBytes = 0
  stream.on('renegotiated', (report: RenegotiationReport) => {
    inboundBytes += report.inboundBytes
  })
  const { sent, received } = await converse(server, stream, 'renegotiated')
  stream.end()
  await once(stream, 'close')
  t.equal(await server.exited, 0)
  t.same(received.sum(), server.sent.sum())
  t.same(server.received.sum(), sent.sum())
  t.has(stream.counters, { renegotiations: 10, byPeer: 10, failed: 0 })
  t.ok(inboundBytes > 0, 'some data arrived during the renegotiations')
})

t.test('a plain client fails at the first renegotiation of openssl s_server (control)', { skip }, async (t) => {
  const { server, socket } = await connect(t)
  const completed = t.captureFn(() => {})
  socket.on('secure', completed)
  await t.rejects(converse(server, socket, 'secure'), { code: 'EPROTO', message: /unexpected record/ })
  t.same(completed.calls, [])
})
