import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type tls from 'node:tls'
import t, { type Test } from 'tap'
import type { SoakReport } from '../../src/cli/soak.ts'
import { cli } from '../fixtures/cli.ts'
import { OpenSSL, skip } from '../fixtures/openssl.ts'
import { ca, server as identity } from '../fixtures/pki.ts'
import { SEED } from '../fixtures/random.ts'
import { tlsPair, tlsServer } from '../fixtures/tls-pair.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

/** Runs a soak over TLS 1.3 in a directory of its own. */
async function soak(t: Test, args: string[], whileRunning?: Parameters<typeof cli>[2]) {
  const directory = t.testdir({ 'ca.pem': ca })
  const result = await cli(['soak', '--tls', '1.3', '--seed', `${SEED}`, ...args], directory, whileRunning)
  const report = JSON.parse(await readFile(join(directory, 'soak.json'), 'utf8')) as SoakReport
  const svg = await readFile(join(directory, 'soak.svg'), 'utf8')
  return { ...result, report, svg }
}

/** Runs a soak against a plain server of Node.js, with TLS 1.3. */
async function against(
  t: Test,
  serve: (socket: tls.TLSSocket) => void,
  args: string[],
  whileRunning?: Parameters<typeof cli>[2],
) {
  const server = await tlsServer(t, { maxVersion: 'TLSv1.3' })
  server.on('secureConnection', (socket: tls.TLSSocket) => {
    t.teardown(() => socket.destroy())
    serve(socket.on('error', () => {}))
  })
  const to = ['--connect', `127.0.0.1:${server.port}`, '--servername', 'localhost', '--ca', 'ca.pem']
  return soak(t, [...to, ...args], whileRunning)
}

t.test('soak --tls 1.3 loses no byte between two processes that update their keys every 100 to 200 ms', async (t) => {
  const { code, stdout, stderr, report, svg } = await soak(t, ['--duration', '5s', '--every', '100ms-200ms'])
  t.equal(code, 0, stdout + stderr)
  t.match(report, {
    verdict: 'passed',
    problems: [],
    protocol: 'TLSv1.3',
    cipher: /^TLS_/,
    intact: true,
    options: { tls: '1.3', server: null },
    kind: 'key-update',
    hold: { client: { count: Number }, server: { count: Number } },
  })
  const { byClient, byServer } = report.renegotiations
  t.ok(byClient > 5 && byServer > 5, `${byClient} by the client, ${byServer} by the server`)
  t.ok(report.bytes.toServer > 1e6 && report.bytes.toClient > 1e6, JSON.stringify(report.bytes))
  t.match(stdout, new RegExp(`^✔ passed: .*, ${byClient + byServer} key updates, both ends`))
  t.match(stderr, /\d+ key updates, writes held for/, 'the progress tells of them as well')
  t.match(svg, /<title>(\d+ )?key updates? begun by the client at/)
  t.match(svg, new RegExp(`key updates begun by the client ${byClient}, by the server ${byServer}`))
  t.notMatch(svg, 'renegotiation')
})

t.test('soak --tls 1.3 passes with a plain echo server of Node.js, which answers key updates by itself', async (t) => {
  const { code, stdout, report } = await against(t, (socket) => socket.pipe(socket), [
    '--duration',
    '2s',
    '--every',
    '100ms',
  ])
  t.equal(code, 0, stdout)
  t.match(report, { verdict: 'passed', intact: true, protocol: 'TLSv1.3', kind: 'key-update' })
  t.ok(report.renegotiations.byClient > 1)
  t.equal(report.bytes.toServer, report.bytes.toClient)
})

t.test('a plain client of Node.js cannot update its keys (control)', async (t) => {
  const { client } = await tlsPair(t, { server: { maxVersion: 'TLSv1.3' }, client: { maxVersion: 'TLSv1.3' } })
  client.on('error', () => {})
  const error = await new Promise<Error | null>((resolve) => client.renegotiate({}, resolve))
  t.equal(client.getProtocol(), 'TLSv1.3')
  t.match(error, { message: /wrong ssl version/i })
})

t.test('soak --tls 1.3 tells of key updates that a peer which only reads has not answered', async (t) => {
  const args = ['--mode', 'sink', '--duration', '2500ms', '--every', '50ms']
  const { code, stdout, report, svg } = await against(t, (socket) => socket.resume(), args)
  t.equal(code, 0, stdout)
  const { unanswered } = report.renegotiations
  t.ok(unanswered > 0, `${unanswered}`)
  t.match(stdout, `without an answer in time: ${unanswered} (a peer that only reads may never answer)`)
  t.match(svg, `, not answered in time ${unanswered}`)
})

t.test('soak --tls 1.3 passes with openssl s_server', { skip }, async (t) => {
  const directory = t.testdir({ 'server.pem': `${identity.key}\n${identity.cert}\n` })
  const server = new OpenSSL('s_server', '-tls1_3', '-accept', '127.0.0.1:0', '-cert', `${directory}/server.pem`)
  t.teardown(() => server.kill())
  const [, port] = await server.says(/ACCEPT 127\.0\.0\.1:(\d+)/)
  const args = ['--mode', 'sink', '--duration', '3s', '--every', '100ms', '--chunk', '1KiB', '--insecure']
  const { code, stdout, report } = await soak(t, ['--connect', `127.0.0.1:${port}`, ...args])
  t.equal(code, 0, stdout)
  t.match(report, { verdict: 'passed', protocol: 'TLSv1.3', kind: 'key-update' })
  t.ok(report.renegotiations.byClient > 0)
})

t.test('soak --tls 1.3 fails if there was no key update', async (t) => {
  let pid = 0
  const sink = (socket: tls.TLSSocket) => socket.once('data', () => process.kill(pid, 'SIGINT')).resume()
  const args = ['--mode', 'sink', '--duration', '2h', '--every', '1h']
  const { code, report } = await against(t, sink, args, (child) => {
    pid = child.pid as number
  })
  t.equal(code, 1)
  t.same(report.problems, ['there was no key update, so nothing is proven'])
})

t.test('soak --tls 1.3 fails if the server does not speak TLS 1.3', async (t) => {
  const server = await tlsServer(t)
  const { code, report } = await soak(t, ['--connect', `127.0.0.1:${server.port}`, '--insecure'])
  t.equal(code, 1)
  t.match(report.problems.join(), /client: ERR_SSL_\w*PROTOCOL_VERSION/)
})

for (const command of [['soak'], ['probe', 'localhost:1']]) {
  t.test(`${command[0]} --tls 1.3 says what to install if there is no OpenSSL (code 2)`, async (t) => {
    process.env['RENEGOTIATION_LIBSSL'] = '/nowhere/libssl.so'
    t.teardown(() => delete process.env['RENEGOTIATION_LIBSSL'])
    const { code, stdout, stderr } = await cli([...command, '--tls', '1.3'], t.testdir())
    t.equal(code, 2)
    t.equal(stdout, '')
    t.match(stderr, /^error: --tls 1.3: OpenSSL cannot be used\. .*\/nowhere\/libssl.so/)
    t.notMatch(stderr, /\n +at /, 'no stack trace is printed')
  })
}
