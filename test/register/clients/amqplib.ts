import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { type Program, type ProgramOptions, program } from '../../fixtures/program.ts'
import type { AmqplibInput, AmqplibResult } from '../../fixtures/programs/amqplib.ts'
import { SEED } from '../../fixtures/random.ts'
import { RecordScanner, RecordType } from '../../fixtures/record-scanner.ts'
import { relay } from '../../fixtures/relay.ts'
import { type RenegotiatingProxy, renegotiatingProxy } from '../../fixtures/renegotiating-proxy.ts'
import { rabbitmq, skip } from '../../fixtures/servers.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)
const MESSAGES = 100

if (skip.rabbitmq) t.plan(0, skip.rabbitmq)
else {
  const { port: tcpPort, tlsPort } = await rabbitmq(t)

  function start(t: Test, input: Omit<AmqplibInput, 'seed'>, options: ProgramOptions) {
    return program(t, 'amqplib', { ...options, input: { seed: SEED, ...input } satisfies AmqplibInput })
  }

  /** Returns what the client tells, and the errors of the proxy, both before the client closes its connection. */
  async function resultOf(client: Program, proxy?: RenegotiatingProxy) {
    const result = await client.told<AmqplibResult>()
    const errors = [...result.errors, ...(proxy?.errors ?? [])]
    client.tell('close')
    return { ...result, errors, ...(await client.ended) }
  }

  t.test('under the hook, amqplib publishes and consumes 10 MB while the server renegotiates', async (t) => {
    const before = await renegotiatingProxy(t, tcpPort)
    const { sent, received, messages, errors, stderr } = await resultOf(
      start(t, { port: before.port, messages: MESSAGES }, { hook: true }),
      before,
    )
    t.equal(messages, MESSAGES)
    t.equal(received, sent)
    t.strictSame([...errors, stderr], [''])
    t.equal(before.sockets.length, 1)
    t.ok(before.renegotiations >= 10, `${before.renegotiations} renegotiations`)

    const plain = await renegotiatingProxy(t, tcpPort)
    const { errors: itsErrors } = await resultOf(start(t, { port: plain.port, messages: MESSAGES }, { hook: false }))
    // The proxy is guarded and sends nothing during a handshake, so that nothing meets the client's handshake.
    t.comment(`without the hook: ${itsErrors[0] ?? 'no error'}, ${plain.renegotiations} renegotiations`)
  })

  /** Data is always on its way in both directions when the client renegotiates. */
  async function itself(t: Test) {
    const way = await relay(tlsPort, { latency: 20 })
    t.teardown(() => way.close())
    return { port: way.port, messages: MESSAGES, renegotiates: true }
  }

  t.test("under the hook, amqplib renegotiates with RabbitMQ itself, by Node's method, without a loss", async (t) => {
    const env = { RENEGOTIATION_REPORT: '1' }
    const { sent, received, messages, renegotiated, errors, stderr } = await resultOf(
      start(t, await itself(t), { hook: true, env }),
    )
    t.equal(messages, MESSAGES)
    t.equal(received, sent)
    t.strictSame(errors, [])
    t.ok(renegotiated)
    t.equal(stderr, 'renegotiation-duplex: 1 sockets guarded, 0 left alone, 1 renegotiations, 0 failed\n')
  })

  t.test('without the hook, the same code loses the connection to RabbitMQ (control)', async (t) => {
    const attempt = async () => resultOf(start(t, await itself(t), { hook: false }))
    let result = await attempt()
    // About one run of 40 is lucky.
    for (let i = 0; i < 5 && result.renegotiated; i++) result = await attempt()
    t.ok(result.messages < MESSAGES, `${result.messages} messages came back`)
    t.match(result.errors.join(), /EPROTO.*unexpected record/)
  })

  t.test('under the hook, amqplib renegotiates on a schedule with RabbitMQ itself', async (t) => {
    const way = await watchedWay(t, tlsPort)
    // Erlang refuses a renegotiation within 12 seconds of the one before.
    const env = { RENEGOTIATION_REKEY: '13s', RENEGOTIATION_REPORT: '1' }
    const client = start(t, { port: way.port }, { hook: true, env })
    void way.renegotiated.then(() => client.tell('end'))
    const { sent, received, messages, errors, stderr } = await resultOf(client)
    t.ok(messages >= MESSAGES, `${messages} messages`)
    t.equal(received, sent)
    t.strictSame(errors, [])
    t.equal(stderr, 'renegotiation-duplex: 1 sockets guarded, 0 left alone, 1 renegotiations, 0 failed\n')
  })
}

/** A way to a TLS server. It shows when the server has changed its keys for the second time. */
async function watchedWay(t: Test, to: number): Promise<{ port: number; renegotiated: Promise<unknown> }> {
  const renegotiated = new AbortController()
  const way = net.createServer((near) => {
    const far = net.connect(to, '127.0.0.1')
    const scanner = new RecordScanner()
    let changes = 0
    far.on('data', (chunk) => {
      for (const { type, offset } of scanner.scan(chunk)) {
        if (type === RecordType.changeCipherSpec && offset === 0 && ++changes === 2) renegotiated.abort()
      }
    })
    near.pipe(far).pipe(near)
    near.on('error', () => far.destroy())
    far.on('error', () => near.destroy())
  })
  way.listen(0, '127.0.0.1')
  await once(way, 'listening')
  t.teardown(() => way.close())
  return { port: (way.address() as AddressInfo).port, renegotiated: once(renegotiated.signal, 'abort') }
}
