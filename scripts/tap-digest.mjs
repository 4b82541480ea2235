// node scripts/tap-digest.mjs COUNTS-FILE COMMAND [ARGUMENT]...
//
// Runs the command, which prints a tap run's TAP, and shortens what it prints: one line for a test file that passed,
// everything for one that failed. Writes "PASSED FAILED SKIPPED" of the run to the file, from tap's own closing line,
// "# { total: …, pass: …, fail: … }", which counts single assertions; a run without one counts as one failure.
// Exits as the command does.
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

const [countsFile, command, ...args] = process.argv.slice(2)
const counts = { pass: 0, fail: 1, skip: 0, todo: 0 }
let isClosed = false
/** The lines of the test file that is being read: not shown unless it turns out to have failed. */
let held

const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
const exited = new Promise((resolve, reject) => {
  child.on('error', reject)
  child.on('exit', (code) => resolve(code ?? 1))
})
// A child that could not be started is reported where it is awaited, below.
exited.catch(() => {})

for await (const line of createInterface({ input: child.stdout, crlfDelay: Number.POSITIVE_INFINITY })) {
  if (line.startsWith('# Subtest: ')) {
    held = [line]
  } else if (/^(?:not )?ok\b/.test(line)) {
    if (line.startsWith('not ok') && held !== undefined) console.log(held.join('\n'))
    console.log(line)
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
writeFileSync(countsFile, `${counts.pass} ${counts.fail} ${counts.skip + counts.todo}\n`)
process.exitCode = await exited
