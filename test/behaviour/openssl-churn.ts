import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { growth } from '../fixtures/growth.ts'
import { nativeMemory } from '../fixtures/native-memory.ts'
import { SEED } from '../fixtures/random.ts'

/*
 * Connections over OpenSSL are opened and destroyed at random moments. CHURN is their number, 10000 for a long run; with
 * fewer than 1000, the control leaks too little to be seen. SEED repeats a run.
 */
const TIMES = Number(process.env['CHURN'] ?? 1000)
/** How many bytes may be added: what V8 and the allocator keep, and for each connection less than anything of OpenSSL. */
const ALLOWED = 1_000_000 + 50 * TIMES
/** What the control leaks of each connection: about as much as a session with its certificate. */
const LEAKED_BYTES = 2500

const skip = nativeMemory() === undefined && 'only the GNU C library tells how much memory is allocated'

t.setTimeout(120_000 + 60 * TIMES)
t.comment(`SEED=${SEED}`)

interface Churn {
  /** Bytes outside V8 after each tenth. */
  used: (number | null)[]
  pending: number
  warnings: number
}

async function churn(leakedBytes: number): Promise<Churn> {
  const program = fileURLToPath(new URL('../fixtures/openssl-churn.js', import.meta.url))
  const args = ['--expose-gc', program, `${TIMES}`, `${SEED}`, `${leakedBytes}`]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  const result = JSON.parse(stdout) as Churn
  t.comment(`KiB: ${result.used.map((bytes) => Math.round(Number(bytes) / 1024)).join(', ')}`)
  return result
}

t.test(
  `a leak of ${LEAKED_BYTES} bytes with each connection exceeds the allowed growth (control)`,
  { skip },
  async (t) => {
    const { used } = await churn(LEAKED_BYTES)
    t.ok(growth(used as number[]) > ALLOWED)
  },
)

t.test(`nothing is left of ${TIMES} connections that were destroyed at random moments`, async (t) => {
  const { used, pending, warnings } = await churn(0)
  t.equal(pending, 0, 'all callbacks were called, and all promises are settled')
  t.equal(warnings, 0, 'no connection was freed only by the garbage collector')
  const grown = growth(used as number[])
  t.ok(grown < ALLOWED, `${grown} bytes`, { skip })
})
