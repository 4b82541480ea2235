// Packs the package, checks which files are in it, installs it into an empty folder, and uses it as its users do:
// imported by an ES module, required by a CommonJS module, and compiled by strict TypeScript projects.
//
//   node scripts/check-package.mjs [path of another node]...   the programs also run on these
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const pkg = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const npmrc = readFileSync(join(root, '.npmrc'))
const nodes = [process.execPath, ...process.argv.slice(2)]

const functions = [
  'RenegotiationDuplex',
  'RenegotiationError',
  'connect',
  'createServer',
  'duplexTransport',
  'engineTransport',
  'iec62351',
  'register',
  'tlsTransport',
  'wrapTLSSocket',
]
const types = [
  'GuardCounts',
  'IEC62351Cipher',
  'IEC62351Options',
  'IEC62351Settings',
  'RegisterOptions',
  'RekeyOptions',
  'RenegotiationEvents',
  'RenegotiationOptions',
  'RenegotiationReport',
  'RenegotiationStream',
  'RenegotiationTrace',
  'TLSEngine',
  'Transport',
]

const opensslFunctions = ['connect', 'createSecureContext', 'createServer', 'isAvailable']
const opensslTypes = [
  'ContextOptions',
  'OpenSSLConnectionOptions',
  'OpenSSLOptions',
  'OpenSSLServer',
  'OpenSSLServerOptions',
]

const runtimeCheck = `
for (const name of ${JSON.stringify(functions)}) {
  if (typeof api[name] !== 'function') throw new Error(name + ' is ' + typeof api[name])
}
for (const name of ${JSON.stringify(opensslFunctions)}) {
  if (typeof openssl[name] !== 'function') throw new Error('openssl.' + name + ' is ' + typeof openssl[name])
}
if (compliance.complianceTests({ connect() {} }).length < 20) throw new Error('the compliance suite is not there')
console.log('ok')
`
const programs = {
  'esm.mjs': `import * as api from '${pkg.name}'\nimport * as compliance from '${pkg.name}/compliance'\nimport * as openssl from '${pkg.name}/openssl'${runtimeCheck}`,
  'cjs.cjs': `const api = require('${pkg.name}')\nconst compliance = require('${pkg.name}/compliance')\nconst openssl = require('${pkg.name}/openssl')${runtimeCheck}`,
}

// Runs with --import. The first connection loads the rest of the package.
const guarded = `
import tls from 'node:tls'
const socket = tls.connect({ port: 1, host: '127.0.0.1' }).on('error', () => {})
console.log('heldBytes' in socket ? 'ok' : 'node:tls is not guarded')
`

// Runs without koffi. On a Node.js that has node:ffi, OpenSSL is available all the same.
const withoutKoffi = `
import { connect, isAvailable } from '${pkg.name}/openssl'
let error
try {
  connect({ port: 1, host: '127.0.0.1' }).on('error', () => {})
} catch (reason) {
  error = reason
}
if (isAvailable() !== (error === undefined)) throw new Error('isAvailable() is wrong', { cause: error })
const isClear = error?.code === 'ERR_RENEGOTIATION_UNSUPPORTED' && /npm install koffi/.test(error.message)
console.log(error === undefined || isClear ? 'ok' : error)
`

const withKoffi = {
  'with-koffi.mjs': `import { isAvailable } from '${pkg.name}/openssl'
console.log(isAvailable() ? 'ok' : 'not available')`,
  'with-koffi.cjs': `console.log(require('${pkg.name}/openssl').isAvailable() ? 'ok' : 'not available')`,
}

