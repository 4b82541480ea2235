import t, { type Test } from 'tap'
import { kafkaBroker } from '../../fixtures/kafka-broker.ts'
import { type ProgramOptions, program } from '../../fixtures/program.ts'
import type { KafkajsInput, KafkajsResult } from '../../fixtures/programs/kafkajs.ts'
import { SEED } from '../../fixtures/random.ts'
import { relay } from '../../fixtures/relay.ts'
import { type ProxyOptions, renegotiatingProxy } from '../../fixtures/renegotiating-proxy.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)
const MESSAGES = 100
const TOPIC = 'topic'
/** kafkajs has one for the producer, and two for the consumer, one of them only to fetch messages. */
const CONNECTIONS = 3

interface Settings extends ProgramOptions {
  proxy?: ProxyOptions
  /** Milliseconds between the client and the proxy, in each direction. Default: no relay. */
  latency?: number
}

async function run(t: Test, { proxy: proxyOptions, latency, ...options }: Settings) {
  const broker = await kafkaBroker(t, TOPIC)
  const proxy = await renegotiatingProxy(t, broker.port, proxyOptions)
  broker.advertisedPort = proxy.port
  if (latency !== undefined) {
    const between = await relay(proxy.port, { latency })
    t.teardown(() => between.close())
    broker.advertisedPort = between.port
  }
  const input: KafkajsInput = { port: broker.advertisedPort, topic: TOPIC, seed: SEED, messages: MESSAGES }
  const client = program(t, 'kafkajs', { ...options, input })
  const result = await client.told<KafkajsResult>()
  const errors = [...result.errors, ...proxy.errors, ...broker.errors]
  client.tell('end')
  return { ...result, errors, proxy, ...(await client.ended) }
}

t.test('under the hook, kafkajs produces and consumes 10 MB while the broker renegotiates', async (t) => {
  const { sent, received, acknowledged, consumed, errors, proxy } = await run(t, { hook: true })
  t.strictSame({ acknowledged, consumed }, { acknowledged: MESSAGES, consumed: MESSAGES })
  t.equal(received, sent)
  t.strictSame(errors, [])
  t.equal(proxy.sockets.length, CONNECTIONS)
  t.ok(proxy.renegotiations >= 10, `${proxy.renegotiations} renegotiations`)

  const plain = await run(t, { hook: false })
  // The proxy is guarded and sends nothing during a handshake, so that nothing meets the client's handshake.
  t.comment(`without the hook: ${plain.errors[0] ?? 'no error'}, ${plain.proxy.renegotiations} renegotiations`)
})

t.test('under the hook, kafkajs and the broker both renegotiate, without a loss', async (t) => {
  const env = { RENEGOTIATION_REKEY: '5ms-20ms', RENEGOTIATION_REPORT: '1' }
  const { sent, received, acknowledged, consumed, errors, proxy, stderr } = await run(t, {
    hook: true,
    env,
    proxy: { everyBytes: 1024 * 1024 },
  })
  t.strictSame({ acknowledged, consumed }, { acknowledged: MESSAGES, consumed: MESSAGES })
  t.equal(received, sent)
  t.strictSame(errors, [])
  // On each connection, one may be in progress when the client closes it.
  const [, count] =
    /^renegotiation-duplex: 3 sockets guarded, 0 left alone, (\d+) renegotiations, [0-3] failed\n$/m.exec(stderr) ?? []
  t.ok(Number(count) > proxy.renegotiations, `${proxy.renegotiations} of the proxy; ${stderr}`)
})

// With the latency, data is always on its way in both directions.
t.test('without the hook, and with a broker of plain node:tls, a connection is lost (control)', async (t) => {
  const { consumed, errors, proxy } = await run(t, { hook: false, proxy: { guarded: false }, latency: 20 })
  t.ok(consumed < MESSAGES, `${consumed} messages were consumed, ${proxy.renegotiations} renegotiations`)
  t.match(errors.join(), /EPROTO/)
})
