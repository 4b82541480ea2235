import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

t.setTimeout(400_000)

/** HEAP_TIMES is for a shorter run. Much fewer would grow by as much as what V8 keeps for itself. */
const TIMES = Number(process.env['HEAP_TIMES'] ?? 10_000)
const program = fileURLToPath(new URL('../fixtures/heap.js', import.meta.url))

/** Does `what` so many times. Returns by how many bytes the heap grew from the first tenths to the last ones. */
async function growth(what: string): Promise<number> {
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', program, what, `${TIMES}`])
  const used = JSON.parse(stdout) as number[]
  t.comment(`${what}: ${used.map((bytes) => Math.round(bytes / 1024)).join(', ')} KiB`)
  const median = (values: number[]) => values.toSorted((a, b) => a - b)[1] as number
  return median(used.slice(-3)) - median(used.slice(0, 3))
}

/** How many bytes of growth are allowed: less than one buffer each time, and more than what V8 keeps for itself. */
const ALLOWED = 50 * TIMES

t.test('a leak of one buffer each time exceeds the allowed growth (control)', async (t) => {
  t.ok((await growth('leak')) > ALLOWED)
})

for (const what of ['renegotiations', 'connections']) {
  t.test(`the heap does not grow over ${TIMES} ${what}`, async (t) => {
    const grown = await growth(what)
    t.ok(grown < ALLOWED, `${grown} bytes`)
  })
}
