import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { ffiArguments } from '../fixtures/ffi-arguments.ts'
import { SEED } from '../fixtures/random.ts'

/*
 * Worker threads end in the middle of floods over OpenSSL. WORKERS is their number, 500 for a long run; SEED repeats a
 * run.
 */
const WORKERS = Number(process.env['WORKERS'] ?? 10)

const program = fileURLToPath(new URL('../fixtures/openssl-workers.js', import.meta.url))
const describe = { terminate: 'terminated at random moments', exit: 'that end by process.exit() with open connections' }
const exitCodes = { terminate: 1, exit: 0 }

interface Result {
  ffi: string
  codes: number[]
  used: number[]
  intact: boolean
  isOpen: boolean
  renegotiations: number
}

t.setTimeout(60_000 + 3000 * WORKERS)
t.comment(`SEED=${SEED}`)

for (const [ffi, args] of ffiArguments) {
  for (const how of ['terminate', 'exit'] as const) {
    t.test(`the connections of the main thread go on after ${WORKERS} workers ${describe[how]} (${ffi})`, async (t) => {
      const { stdout, stderr } = await promisify(execFile)(process.execPath, [
        ...[...args, '--expose-gc', program],
        ...[how, `${WORKERS}`, `${SEED}`, ffi],
      ])
      const result = JSON.parse(stdout) as Result
      t.comment(`MiB: ${result.used.map((bytes) => Math.round(bytes / 2 ** 20)).join(', ')}`)
      t.match(result, { ffi, codes: [exitCodes[how]], intact: true, isOpen: true })
      t.ok(result.renegotiations > 0)
      t.equal(stderr, '')
    })
  }
}
