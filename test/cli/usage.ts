import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { cli } from '../fixtures/cli.ts'

const mistakes: [args: string[], message: RegExp][] = [
  [[], /Usage: renegotiation-duplex/],
  [['wash'], /unknown command 'wash'/],
  [['soak', '--wash'], /unknown option '--wash'/],
  [['soak', 'now'], /too many arguments/],
  [['soak', '--duration', 'long'], /--duration <time>' argument 'long' is invalid. It must be a number/],
  [['soak', '--duration', '100d'], /'100d' is invalid. 100d is not from 1ms to 24d/],
  [['soak', '--every', '14s-7s'], /'14s-7s' is invalid. The first value must not be more than the second/],
  [['soak', '--chunk', '1TiB'], /'1TiB' is invalid/],
  [['soak', '--connect', 'localhost'], /'localhost' is invalid. It must be host:port/],
  [['soak', '--tls', '1.1'], /'1.1' is invalid. Allowed choices are 1.2, 1.3/],
  [['soak', '--mode', 'dance'], /'dance' is invalid. Allowed choices are echo, sink/],
  [['soak', '--mode', 'sink'], /--mode goes with --connect/],
  [['soak', '--ca', 'some.pem'], /--ca goes with --connect/],
  [['soak', '--duration', '14s'], /--duration must be more than the 14 s until a renegotiation/],
  [['soak', '--seed', 'x'], /'x' is invalid/],
  [['soak', '--ca', 'missing.pem'], /'missing.pem' is invalid. ENOENT/],
  [['soak', '--json', 'missing/soak.json'], /the result can't be written: ENOENT.*missing\/soak.json/],
  [['soak', '--picture', '.'], /the result can't be written: EISDIR/],
  [['soak', '--connect', 'localhost:1', '--ca', 'not.pem'], /not.pem has nothing in PEM format/],
  [['probe', '--http', 'localhost:1'], /'localhost:1' is invalid. A path begins with \/; the address comes before/],
  [['probe', 'localhost:1', '--http', '--send', 'x'], /'--send <text>' cannot be used with option '--http \[path\]'/],
  [['probe'], /missing required argument 'host:port'/],
  [['probe', 'localhost'], /'localhost' is invalid.*It must be host:port/],
  [['probe', 'localhost:1', '--timeout', 'soon'], /'soon' is invalid/],
  [['probe', 'localhost:1', '--cert', 'some.pem'], /--ca, --cert or --key is invalid: .*PEM/],
]

const files = { 'not.pem': 'not PEM', 'some.pem': '-----BEGIN CERTIFICATE-----' }

for (const [args, message] of mistakes) {
  t.test(`the command line rejects these arguments: ${args.join(' ') || '(none)'}`, async (t) => {
    const directory = t.testdir(files)
    const { code, stdout, stderr } = await cli(args, directory)
    t.equal(code, 2)
    t.equal(stdout, '')
    t.match(stderr, message)
    t.notMatch(stderr, /\n +at /, 'no stack trace is printed')
    t.strictSame(
      readdirSync(directory).filter((name) => !(name in files) && name !== 'soak.json'),
      [],
    )
  })
}

t.test('--help and --version print to stdout and exit with code 0', async (t) => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
  t.match(await cli(['--version']), { code: 0, stdout: `${version}\n`, stderr: '' })
  t.match(await cli(['--help']), { code: 0, stdout: /soak.*probe/s, stderr: '' })
  const soak = await cli(['soak', '--help'])
  t.match(soak, { code: 0, stderr: '' })
  for (const option of ['duration', 'tls', 'every', 'chunk', 'connect', 'mode', 'json', 'picture']) {
    t.match(soak.stdout, `--${option}`)
  }
  t.match(soak.stdout, /default: 1m.*default:\s+7s-14s.*default:\s+1KiB-256KiB/s, 'defaults as they are entered')
  t.match(await cli(['probe', '--help']), { code: 0, stdout: /one TLS connection.*one attempt/s })
})

t.test('importing the package does not load the command line', async (t) => {
  const directory = t.testdir()
  const index = new URL('../../src/index.js', import.meta.url).href
  // A shell sets the variables. Otherwise, the coverage would be written to the directory of all tests.
  const command = `NODE_OPTIONS= NODE_V8_COVERAGE='${directory}' node --input-type=module --eval 'import "${index}"'`
  execFileSync('/bin/sh', ['-c', command])
  const [file] = readdirSync(directory) as [string]
  const { result } = JSON.parse(readFileSync(join(directory, file), 'utf8'))
  const loaded = result.map(({ url }: { url: string }) => url).filter((url: string) => url.startsWith('file:'))
  t.ok(loaded.some((url: string) => url.endsWith('/src/core/gate.js')))
  t.same(
    loaded.filter((url: string) => /cli|commander|spinner/.test(url)),
    [],
  )
})
