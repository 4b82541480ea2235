import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { growth } from '../fixtures/growth.ts'

t.setTimeout(400_000)

/** HEAP_TIMES is for a shorter run. Much fewer would grow by as much as what V8 keeps for itself. */
const TIMES = Number(process.env['HEAP_TIMES'] ?? 10_000)
const program = fileURLToPath(new URL('../fixtures/heap.js', import.meta.url))

/** Does `what` so many times. Returns by how many bytes the heap grew. */
async function heapGrowth(what: string): Promise<number> {
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', program, what, `${TIMES}`])
  const used = JSON.parse(stdout) as number[]
  t.comment(`${what}: ${used.map((bytes) => Math.round(bytes / 1024)).join(', ')} KiB`)
  return growth(used)
}

/** How many bytes of growth are allowed: less than one buffer each time, and more than what V8 keeps for itself. */
const ALLOWED = 50 * TIMES

t.test('a leak of one buffer each time exceeds the allowed growth (control)', async (t) => {
  t.ok((await heapGrowth('leak')) > ALLOWED)
})

for (const what of ['renegotiations', 'connections']) {
  t.test(`the heap does not grow over ${TIMES} ${what}`, async (t) => {
    const grown = await heapGrowth(what)
    t.ok(grown < ALLOWED, `${grown} bytes`)
  })
}
