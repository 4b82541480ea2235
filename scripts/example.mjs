// Compiles everything and runs the program in examples/<name>/: main.ts (compiled), or main.js, .mjs or .cjs.
//
//   npm run example -- <name> [arguments]
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const path = (relative) => fileURLToPath(new URL(`../${relative}`, import.meta.url))
const [name, ...args] = process.argv.slice(2)

const program = ['.ts', '.mjs', '.js', '.cjs']
  .map((ext) => `examples/${name}/main${ext}`)
  .find((p) => existsSync(path(p)))
if (name === undefined || program === undefined) {
  const folders = readdirSync(path('examples'), { withFileTypes: true }).filter((entry) => entry.isDirectory())
  const names = folders.map((folder) => folder.name)
  console.error(`usage: npm run example -- <name>, one of ${names.join(', ')}`)
  process.exit(2)
}
const { status } = spawnSync(process.execPath, [path('scripts/compile.mjs')], { stdio: 'inherit' })
if (status !== 0) process.exit(1)

const file = program.endsWith('.ts') ? `build/${program.replace(/\.ts$/, '.js')}` : program
const child = spawn(process.execPath, ['--enable-source-maps', path(file), ...args], { stdio: 'inherit' })
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
child.on('close', (code) => {
  process.exitCode = code ?? 1
})
