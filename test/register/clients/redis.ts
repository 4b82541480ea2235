import tls from 'node:tls'
import t, { type Test } from 'tap'
import { ca } from '../../fixtures/pki.ts'
import { type ProgramOptions, program } from '../../fixtures/program.ts'
import type { RedisInput, RedisResult } from '../../fixtures/programs/redis.ts'
import { SEED } from '../../fixtures/random.ts'
import { renegotiatingProxy } from '../../fixtures/renegotiating-proxy.ts'
import { redis, skip } from '../../fixtures/servers.ts'

t.comment(`SEED=${SEED}`)
const VALUES = 100

if (skip.redis) t.plan(0, skip.redis)
else {
  const { port: server } = await redis(t, { allowRenegotiation: true })

  async function run(t: Test, port: number, options: ProgramOptions) {
    const input: RedisInput = { port, seed: SEED, values: VALUES }
    const client = program(t, 'redis', { ...options, input })
    return { ...(await client.told<RedisResult>()), ...(await client.ended) }
  }

  function proxy(t: Test) {
    return renegotiatingProxy(t, () => tls.connect({ port: server, host: '127.0.0.1', servername: 'localhost', ca }))
  }

  t.test('under the hook, node-redis sets and gets 10 MB while the server renegotiates', async (t) => {
    const before = await proxy(t)
    const { sent, received, errors, stderr } = await run(t, before.port, { hook: true })
    t.equal(received, sent)
    t.strictSame([...errors, ...before.errors, stderr], [''])
    t.equal(before.sockets.length, 1, 'it did not have to connect anew')
    t.ok(before.renegotiations >= 10, `${before.renegotiations} renegotiations`)

    const plain = await proxy(t)
    const { errors: itsErrors } = await run(t, plain.port, { hook: false })
    // It may be lucky, as it sends most of its data before the first answer.
    t.comment(`without the hook: ${itsErrors[0] ?? 'no error'}, ${plain.renegotiations} renegotiations`)
  })

  t.test('under the hook, node-redis renegotiates on a schedule with Redis itself', async (t) => {
    const env = { RENEGOTIATION_REKEY: '5ms-20ms', RENEGOTIATION_REPORT: '1' }
    const { sent, received, errors, stderr } = await run(t, server, { hook: true, env, after: ['--tls-max-v1.2'] })
    t.equal(received, sent)
    t.strictSame(errors, [])
    // One may be in progress when the client closes the connection.
    const [, count] =
      /^renegotiation-duplex: 1 sockets guarded, 0 left alone, (\d+) renegotiations, [01] failed\n$/.exec(stderr) ?? []
    t.ok(Number(count) >= 3, stderr)
  })
}
