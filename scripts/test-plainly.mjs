// node scripts/test-plainly.mjs [test/foo.ts]... [--except=test/bar]...
//
// Runs compiled tests, all or some, with the Node that runs this script, without coverage, and prints TAP.
// --except leaves out the files whose path begins like this.
//
// Each test file is run as "node build/test/foo.js". The runner of tap would load more into that process, and into each
// that it starts, to note what they import. For most files that takes longer than the tests.
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { pathOfOwnNode } from './own-path.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const taprc = readFileSync(join(root, '.taprc'), 'utf8')
const setting = (name) => Number(new RegExp(`^${name}: (\\d+)$`, 'm').exec(taprc)[1])
const env = {
  ...process.env,
  PATH: pathOfOwnNode(),
  TAP_TIMEOUT: `${setting('timeout')}`,
}
/** After which time a file is ended that does not even notice that its own time is over, in milliseconds. */
const LIMIT = 900_000

const compiled = (name) => name.replace(/^(?:\.\/)?(?=test\/)/, 'build/').replace(/\.ts$/, '.js')
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { except: { type: 'string', multiple: true, default: [] } },
})
const excepted = values.except.map(compiled)
const all = () =>
  readdirSync(join(root, 'build/test'), { recursive: true })
    .filter((name) => name.endsWith('.js') && !name.startsWith('fixtures'))
    .map((name) => `build/test/${name}`)
const files = (positionals.length > 0 ? positionals.map(compiled) : all().sort()).filter(
  (file) => !excepted.some((start) => file.startsWith(start)),
)

async function run(file) {
  const started = performance.now()
  const args = ['--enable-source-maps', file]
  const child = spawn(process.execPath, args, {
    cwd: root,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: LIMIT,
    killSignal: 'SIGKILL',
  })
  running.add(child)
  const ended = new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve(code ?? signal))
  })
  const [output, code] = await Promise.all([text(child.stdout), ended])
  running.delete(child)
  return { file, output, code, milliseconds: Math.round(performance.now() - started) }
}

const sums = { total: 0, pass: 0, fail: 0, todo: 0, skip: 0 }
let reported = 0

function report({ file, output, code, milliseconds }) {
  const closing = /^# \{ (total: \d+(?:, \w+: \d+)*) \}$/m.exec(output)
  const skipped = /^1\.\.0 # (.*)$/m.exec(output)
  const counts = Object.fromEntries(
    [...(closing?.[1] ?? '').matchAll(/(\w+): (\d+)/g)].map(([, k, n]) => [k, Number(n)]),
  )
  if (skipped !== null && code === 0 && !counts.total) Object.assign(counts, { total: 1, skip: 1 })
  const ok = code === 0 && counts.total > 0 && !counts.fail
  // A file that failed counts as a failure, even if each of its assertions passed.
  if (!ok && !counts.fail) Object.assign(counts, { total: (counts.total ?? 0) + 1, fail: 1 })
  for (const [name, count] of Object.entries(counts)) sums[name] += count
  const why = skipped === null ? '' : ` # SKIP ${skipped[1].replace(/^skip\w* /i, '')}`
  console.log(`# Subtest: ${file}`)
  console.log(output.replaceAll(/^(?=.)/gm, '    ').trimEnd())
  console.log(`${ok ? 'ok' : 'not ok'} ${++reported} - ${file}${why || ` # time=${milliseconds}ms`}`)
  if (!ok) console.log(`  ---\n  exitCode: ${code}\n  ...`)
}

const running = new Set()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => {
    for (const child of running) child.kill(signal)
    process.kill(process.pid, signal)
  })
}

console.log('TAP version 14')
const next = files.values()
await Promise.all(
  Array.from({ length: setting('jobs') }, async () => {
    for (const file of next) report(await run(file))
  }),
)
console.log(`1..${reported}`)
console.log(
  `# { ${Object.entries(sums)
    .map(([name, count]) => `${name}: ${count}`)
    .join(', ')} }`,
)
console.log(`# time=${Math.round(performance.now())}ms`)
process.exitCode = sums.fail > 0 ? 1 : 0
