import t, { type Test } from 'tap'
import { type ProgramOptions, program } from '../../fixtures/program.ts'
import type { TediousInput, TediousResult } from '../../fixtures/programs/tedious.ts'
import { SEED } from '../../fixtures/random.ts'
import { type ProxyOptions, renegotiatingProxy } from '../../fixtures/renegotiating-proxy.ts'
import { encryptionOn, tdsServer } from '../../fixtures/tds-server.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)
const VALUES = 20

/** The ways in which TLS and the protocol of SQL Server (TDS) are combined. */
const ways: { name: string; encrypt: 'strict' | true; settings: ProxyOptions }[] = [
  { name: 'TLS comes first (TDS 8)', encrypt: 'strict', settings: { ALPNProtocols: ['tds/8.0'] } },
  { name: 'the first handshake is in packets of TDS 7', encrypt: true, settings: { beforeTLS: encryptionOn } },
]

for (const { name, encrypt, settings } of ways) {
  async function run(t: Test, port: number, options: ProgramOptions) {
    const input: TediousInput = { port, encrypt, seed: SEED, values: VALUES }
    const client = program(t, 'tedious', { ...options, input })
    return { ...(await client.told<TediousResult>()), ...(await client.ended) }
  }

  /** Checks that each value came back, without an error. */
  function checkData(t: Test, { sent, received, errors }: TediousResult): void {
    t.strictSame(errors, [])
    t.strictSame(received, sent)
    t.ok(sent.bytes >= 10_000_000, `${sent.bytes} bytes`)
  }

  t.test(`under the hook, tedious sends and gets 10 MB while the server renegotiates; ${name}`, async (t) => {
    const before = await renegotiatingProxy(t, await tdsServer(t), settings)
    const result = await run(t, before.port, { hook: true })
    checkData(t, result)
    t.equal(result.stderr, '')
    t.equal(before.sockets.length, 1, 'connections')
    t.ok(before.renegotiations >= 20, `${before.renegotiations} renegotiations`)

    const plain = await renegotiatingProxy(t, await tdsServer(t), settings)
    const { errors } = await run(t, plain.port, { hook: false })
    t.comment(`without the hook: ${errors[0] ?? 'no error'}, ${plain.renegotiations} renegotiations`)
  })

  t.test(`under the hook, tedious renegotiates on a schedule; ${name}`, async (t) => {
    const { port, sockets } = await renegotiatingProxy(t, await tdsServer(t), { everyBytes: Infinity, ...settings })
    const env = { RENEGOTIATION_REKEY: '5ms-20ms', RENEGOTIATION_REPORT: '1' }
    const result = await run(t, port, { hook: true, env, after: ['--tls-max-v1.2'] })
    checkData(t, result)
    t.equal(sockets.length, 1, 'connections')
    // At the end, the driver closes the connection, perhaps while it renegotiates.
    const report = /^renegotiation-duplex: 1 sockets guarded, 0 left alone, (\d+) renegotiations, [01] failed\n$/
    const [, count] = report.exec(result.stderr) ?? []
    t.ok(Number(count) >= 3, result.stderr)
  })
}
