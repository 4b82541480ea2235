// Compiles everything, then runs tap with the Node that runs this script.
//
//   npm test                               all tests; coverage of src/ must be 100%
//   npm test -- test/foo.ts [tap options]  some tests; coverage is printed, but not required
//   node scripts/test.mjs --no-build       without compiling, for another Node after npm test
import { spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { pathOfOwnNode } from './own-path.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const require = createRequire(import.meta.url)
const env = { ...process.env, PATH: pathOfOwnNode() }

function run(...args) {
  const { status, signal, error } = spawnSync(process.execPath, args, { cwd: root, env, stdio: 'inherit' })
  if (error !== undefined) throw error
  if (status !== 0) process.exit(signal === null ? (status ?? 1) : 1)
}

// Whether tap has built its Test class without the plugins that .taprc switches off. tap builds it by itself, but only
// after it has chosen the loaders of a run, so the first run after an installation would still load those plugins.
function isBuiltForOurPlugins() {
  const removed = [...readFileSync(join(root, '.taprc'), 'utf8').matchAll(/"!(@tapjs\/[\w-]+)"/g)].map((m) => m[1])
  const main = createRequire(require.resolve('tap/package.json')).resolve('@tapjs/test')
  try {
    const built = readFileSync(join(dirname(main), '../../test-built/dist/esm/index.js'), 'utf8')
    return removed.every((plugin) => !built.includes(`"${plugin}"`))
  } catch {
    return false
  }
}

const tap = join(dirname(require.resolve('tap/package.json')), 'dist/esm/run.mjs')
const args = process.argv.slice(2)
const noBuild = args.indexOf('--no-build')
if (noBuild === -1) run(join(root, 'scripts/compile.mjs'))
else args.splice(noBuild, 1)
if (!isBuiltForOurPlugins()) run(tap, 'build')

const isTest = /^(?:\.\/)?test\/.*\.ts$/
const partial = args.some((arg) => isTest.test(arg))
const tapArgs = args.map((arg) =>
  isTest.test(arg) ? `build/${arg.replace(/^\.\//, '').replace(/\.ts$/, '.js')}` : arg,
)
if (partial) tapArgs.unshift('--allow-incomplete-coverage', '--allow-empty-coverage')

const child = spawn(process.execPath, [tap, 'run', ...tapArgs], { cwd: root, env, stdio: 'inherit' })
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
child.on('error', (error) => {
  throw error
})
child.on('close', (code) => {
  process.exitCode = code ?? 1
})
