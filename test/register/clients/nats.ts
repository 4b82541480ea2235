import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { type ProgramOptions, program } from '../../fixtures/program.ts'
import type { NatsInput, NatsResult } from '../../fixtures/programs/nats.ts'
import { SEED } from '../../fixtures/random.ts'
import { type ProxyOptions, type RenegotiatingProxy, renegotiatingProxy } from '../../fixtures/renegotiating-proxy.ts'
import { nats, skip } from '../../fixtures/servers.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)
const MESSAGES = 100

interface Proxies {
  /** The port for clients. */
  port: number
  /** What the client talks to after the first line. */
  behind: RenegotiatingProxy
}

if (skip.nats) t.plan(0, skip.nats)
else {
  const { port: server } = await nats(t)

  /**
   * The server of NATS, with a proxy in front that renegotiates. As with TLS in the server itself (which is written in
   * Go and never renegotiates), a connection begins with a line in the clear, which says that TLS follows.
   */
  async function proxies(t: Test, options?: ProxyOptions): Promise<Proxies> {
    const connected: Socket[] = []
    const behind = await renegotiatingProxy(t, () => connected.shift() as Socket, options)
    const front = net.createServer(async (near) => {
      const far = net.connect(server, '127.0.0.1')
      connected.push(far)
      const [line] = await once(far, 'data')
      far.pause()
      const info = JSON.parse(String(line).replace(/^INFO /, ''))
      near.write(`INFO ${JSON.stringify({ ...info, tls_required: true })}\r\n`)
      const middle = net.connect(behind.port, '127.0.0.1')
      near.pipe(middle).pipe(near)
      near.on('error', () => middle.destroy())
      middle.on('error', () => near.destroy())
    })
    front.listen(0, '127.0.0.1')
    await once(front, 'listening')
    t.teardown(() => front.close())
    return { port: (front.address() as AddressInfo).port, behind }
  }

  /** Returns what the client tells, and the errors of the proxy, both before the client closes its connection. */
  async function run(t: Test, { port, behind }: Proxies, options: ProgramOptions, messages = MESSAGES) {
    const client = program(t, 'nats', { ...options, input: { port, seed: SEED, messages } satisfies NatsInput })
    const result = await client.told<NatsResult>()
    const errors = [...result.errors, ...behind.errors]
    client.tell('close')
    return { ...result, errors, ...(await client.ended) }
  }

  t.test(
    'under the hook, the NATS client publishes 10 MB, and gets them back, while the proxy renegotiates',
    async (t) => {
      const before = await proxies(t)
      const { sent, received, messages, errors, stderr } = await run(t, before, { hook: true })
      const { sockets, renegotiations } = before.behind
      t.equal(messages, MESSAGES)
      t.equal(received, sent)
      t.strictSame([...errors, stderr], [''])
      t.equal(sockets.length, 1)
      t.ok(renegotiations >= 10, `${renegotiations} renegotiations`)

      const plain = await proxies(t)
      const { errors: itsErrors } = await run(t, plain, { hook: false })
      // The proxy is guarded and sends nothing during a handshake, so that nothing meets the client's handshake.
      t.comment(`without the hook: ${itsErrors[0] ?? 'no error'}, ${plain.behind.renegotiations} renegotiations`)
    },
  )

  t.test('under the hook, the NATS client and the proxy both renegotiate, without a loss', async (t) => {
    const both = await proxies(t, { everyBytes: 4 * 1024 * 1024 })
    const env = { RENEGOTIATION_REKEY: '5ms-20ms', RENEGOTIATION_REPORT: '1' }
    const { sent, received, messages, errors, stderr } = await run(t, both, { hook: true, env }, 3 * MESSAGES)
    t.equal(messages, 3 * MESSAGES)
    t.equal(received, sent)
    t.strictSame(errors, [])
    // One may be in progress when the client closes the connection.
    const [, count] =
      /^renegotiation-duplex: 1 sockets guarded, 0 left alone, (\d+) renegotiations, [01] failed\n$/.exec(stderr) ?? []
    const { renegotiations } = both.behind
    t.ok(Number(count) > renegotiations, `${renegotiations} of the proxy; ${stderr}`)
  })

  t.test('without the hook, and with a proxy of plain node:tls, the connection is lost (control)', async (t) => {
    const plain = await proxies(t, { guarded: false })
    const { messages, errors } = await run(t, plain, { hook: false })
    t.ok(messages < MESSAGES, `${messages} messages came back, ${plain.behind.renegotiations} renegotiations`)
    t.match(errors.join(), /EPROTO/)
  })
}