const typeCheck = `
import type { ${types.join(', ')} } from '${pkg.name}'
import type { Duplex } from 'node:stream'
import { complianceTests } from '${pkg.name}/compliance'
import * as openssl from '${pkg.name}/openssl'
import type { ${opensslTypes.join(', ')} } from '${pkg.name}/openssl'
export const tests: { name: string; run(): Promise<void> }[] = complianceTests({
  connect: () => [api.duplexTransport({} as Duplex), api.tlsTransport({} as never)],
})
export type All = [${[...types, ...opensslTypes].join(', ')}]
export const functions: Array<(...args: never[]) => unknown> = [api.tlsTransport, api.wrapTLSSocket]
export const secure: api.RenegotiationTLSSocket = openssl.connect({ openssl: { path: 'libssl.so.3' }, renegotiation: { rekey: 'auto' } })
export const asNodeDuplex = (duplex: api.RenegotiationDuplex): Duplex => duplex
export class MyDuplex extends api.RenegotiationDuplex {}
export const socket: import('node:tls').TLSSocket = api.connect({ renegotiation: { drainTimeout: 1 } })
export const held = (stream: RenegotiationStream | api.RenegotiationDuplex): unknown =>
  stream.once('renegotiated', ({ heldBytes }) => heldBytes satisfies number)
export const error: Error = new api.RenegotiationError(...([] as never as ConstructorParameters<typeof api.RenegotiationError>))
`
const sources = {
  'esm.mts': `import * as api from '${pkg.name}'${typeCheck}`,
  'cjs.cts': `import api = require('${pkg.name}')${typeCheck}`,
}

/** The projects that compile the sources above: [folder, what it installs besides the package, compiler options]. */
const projects = [
  // Only the package and a compiler: the package must bring every type that it needs.
  ['typescript-newest', [`typescript@${pkg.devDependencies.typescript}`], { module: 'nodenext' }],
  // The oldest version that README promises.
  ['typescript-5.8', ['typescript@~5.8.0', '@types/node@20'], { module: 'nodenext' }],
  ['bundler', ['typescript@~5.9.0', '@types/node@24'], { module: 'preserve', moduleResolution: 'bundler' }],
]
const strict = {
  target: 'es2022',
  lib: ['es2023'],
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  noPropertyAccessFromIndexSignature: true,
  noImplicitOverride: true,
  skipLibCheck: false,
  noEmit: true,
}

const temp = mkdtempSync(join(tmpdir(), 'check-package-'))
let failures = 0

function check(what, problem) {
  if (problem) failures++
  console.log(problem ? `FAILED  ${what}: ${problem}` : `ok      ${what}`)
}

function run(what, command, args, cwd, expected) {
  const { status, signal, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' })
  const output = stdout + stderr
  const bad = error || status !== 0 || (expected !== undefined && output !== expected)
  check(what, bad && `${error ?? `exit ${status ?? signal}`}\n${output}`)
}

function npm(args, cwd) {
  return execFileSync('npm', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
}

function emptyProject(folder) {
  mkdirSync(folder)
  writeFileSync(join(folder, '.npmrc'), npmrc)
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'consumer', private: true }))
}

const npmInstall = ['install', '--no-audit', '--no-fund', '--no-update-notifier']

/** Checks that npm does not warn of install scripts, which would run on the user's machine. */
function installWithoutWarning(folder, tarball) {
  emptyProject(folder)
  const { status, stderr } = spawnSync('npm', [...npmInstall, tarball], { cwd: folder, encoding: 'utf8' })
  check('npm installs it without a warning', (status !== 0 || stderr !== '') && `exit ${status}\n${stderr}`)
}

function install(folder, packages) {
  emptyProject(folder)
  npm([...npmInstall, '--loglevel=error', ...packages], folder)
}

