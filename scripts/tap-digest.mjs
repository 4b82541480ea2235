// node scripts/tap-digest.mjs COUNTS-FILE COMMAND [ARGUMENT]...
//
// Runs a command that prints TAP, and shortens its output: one line for each test file that passed, everything for one
// that failed. Writes "PASSED FAILED SKIPPED" to COUNTS-FILE. These counts come from the closing line of tap,
// "# { total: …, pass: …, fail: … }", which counts assertions. A run without that line counts as one failure.
// The names of the test files that have skipped anything follow, one on each line.
// Writes the assertions that failed to COUNTS-FILE.failures, so that they can be shown again at the end.
// Exits with the exit code of the command.
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

const [countsFile, command, ...args] = process.argv.slice(2)
const counts = { pass: 0, fail: 1, skip: 0, todo: 0 }
let isClosed = false
const skipped = []
const failures = []
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
    if (line.startsWith('not ok') && held !== undefined) {
      console.log(held.join('\n'))
      failures.push(`${line}`, ...failedAssertions(held))
    }
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
if (held !== undefined) {
  console.log(held.join('\n'))
  failures.push(held[0], ...failedAssertions(held), '# the test run ended here')
}
if (!isClosed) console.log('# the test run ended without a closing line')
writeFileSync(countsFile, `${[`${counts.pass} ${counts.fail} ${counts.skip + counts.todo}`, ...skipped].join('\n')}\n`)
if (failures.length > 0) writeFileSync(`${countsFile}.failures`, `${failures.join('\n')}\n`)
process.exitCode = await exited

/** The assertions of a test file that failed, each with its test and the first lines of its details; and all comments. */
function failedAssertions(lines) {
  const MAX_DETAILS = 40
  const found = []
  let left = 0
  let test = ''
  for (const line of lines) {
    if (/^\s+# Subtest: /.test(line)) test = line
    else if (/^\s+# [A-Z]+=/.test(line)) found.push(line)
    // Of a test with a failed assertion, tap tells only where it begins.
    if (/^\s+not ok\b(?!.* # time=)/.test(line)) {
      found.push(test, line)
      left = MAX_DETAILS
    } else if (left > 0 && /^\s+(?:ok\b|not ok\b|\.\.\.$|1\.\.)/.test(line)) {
      left = 0
    } else if (left > 0) {
      found.push(line)
      left--
    }
  }
  return found
}
