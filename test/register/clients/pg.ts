import { once } from 'node:events'
import type net from 'node:net'
import t, { type Test } from 'tap'
import { type ProgramOptions, program } from '../../fixtures/program.ts'
import type { PgInput, PgResult } from '../../fixtures/programs/pg.ts'
import { SEED } from '../../fixtures/random.ts'
import { renegotiatingProxy } from '../../fixtures/renegotiating-proxy.ts'
import { postgres, skip } from '../../fixtures/servers.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)
const VALUES = 40

if (skip.postgres) t.plan(0, skip.postgres)
else {
  const { port: server } = await postgres(t)

  async function run(t: Test, port: number, atATime: number, options: ProgramOptions) {
    const input: PgInput = { port, seed: SEED, values: VALUES, atATime }
    const client = program(t, 'pg', { ...options, input })
    return { ...(await client.told<PgResult>()), ...(await client.ended) }
  }

  /** Answers yes to the first message of a client, which asks for TLS. */
  async function acceptTLS(socket: net.Socket): Promise<net.Socket> {
    await once(socket, 'data')
    socket.write('S')
    return socket
  }

  /** Checks that each value came back, without an error. */
  function checkData(t: Test, { sent, received, errors }: PgResult): void {
    t.strictSame(errors, [])
    t.strictSame(received, sent)
    t.ok(sent.bytes >= 10_000_000, `${sent.bytes} bytes`)
  }

  // PostgreSQL itself forbids renegotiation.
  t.test('under the hook, pg sends and gets 10 MB while a proxy before PostgreSQL renegotiates', async (t) => {
    // Less than the proxy reads ahead: PostgreSQL reads no more queries while its answers wait for a handshake.
    const before = await renegotiatingProxy(t, server, { beforeTLS: acceptTLS })
    const result = await run(t, before.port, VALUES, { hook: true })
    checkData(t, result)
    t.equal(result.stderr, '')
    t.equal(before.sockets.length, 1, 'connections')
    t.ok(before.renegotiations >= 20, `${before.renegotiations} renegotiations`)

    const plain = await renegotiatingProxy(t, server, { beforeTLS: acceptTLS })
    const { errors } = await run(t, plain.port, VALUES, { hook: false })
    t.comment(`without the hook: ${errors[0] ?? 'no error'}, ${plain.renegotiations} renegotiations`)
  })

  t.test('under the hook, pg renegotiates on a schedule', async (t) => {
    const { port, sockets } = await renegotiatingProxy(t, server, { beforeTLS: acceptTLS, everyBytes: Infinity })
    const env = { RENEGOTIATION_REKEY: '5ms-20ms', RENEGOTIATION_REPORT: '1' }
    const result = await run(t, port, 1, { hook: true, env, after: ['--tls-max-v1.2'] })
    checkData(t, result)
    t.equal(sockets.length, 1, 'connections')
    // At the end, the connection is closed, perhaps while it renegotiates.
    const report = /^renegotiation-duplex: 1 sockets guarded, 0 left alone, (\d+) renegotiations, [01] failed\n$/
    const [, count] = report.exec(result.stderr) ?? []
    t.ok(Number(count) >= 3, result.stderr)
  })
}
