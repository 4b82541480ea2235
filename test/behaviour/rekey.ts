import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import sinon from 'sinon'
import t from 'tap'
import { type RenegotiationStream, wrapTLSSocket } from '../../src/index.ts'
import { nextError } from '../fixtures/settled.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'

/** Waits until each of these streams has emitted the event. */
async function next(event: string, ...streams: RenegotiationStream[]): Promise<void> {
  await Promise.all(streams.map((stream) => once(stream, event)))
}

t.test('a server without a schedule fails if the schedule of its client exceeds the limit (control)', async (t) => {
  const pair = await tlsPair(t)
  const client = wrapTLSSocket(pair.client, { rekey: { everyBytes: 1 } })
  client.on('error', () => {}).resume()
  const server = wrapTLSSocket(pair.server)
  server.resume()
  const error = nextError(server)
  server.on('renegotiated', () => client.write('x'))
  client.write('x')
  t.match(await error, { code: 'ERR_RENEGOTIATION_LIMIT' })
})

t.test("two ends that renegotiate every 7 to 14 s for 24 minutes do not exceed Node's limit", async (t) => {
  // The clock is faked after connecting, because Node uses timers of its own for that.
  const pair = await tlsPair(t)
  const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  t.teardown(() => clock.restore())
  const rekey = { everyMs: [7000, 14_000] as const }
  const client = wrapTLSSocket(pair.client, { rekey })
  const server = wrapTLSSocket(pair.server, { rekey })
  client.resume()
  server.resume()
  const minutes = 24
  const until = performance.now() + minutes * 60_000
  let shortest = Infinity
  let longest = 0
  for (let last = performance.now(); performance.now() < until; last = performance.now()) {
    const both = next('renegotiated', client, server)
    clock.next()
    await both
    shortest = Math.min(shortest, performance.now() - last)
    longest = Math.max(longest, performance.now() - last)
  }
  const { renegotiations, byPeer } = client.counters
  t.comment(`${renegotiations} in ${minutes} minutes, ${byPeer} of them begun by the server`)
  t.ok(shortest >= 7000 && longest <= 14_000, `from ${shortest} to ${longest} ms`)
  t.ok(renegotiations >= (minutes * 60) / 14)
  t.ok(byPeer > 3 && renegotiations - byPeer > 3, 'both ends begin renegotiations')
  t.has(server.counters, { renegotiations, byPeer: renegotiations - byPeer, failed: 0, failedByPeer: 0 })
})

t.test('both ends renegotiate by rekey.everyBytes under traffic, and all data arrives', async (t) => {
  const pair = await tlsPair(t)
  const rekey = { everyBytes: 1024 * 1024 }
  const client = wrapTLSSocket(pair.client, { rekey })
  const server = wrapTLSSocket(pair.server, { rekey })
  server.pipe(server)
  const total = 20 * 1024 * 1024
  let bytes = 0
  client.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes === total) client.end()
  })
  client.write(Buffer.alloc(total))
  await once(client, 'end')
  t.equal(bytes, total)
  t.ok(client.counters.renegotiations >= 10, `${client.counters.renegotiations} renegotiations`)
  t.equal(client.counters.renegotiations, server.counters.renegotiations)
})

t.test('a rekey schedule on TLS 1.3 emits a process warning, and data is still delivered', async (t) => {
  const pair = await tlsPair(t, { server: { maxVersion: 'TLSv1.3' } })
  const warned = once(process, 'warning')
  const client = wrapTLSSocket(pair.client, { rekey: { everyBytes: 1 } })
  const server = wrapTLSSocket(pair.server, { rekey: { everyBytes: 1 } })
  server.pipe(server)
  client.write('on and on')
  const [data] = await once(client, 'data')
  t.equal(String(data), 'on and on')
  t.match(await warned, [{ code: 'RENEGOTIATION_REKEY_UNSUPPORTED', message: /TLS 1.3 has no renegotiation/ }])
  t.has(client.counters, { renegotiations: 0, failed: 0 })
})

t.test('a rekey schedule does not keep the process running', async (t) => {
  const url = (file: string) => JSON.stringify(new URL(file, import.meta.url).href)
  const program = `
    import { RenegotiationDuplex } from ${url('../../src/index.js')}
    import { ScriptedTransport } from ${url('../fixtures/scripted-transport.js')}
    const rekey = { everyMs: 3_600_000, hardLimit: { ms: 7_200_000 } }
    new RenegotiationDuplex(new ScriptedTransport(), { rekey })
    process.on('exit', () => console.log('nothing is left to do'))`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program])
  t.equal(stdout, 'nothing is left to do\n')
})
