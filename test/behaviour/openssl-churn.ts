import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { SEED } from '../fixtures/random.ts'

/*
 * Connections over OpenSSL are opened and destroyed at random moments. CHURN is their number, 10000 for a long run; SEED
 * repeats a run.
 */
const TIMES = Number(process.env['CHURN'] ?? 200)
/** Less than an SSL object for each connection, and more than what the allocators keep for themselves. */
const ALLOWED = 20_000_000 + 2000 * TIMES

t.setTimeout(120_000 + 60 * TIMES)
t.comment(`SEED=${SEED}`)

t.test(`nothing is left of ${TIMES} connections that were destroyed at random moments`, async (t) => {
  const program = fileURLToPath(new URL('../fixtures/openssl-churn.js', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', program, `${TIMES}`, `${SEED}`])
  const { used, objects, pending } = JSON.parse(stdout) as { used: number[]; objects: number; pending: number }
  t.comment(`MiB: ${used.map((bytes) => Math.round(bytes / 2 ** 20)).join(', ')}`)
  t.equal(objects, 0, 'all SSL objects are freed')
  t.equal(pending, 0, 'all callbacks were called, and all promises are settled')
  const grown = (used.at(-1) as number) - (used[3] as number)
  t.ok(grown < ALLOWED, `${grown} bytes`)
})
