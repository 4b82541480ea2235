import t, { type Test } from 'tap'
import { type ProgramOptions, program } from '../../fixtures/program.ts'
import type { MysqlInput, MysqlResult } from '../../fixtures/programs/mysql2.ts'
import { SEED } from '../../fixtures/random.ts'
import { mariadb, skip } from '../../fixtures/servers.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)
const VALUES = 40

if (skip.mariadb) t.plan(0, skip.mariadb)
else {
  const { port } = await mariadb(t, { allowRenegotiation: true })

  async function run(t: Test, renegotiate: boolean, options: ProgramOptions) {
    const input: MysqlInput = { port, seed: SEED, values: VALUES, renegotiate }
    const client = program(t, 'mysql2', { ...options, input })
    return { ...(await client.told<MysqlResult>()), ...(await client.ended) }
  }

  /** Checks that each value came back, without an error. The program does not connect anew after an error. */
  function checkData(t: Test, { sent, received, errors }: MysqlResult): void {
    t.strictSame(errors, [])
    t.strictSame(received, sent)
    t.ok(sent.bytes >= 10_000_000, `${sent.bytes} bytes`)
  }

  t.test('under the hook, mysql2 sends and gets 10 MB while it renegotiates with MariaDB on a schedule', async (t) => {
    const env = { RENEGOTIATION_REKEY: '5ms-20ms', RENEGOTIATION_REPORT: '1' }
    const result = await run(t, false, { hook: true, env })
    checkData(t, result)
    // At the end, the connection is closed, perhaps while it renegotiates.
    const report = /^renegotiation-duplex: 1 sockets guarded, 0 left alone, (\d+) renegotiations, [01] failed\n$/
    const [, count] = report.exec(result.stderr) ?? []
    t.ok(Number(count) >= 3, result.stderr)
  })

  t.test('under the hook, a program renegotiates on the socket of mysql2 after each answer', async (t) => {
    const result = await run(t, true, { hook: true })
    checkData(t, result)
    t.equal(result.renegotiations, VALUES)
    t.equal(result.stderr, '')

    const plain = await run(t, true, { hook: false })
    t.match(plain.errors[0], /unexpected record/, 'without the hook, the connection is lost')
    t.not(plain.renegotiations, VALUES)
  })
}
