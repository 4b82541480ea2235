import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath, pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { HOOK, type ProgramOptions, program } from '../fixtures/program.ts'
import type { Ways } from '../fixtures/programs/all-ways.ts'

t.setTimeout(300_000)

/** Runs a program that tells one thing, and that must exit with code 0. */
async function run<T>(t: Test, name: string, options: ProgramOptions): Promise<{ told: T; stderr: string }> {
  const running = program(t, name, options)
  const told = await running.told<T>()
  const { code, stderr } = await running.ended
  t.equal(code, 0)
  return { told, stderr }
}

/** Which ends are guarded under the hook, however it was loaded. */
const guarded: Ways = {
  'tls.connect(options)': 'both',
  'connect(port, host, options), by name': 'both',
  'in CommonJS': 'both',
  'new tls.Server()': 'both',
  'over a socket': 'both',
  https: 'both',
  'https.Agent': 'both',
  http2: 'none',
  'a server with TLS 1.3': 'client',
  'a client with TLS 1.3 only': 'none',
  onread: 'server',
}
const plain: Ways = Object.fromEntries(Object.keys(guarded).map((way) => [way, 'none']))
/** Clients and servers of all the ways together. */
const report =
  'renegotiation-duplex: 16 sockets guarded, 6 left alone (HTTP/2: 2, TLS 1.3: 3, onread: 1), ' +
  '0 renegotiations, 0 failed\n'
const env = { RENEGOTIATION_REPORT: '1' }

t.test('without the hook, no socket is guarded (control)', async (t) => {
  t.strictSame(await run(t, 'ways', { hook: false, env }), { told: plain, stderr: '' })
})

t.test('with --import, connections that may renegotiate are guarded, however they are made', async (t) => {
  t.strictSame(await run(t, 'ways', { hook: true, env }), { told: guarded, stderr: report })
})

t.test('without any variable, the hook guards, and prints nothing', async (t) => {
  const none = { RENEGOTIATION_PEER_LIMIT: undefined }
  t.strictSame(await run(t, 'ways', { hook: true, env: none }), { told: guarded, stderr: '' })
})

t.test('NODE_OPTIONS has the same effect', async (t) => {
  const { NODE_OPTIONS = '' } = process.env
  const more = { NODE_OPTIONS: `${NODE_OPTIONS} --import=${HOOK}`, ...env }
  t.strictSame(await run(t, 'ways', { hook: false, env: more }), { told: guarded, stderr: report })
})

t.test('the first import of a program has the same effect', async (t) => {
  t.strictSame(await run(t, 'ways-imported-first', { hook: false, env }), { told: guarded, stderr: report })
})

// There, --require of an ES module fails together with module.register(), which tap calls.
const skip = process.version.startsWith('v22.') && 'Node 22 cannot do that in a test'
t.test('--require has the same effect', { skip }, async (t) => {
  const before = ['--require', new URL(HOOK).pathname]
  const { told, stderr } = await run(t, 'ways', { hook: false, before, env })
  t.strictSame(told, guarded)
  t.ok(stderr.endsWith(report), 'Node 20 also warns that this is an experimental feature')
})

t.test('loading the hook twice has no effect', async (t) => {
  const another = pathToFileURL('dist/register/main.js').href
  for (const second of [`${HOOK}?again`, another]) {
    const after = ['--import', second]
    t.strictSame(await run(t, 'ways', { hook: true, after, env }), { told: guarded, stderr: report })
  }
})

t.test('connections are guarded in a worker thread', async (t) => {
  const { told, stderr } = await run(t, 'ways-in-worker', { hook: true, env })
  t.strictSame(told, guarded)
  t.match(stderr, report, 'the thread reports for itself')
})

t.test('connections are guarded in a child process', async (t) => {
  const { told, stderr } = await run(t, 'ways-in-child', { hook: true, env })
  t.strictSame(told, guarded)
  t.match(stderr, report, 'the process reports for itself')
})

t.test(
  'only connections to the servers in RENEGOTIATION_HOSTS are guarded, and all that a server accepts',
  async (t) => {
    const elsewhere = { ...env, RENEGOTIATION_HOSTS: '*.plant.example,10.0.*' }
    const { told, stderr } = await run<Ways>(t, 'ways', { hook: true, env: elsewhere })
    t.match(told, { 'tls.connect(options)': 'server', https: 'server', 'over a socket': 'server', http2: 'none' })
    t.match(stderr, /8 sockets guarded, 14 left alone \(host: 11, HTTP\/2: 1, TLS 1.3: 2\)/)
    for (const hosts of ['LOCAL*', 'plant.example,127.0.0.1']) {
      const here = { ...env, RENEGOTIATION_HOSTS: hosts }
      t.strictSame(await run(t, 'ways', { hook: true, env: here }), { told: guarded, stderr: report })
    }
  },
)

t.test('a bad value ends the process at the start with an error that quotes it', async (t) => {
  for (const [name, value, message] of [
    ['RENEGOTIATION_MODE', 'gard', "The environment variable RENEGOTIATION_MODE is 'gard'. It must be guard or watch."],
    ['RENEGOTIATION_REKEY', '0.5ms', "The environment variable RENEGOTIATION_REKEY is '0.5ms'."],
  ] as const) {
    const { code, stdout, stderr } = await program(t, 'ways', { hook: true, env: { [name]: value } }).ended
    t.equal(code, 1)
    t.equal(stdout, '')
    t.match(stderr, message)
  }
})