function checkFiles(packed) {
  const files = packed.map((file) => file.path)
  const allowed =
    /^(?:package\.json|LICENSE|(?:README|CHANGELOG|CONTRIBUTING|SECURITY)\.md|docs\/[\w-]+\.(?:md|svg)|dist\/.+\.(?:js|d\.ts)(?:\.map)?|src\/.+\.ts)$/
  check('no file is packed that should not be', files.filter((file) => !allowed.test(file)).join(', '))

  const sourceFiles = files.filter((file) => file.startsWith('src/'))
  const needed = ['package.json', 'README.md', 'CHANGELOG.md', 'LICENSE', 'dist/index.js', 'dist/index.d.ts']
  // The files that README links to.
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  for (const [, target] of readme.matchAll(/\]\((?!\w+:)([^)#]+)/g)) needed.push(target)
  for (const file of sourceFiles) {
    for (const ext of ['.js', '.js.map', '.d.ts', '.d.ts.map']) {
      needed.push(file.replace(/^src\//, 'dist/').replace(/\.ts$/, ext))
    }
  }
  check('every file is packed that should be', needed.filter((file) => !files.includes(file)).join(', '))

  const dangling = []
  for (const file of files.filter((f) => f.endsWith('.map'))) {
    const { sources: mapped, sourceRoot = '' } = JSON.parse(readFileSync(join(root, file), 'utf8'))
    for (const source of mapped) {
      if (!files.includes(posix.join(dirname(file), sourceRoot, source))) dangling.push(`${file} -> ${source}`)
    }
  }
  check('every source map leads to a packed source', dangling.join(', '))
}

try {
  npm(['run', '--silent', 'build'], root)
  const [packed] = Object.values(
    JSON.parse(npm(['pack', '--ignore-scripts', '--json', '--pack-destination', temp], root)),
  )
  const tarball = join(temp, packed.filename)
  console.log(
    `${packed.filename}: ${packed.files.length} files, ${packed.size} bytes packed, ${packed.unpackedSize} unpacked`,
  )
  checkFiles(packed.files)

  const consumer = join(temp, 'node')
  installWithoutWarning(consumer, tarball)
  for (const [file, text] of Object.entries(programs)) writeFileSync(join(consumer, file), text)
  for (const node of nodes) {
    const version = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim()
    // The programs must print nothing but "ok", and no warning.
    for (const file of Object.keys(programs)) run(`${file} on Node ${version}`, node, [file], consumer, 'ok\n')
    writeFileSync(join(consumer, 'guarded.mjs'), guarded)
    const flag = ['--import', `${pkg.name}/register`]
    run(`--import ${pkg.name}/register on Node ${version}`, node, [...flag, 'guarded.mjs'], consumer, 'ok\n')
    const soak = [`node_modules/${pkg.name}/${pkg.bin[pkg.name]}`, 'soak', '--duration', '1s', '--every', '100ms']
    run(`a soak on Node ${version}`, node, soak, consumer)
  }
  writeFileSync(join(consumer, 'without-koffi.mjs'), withoutKoffi)
  for (const [file, text] of Object.entries(withKoffi)) writeFileSync(join(consumer, file), text)
  for (const node of nodes) {
    run(`without koffi on ${node}`, node, ['--no-warnings', 'without-koffi.mjs'], consumer, 'ok\n')
  }
  // koffi brings its binaries, so it needs no install script.
  npm([...npmInstall, '--loglevel=error', '--ignore-scripts', `koffi@${pkg.devDependencies.koffi}`], consumer)
  const soak13 = [
    `node_modules/${pkg.name}/${pkg.bin[pkg.name]}`,
    'soak',
    '--tls',
    '1.3',
    '--duration',
    '1s',
    '--every',
    '100ms',
  ]
  for (const node of nodes) {
    for (const file of Object.keys(withKoffi)) run(`${file} on ${node}`, node, [file], consumer, 'ok\n')
    run(`a soak over TLS 1.3 on ${node}`, node, soak13, consumer)
  }
  run('npx', 'npx', ['--no', '--', pkg.name, '--version'], consumer, `${pkg.version}\n`)

  for (const [name, packages, options] of projects) {
    const project = join(temp, name)
    install(project, [tarball, ...packages])
    // Projects for a bundler cannot use import = require() of CommonJS.
    const files = Object.entries(sources).filter(([file]) => options.module === 'nodenext' || file.endsWith('.mts'))
    for (const [file, text] of files) writeFileSync(join(project, file), text)
    const compilerOptions = { ...strict, ...options }
    writeFileSync(
      join(project, 'tsconfig.json'),
      JSON.stringify({ compilerOptions, files: files.map(([file]) => file) }),
    )
    const { version } = JSON.parse(readFileSync(join(project, 'node_modules/typescript/package.json'), 'utf8'))
    const tsc = join(project, 'node_modules/typescript/bin/tsc')
    run(`strict TypeScript ${version}, ${options.module}`, process.execPath, [tsc, '-p', '.'], project, '')
  }
} finally {
  rmSync(temp, { recursive: true, force: true })
}
console.log(failures === 0 ? 'the package is fine' : `${failures} problems`)
if (failures > 0) process.exitCode = 1
