// node scripts/compile.mjs [dist] [build]
//
// Compiles src/ to dist/, which is published, and everything to build/, from which tests, examples and benchmarks run.
import { spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const projects = { dist: 'tsconfig.build.json', build: 'tsconfig.test.json' }
const root = fileURLToPath(new URL('..', import.meta.url))
const tsc = fileURLToPath(new URL('../node_modules/typescript/bin/tsc', import.meta.url))

function compile(target) {
  // Removes the output of sources that no longer exist.
  rmSync(new URL(`../${target}`, import.meta.url), { recursive: true, force: true })
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [tsc, '-p', projects[target]], { cwd: root, stdio: 'inherit' })
    child.on('error', reject)
    child.on('close', (code) => resolve(code === 0))
  })
}

const targets = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(projects)
const results = await Promise.all(targets.map(compile))
if (results.includes(false)) process.exitCode = 1
