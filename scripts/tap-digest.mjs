// node scripts/tap-digest.mjs COUNTS-FILE COMMAND [ARGUMENT]...
//
// Runs a command that prints TAP, and shortens its output: one line for each test file that passed, everything for one
// that failed. Writes "PASSED FAILED SKIPPED" to COUNTS-FILE. These counts come from the closing line of tap,
// "# { total: …, pass: …, fail: … }", which counts assertions. A run without that line counts as one failure.
// The names of the test files that have skipped anything follow, one on each line.
// Exits with the exit code of the command.
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

const [countsFile, command, ...args] = process.argv.slice(2)
const counts = { pass: 0, fail: 1, skip: 0, todo: 0 }
let isClosed = false
const skipped = []
const isSkip = (line) => /^\s*ok \d.* # SKIP\b/i.test(line)
/** The lines of the present test file. They are printed only if it fails. */
let held

const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
const exited = new Promise((resolve, reject) => {
  child.on('error', reject)
  child.on('exit', (code) => resolve(code ?? 1))
})
// If the child cannot be started, the `await` below throws.
exited.catch(() => {})

for await (const line of createInterface({ input: child.stdout, crlfDelay: Number.POSITIVE_INFINITY })) {
  if (line.startsWith('# Subtest: ')) {
    held = [line]
  } else if (/^(?:not )?ok\b/.test(line)) {
    if (line.startsWith('not ok') && held !== undefined) console.log(held.join('\n'))
    console.log(line)
    const [, file] = /^ok \d+ - (\S+)/.exec(line) ?? []
    if (file !== undefined && [line, ...(held ?? [])].some(isSkip)) skipped.push(file)
    held = undefined
  } else if (held !== undefined) {
    held.push(line)
  } else if (line !== '') {
    console.log(line)
    const summary = /^# \{ (total: \d+(?:, \w+: \d+)*) \}$/.exec(line)
    if (summary !== null) {
      isClosed = true
      counts.fail = 0
      for (const [, key, value] of summary[1].matchAll(/(\w+): (\d+)/g)) counts[key] = Number(value)
    }
  }
}
if (held !== undefined) console.log(held.join('\n'))
if (!isClosed) console.log('# the test run ended without a closing line')
writeFileSync(countsFile, `${[`${counts.pass} ${counts.fail} ${counts.skip + counts.todo}`, ...skipped].join('\n')}\n`)
process.exitCode = await exited
