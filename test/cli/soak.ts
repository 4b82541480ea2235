import { constants } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { SoakReport } from '../../src/cli/soak.ts'
import type { RenegotiationServerOptions, RenegotiationTLSSocket } from '../../src/index.ts'
import { type CliResult, cli } from '../fixtures/cli.ts'
import { freePort } from '../fixtures/free-port.ts'
import { ca } from '../fixtures/pki.ts'
import { SEED } from '../fixtures/random.ts'
import { listen } from '../fixtures/web.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

/** Runs a soak in a directory of its own. */
async function soak(t: Test, args: string[], whileRunning?: Parameters<typeof cli>[2]) {
  const directory = t.testdir({ 'ca.pem': ca })
  const result = await cli(['soak', '--seed', `${SEED}`, ...args], directory, whileRunning)
  const report = JSON.parse(await readFile(join(directory, 'soak.json'), 'utf8')) as SoakReport
  const svg = await readFile(join(directory, 'soak.svg'), 'utf8')
  return { ...result, report, svg }
}

/** Runs a soak against a server of this package, which calls `serve` with each connection. */
async function against(
  t: Test,
  serve: (socket: RenegotiationTLSSocket) => void,
  args: string[],
  options: RenegotiationServerOptions = {},
  whileRunning?: Parameters<typeof cli>[2],
) {
  const { port } = await listen(t, options, (socket) => {
    socket.on('error', () => {})
    serve(socket)
  })
  return soak(
    t,
    ['--connect', `127.0.0.1:${port}`, '--servername', 'localhost', '--ca', 'ca.pem', ...args],
    whileRunning,
  )
}

function failed(t: Test, { code, stdout, report }: CliResult & { report: SoakReport }, problem: RegExp): void {
  t.equal(code, 1)
  t.equal(report.verdict, 'failed')
  t.match(report.problems.join('\n'), problem)
  t.match(stdout, problem)
}

const seconds = Number(process.env['SOAK_SECONDS'] ?? 60)

t.test(`soak loses no byte in ${seconds} s between two processes that renegotiate every 30 to 60 ms`, async (t) => {
  const args = ['--duration', `${seconds}s`, '--every', '30ms-60ms', '--chunk', '1B-256KiB']
  const { code, stdout, stderr, report, svg } = await soak(t, args)
  t.equal(code, 0, stderr)
  const { byClient, byServer } = report.renegotiations
  const total = byClient + byServer
  t.match(report, {
    verdict: 'passed',
    problems: [],
    node: process.versions.node,
    protocol: 'TLSv1.2',
    options: { duration: seconds * 1000, everyMs: [30, 60], chunkBytes: [1, 262_144], seed: SEED, server: null },
    intact: true,
    hold: { client: { count: Number }, server: { count: Number } },
  })
  // Each begins at most 60 ms after the end of the one before.
  t.ok(total > seconds * 2, `${total} renegotiations`)
  t.ok(byClient > total / 10 && byServer > total / 10, `${byClient} by the client, ${byServer} by the server`)
  t.ok(report.bytes.toServer > 1e6 && report.bytes.toClient > 1e6, JSON.stringify(report.bytes))
  const sum = (name: 'byClient' | 'byServer' | 'toServer' | 'toClient') =>
    report.timeline.columns.reduce((all, column) => all + column[name], 0)
  t.equal(sum('byClient'), byClient)
  t.equal(sum('byServer'), byServer)
  t.equal(sum('toServer'), report.bytes.toServer)
  t.equal(sum('toClient'), report.bytes.toClient)
  t.ok(report.rss.client.every((rss) => rss > 1e6))
  t.match(stdout, new RegExp(`^✔ passed: .*, ${total} renegotiations, both ends`))
  t.match(stdout, /client: writes held \d+ times/)
  t.match(stdout, /server: writes held \d+ times/)
  t.match(svg, /^<svg /)
})

for (const [signal, title] of [
  // A terminal sends the signal of Ctrl-C to all processes of the command.
  ['SIGINT', 'Ctrl-C (SIGINT)'],
  ['SIGTERM', 'SIGTERM'],
] as const) {
  t.test(`soak ends early on ${title}, with a verdict on the run so far`, async (t) => {
    let pid = 0
    const echo = (socket: RenegotiationTLSSocket) => {
      socket.pipe(socket)
      socket.once('renegotiated', () => process.kill(signal === 'SIGINT' ? -pid : pid, signal))
    }
    const { code, report, stdout } = await against(t, echo, ['--duration', '24h', '--every', '50ms'], {}, (child) => {
      pid = child.pid as number
    })
    t.equal(code, 0)
    t.match(report, { verdict: 'passed', intact: true, interrupted: true })
    t.match(stdout, /^✔ passed, interrupted: /)
  })
}

t.test('soak fails if there was no renegotiation', async (t) => {
  let pid = 0
  const sink = (socket: RenegotiationTLSSocket) => socket.once('data', () => process.kill(pid, 'SIGINT')).resume()
  const result = await against(t, sink, ['--duration', '2h', '--every', '1h', '--mode', 'sink'], {}, (child) => {
    pid = child.pid as number
  })
  failed(t, result, /no renegotiation, so nothing is proven/)
})