t.test('a Node.js that cannot require() ES modules ends at the start', async (t) => {
  const { code, stderr } = await program(t, 'ways', { hook: true, before: ['--no-experimental-require-module'] }).ended
  t.equal(code, 1)
  t.match(stderr, 'Error: node:tls cannot be guarded with --no-experimental-require-module')
})

t.test('if the rest of the package cannot be loaded, sockets stay as they are, and there is one warning', async (t) => {
  for (const mode of ['guard', 'watch']) {
    const { told, stderr } = await run(t, 'not-loaded', { hook: true, env: { ...env, RENEGOTIATION_MODE: mode } })
    t.strictSame(told, plain)
    const warnings = [...stderr.matchAll(/\[RENEGOTIATION_NOT_LOADED\] RenegotiationWarning: (.*)/g)].map(
      ([, text]) => text,
    )
    t.strictSame(warnings, ['TLS connections are not guarded: the file is gone'])
    t.match(stderr, /0 sockets (guarded|watched), 22 left alone \(not loaded: 16, HTTP\/2: 2, TLS 1.3: 3, onread: 1\)/)
  }
})

t.test('a report that nobody reads does not change the exit code', async (t) => {
  const path = fileURLToPath(new URL('../fixtures/programs/ways.js', import.meta.url))
  const child = spawn(process.execPath, ['--import', HOOK, path], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  child.stderr.destroy()
  t.strictSame(await once(child, 'exit'), [0, null])
})

t.test('a stored reference to tls.connect() is not guarded, and the program is warned once', async (t) => {
  const { told, stderr } = await run(t, 'captured', { hook: false, env })
  const code = 'RENEGOTIATION_REGISTERED_LATE'
  t.strictSame(told, { captured: false, again: false, overSocket: false, current: true, codes: [code] })
  t.match(stderr, `[${code}] RenegotiationWarning: A TLS connection is not guarded.`)
  t.match(stderr, /5 sockets guarded, 3 left alone \(captured: 3\)/)
})

t.test(
  'under the hook, the functions of the package guard once, and a guarded socket is not wrapped again',
  async (t) => {
    const { told, stderr } = await run(t, 'package-under-hook', { hook: true, env })
    t.strictSame(told, { ticketKeys: true, guardedOnce: true, returnedUnchanged: true })
    // connect() of the package is a call of the program, not of the hook.
    t.match(stderr, /3 sockets guarded, 0 left alone, 2 renegotiations/)
  },
)

t.test('register() guards from then on, returns counts, and does nothing if an option is bad', async (t) => {
  const { told } = await run(t, 'by-call', { hook: false })
  const counts = { guarded: 16, leftAlone: { 'HTTP/2': 2, 'TLS 1.3': 3, onread: 1 }, renegotiations: 0, failed: 0 }
  t.hasStrict(told, { before: plain, after: guarded, counts, second: 'node:tls is guarded already' })
  t.match((told as { bad: string }).bad, /peerLimit/)
})

t.test('in watch mode, streams of the package are counted as well', async (t) => {
  const { stderr } = await run(t, 'package-under-hook', { hook: true, env: { ...env, RENEGOTIATION_MODE: 'watch' } })
  t.equal(stderr, 'renegotiation-duplex: 3 sockets watched, 0 left alone, 2 renegotiations, 0 failed\n')
})

t.test('RENEGOTIATION_MODE=watch guards nothing, and counts renegotiations and how they ended', async (t) => {
  const watch = { ...env, RENEGOTIATION_MODE: 'watch' }
  const { told, stderr } = await run(t, 'watched', { hook: true, env: watch })
  t.equal(told, false)
  // The ClientHello of the client that is destroyed may or may not reach the server.
  t.match(stderr, /^renegotiation-duplex: 6 sockets watched, 0 left alone, 4 renegotiations, [34] failed\n$/)
})

t.test('until the first connection, the hook loads only a few files', async (t) => {
  const root = new URL('../../', import.meta.url).href
  const ofPackage = (urls: string[]) =>
    urls.filter((url) => url.startsWith(`${root}src`)).map((url) => url.replace(`${root}src/`, ''))
  type Told = { before: string[]; after: string[] }
  const small = await run<Told>(t, 'loaded', { hook: true, env: { RENEGOTIATION_PEER_LIMIT: undefined } })
  const few = ['choose', 'counts', 'guard', 'late', 'main', 'register'].map((name) => `register/${name}.js`)
  t.strictSame(ofPackage(small.told.before).sort(), [...few, 'tls/plain.js'])

  const { told } = await run<Told>(t, 'loaded', { hook: true, env: { RENEGOTIATION_REKEY: '600s-900s' } })
  t.ok(ofPackage(told.before).includes('register/environment.js'), 'more if there are options')
  t.notOk(told.before.some((url) => /p-queue|machine/.test(url)))
  t.ok(ofPackage(told.after).includes('register/machine.js'), 'the rest with the first connection')
  t.ok(told.after.some((url) => url.includes('p-queue')))
  t.notOk(told.after.some((url) => /commander|src\/cli/.test(url)))
})
