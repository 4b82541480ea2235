import t, { type Test } from 'tap'
import { mongodbServer } from '../../fixtures/mongodb-server.ts'
import { type ProgramOptions, program } from '../../fixtures/program.ts'
import type { MongoInput, MongoResult } from '../../fixtures/programs/mongodb.ts'
import { SEED } from '../../fixtures/random.ts'
import { renegotiatingProxy } from '../../fixtures/renegotiating-proxy.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)
const COLLECTIONS = 3

async function run(t: Test, port: number, options: ProgramOptions) {
  const input: MongoInput = { port, seed: SEED, collections: COLLECTIONS, documents: 1000 }
  const client = program(t, 'mongodb', { ...options, input })
  return { ...(await client.told<MongoResult>()), ...(await client.ended) }
}

/** Checks that the driver has read what it had inserted, without an error, on the connections that it opened first. */
function checkData(t: Test, { sent, received, bytes, opened, lost, errors }: MongoResult): void {
  t.strictSame(errors, [])
  t.strictSame(received, sent)
  t.equal(sent.length, COLLECTIONS)
  t.ok(bytes > 5_000_000, `${bytes} bytes`)
  t.equal(opened, COLLECTIONS, 'connections of the pool')
  t.equal(lost, 0, 'no connection was lost')
}

t.test('under the hook, the driver of MongoDB inserts and reads 6 MB while the server renegotiates', async (t) => {
  const before = await renegotiatingProxy(t, await mongodbServer(t))
  const result = await run(t, before.port, { hook: true })
  checkData(t, result)
  t.equal(result.stderr, '')
  t.ok(before.renegotiations >= 30, `${before.renegotiations} renegotiations`)

  const plain = await renegotiatingProxy(t, await mongodbServer(t))
  const { errors, lost } = await run(t, plain.port, { hook: false })
  t.comment(`without the hook: ${errors[0] ?? 'no error'}, ${lost} lost, ${plain.renegotiations} renegotiations`)
})

t.test('under the hook, the driver of MongoDB renegotiates on a schedule', async (t) => {
  const { port } = await renegotiatingProxy(t, await mongodbServer(t), { everyBytes: Infinity })
  const env = { RENEGOTIATION_REKEY: '5ms-20ms', RENEGOTIATION_REPORT: '1' }
  const result = await run(t, port, { hook: true, env, after: ['--tls-max-v1.2'] })
  checkData(t, result)
  // One more connection is there to watch the server. At the end, the driver closes connections that renegotiate.
  const report = /^renegotiation-duplex: 4 sockets guarded, 0 left alone, (\d+) renegotiations, [0-4] failed\n$/
  const [, count] = report.exec(result.stderr) ?? []
  t.ok(Number(count) >= 10, result.stderr)
})