t.test('soak fails if one end is killed', { skip: process.platform !== 'linux' && 'needs /proc' }, async (t) => {
  const result = await soak(t, ['--duration', '1h'], async ({ pid }) => {
    const children = () => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
    while (children().length < 2) await turn()
    process.kill(Number(children()[1]), 'SIGKILL')
  })
  failed(t, result, /client: its process ended early \(SIGKILL\)/)
})

t.test('soak --connect passes with an echo server', async (t) => {
  const args = ['--duration', '2s', '--every', '50ms-100ms']
  const { code, report } = await against(t, (socket) => socket.pipe(socket), args)
  t.equal(code, 0)
  t.match(report, {
    verdict: 'passed',
    intact: true,
    options: { server: /^127.0.0.1:\d+$/, mode: 'echo' },
    hold: { server: null },
    rss: { server: null },
  })
  t.equal(report.bytes.toServer, report.bytes.toClient)
})

t.test('soak --connect fails if the echo server changes a byte', async (t) => {
  const change = () =>
    new Transform({
      transform(chunk: Buffer, _, done) {
        chunk[0] = ~(chunk[0] as number)
        done(null, chunk)
      },
    })
  const args = ['--duration', '500ms', '--every', '50ms']
  const result = await against(t, (socket) => socket.pipe(change()).pipe(socket), args)
  failed(t, result, /what came out is not what went in/)
  t.equal(result.report.intact, false)
})

const briefly = ['--duration', '500ms', '--every', '50ms']

t.test('soak --connect passes if the echo server leaves the connection open for longer than --stall', async (t) => {
  const echo = (socket: RenegotiationTLSSocket) => socket.pipe(socket, { end: false })
  const result = await against(t, echo, [...briefly, '--stall', '3s'], { allowHalfOpen: true })
  t.same(result.report.problems, [])
  t.equal(result.code, 0)
  t.equal(result.report.intact, true)
})

for (const [title, more] of [
  ['before it closes', (socket: RenegotiationTLSSocket) => socket.end('more')],
  ['and keeps the connection open', (socket: RenegotiationTLSSocket) => socket.write('more')],
] as const) {
  t.test(`soak --connect fails if the echo server sends more than it received, ${title}`, async (t) => {
    const echo = (socket: RenegotiationTLSSocket) => {
      socket.pipe(socket, { end: false })
      socket.on('end', () => more(socket))
    }
    const result = await against(t, echo, briefly, { allowHalfOpen: true })
    failed(t, result, /more came out than went in: 4 bytes too many reached the client/)
    t.equal(result.report.intact, false)
  })
}

const sink = [...briefly, '--mode', 'sink']

t.test('soak --mode sink passes, without a statement on whether the data arrived intact', async (t) => {
  const { code, report } = await against(t, (socket) => socket.resume(), sink)
  t.equal(code, 0)
  t.match(report, { verdict: 'passed', intact: null, bytes: { toClient: 0 } })
})

t.test('soak --mode sink passes if the server does not close the connection', async (t) => {
  const { code } = await against(t, (socket) => socket.resume(), sink, { allowHalfOpen: true })
  t.equal(code, 0)
})

t.test('soak --connect fails if the server closes the connection', async (t) => {
  const closes = (socket: RenegotiationTLSSocket) => socket.once('data', () => socket.end()).resume()
  // There is no renegotiation before that. If the server closed during one, the error would be another.
  const args = ['--duration', '2h', '--every', '1h', '--mode', 'sink']
  failed(t, await against(t, closes, args), /client: the other end has closed the connection/)
})

t.test('soak --connect fails if the server refuses renegotiation', async (t) => {
  const refuses = { secureOptions: constants.SSL_OP_NO_RENEGOTIATION }
  const result = await against(t, (socket) => socket.resume(), sink.with(1, '1h'), refuses)
  failed(t, result, /client: ERR_RENEGOTIATION_REFUSED: /)
})

t.test('soak --connect fails if no byte is sent or received for the time of --stall', async (t) => {
  const args = ['--duration', '2h', '--every', '1h', '--stall', '500ms']
  failed(t, await against(t, () => {}, args), /no byte for 0.5 s/)
})

t.test('soak --connect fails if there is no server at the address', async (t) => {
  const result = await soak(t, ['--connect', `127.0.0.1:${await freePort()}`])
  failed(t, result, /client: ECONNREFUSED/)
  t.match(result.report, { protocol: null, milliseconds: 0 })
})

t.test('soak --connect fails if the certificate does not verify, and passes with --insecure', async (t) => {
  const { port } = await listen(t, {}, (socket) => socket.on('error', () => {}).resume())
  const args = ['--connect', `localhost:${port}`, ...sink]
  failed(t, await soak(t, args), /client: (UNABLE_TO|SELF_SIGNED|DEPTH)\w*/)
  t.equal((await soak(t, [...args, '--insecure'])).code, 0)
})
