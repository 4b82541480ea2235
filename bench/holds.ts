/*
 * node build/bench/holds.js [-- --quick]
 *
 * How long a server holds its writes for each renegotiation that it begins, and what is left of its throughput. The server
 * sends all the time, and renegotiates every 100 ms. The client, in a process of its own, only reads.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { connect, createServer, type RenegotiationOptions, type RenegotiationTLSSocket } from 'renegotiation-duplex'
import { ca, server as identity } from '../examples/certificates.ts'
import { relay } from '../test/fixtures/relay.ts'
import { quantile } from './stats.ts'

const CHUNK = Buffer.alloc(64 * 1024, 'x')
const variants: Readonly<Record<string, RenegotiationOptions>> = {
  'full, held from the request': {},
  'full, held from the answer': { holdFrom: 'answer' },
  'resumed, held from the request': { resumption: true },
  'resumed, held from the answer': { resumption: true, holdFrom: 'answer' },
}

const isQuick = process.argv.includes('--quick')
const [role, given = ''] = process.argv.slice(2)
if (role === 'client') read(Number(given))
else if (role === 'server') await send(JSON.parse(given) as Settings)
else for (const roundTripMs of [0, 10, 50]) await measure(roundTripMs)

interface Settings {
  readonly renegotiation: RenegotiationOptions
  readonly milliseconds: number
  readonly everyMs: number
}

interface Sent {
  readonly bytes: number
  /** Milliseconds for each renegotiation. */
  readonly holdMs: number
}

async function measure(roundTripMs: number): Promise<void> {
  const milliseconds = isQuick ? 500 : 2000
  const measured = Object.entries(variants).map(([name, renegotiation]) => ({
    ...{ name, renegotiation },
    ...{ goodputs: [] as number[], holds: [] as number[] },
  }))
  for (let round = 0; round < (isQuick ? 1 : 5); round++) {
    for (const { renegotiation, goodputs, holds } of measured) {
      const without = await run(roundTripMs, { renegotiation, milliseconds, everyMs: 0 })
      const regular = await run(roundTripMs, { renegotiation, milliseconds, everyMs: 100 })
      goodputs.push(regular.bytes / without.bytes)
      holds.push(regular.holdMs)
    }
  }
  for (const { name, goodputs, holds } of measured) {
    const [goodput, hold] = [quantile(goodputs, 0.5).toFixed(2), quantile(holds, 0.5).toFixed(1)]
    console.log(`round trip of ${roundTripMs} ms, ${name}: goodput ${goodput}, held ${hold} ms for each renegotiation`)
  }
}

/** One connection, with an end in each of two more processes, and the round trip in this one. */
async function run(roundTripMs: number, settings: Settings): Promise<Sent> {
  const program = fileURLToPath(import.meta.url)
  const server = fork(program, ['server', JSON.stringify(settings)])
  const [port] = (await once(server, 'message')) as [number]
  const between = roundTripMs > 0 ? await relay(port, { latency: roundTripMs / 2 }) : undefined
  const client = fork(program, ['client', `${between?.port ?? port}`])
  const [sent] = (await once(server, 'message')) as [Sent]
  const exited = [once(server, 'exit'), once(client, 'exit')]
  server.disconnect()
  client.disconnect()
  await Promise.all(exited)
  between?.close()
  return sent
}

function read(port: number): void {
  process.on('disconnect', () => process.exit())
  const client = connect({ host: '127.0.0.1', port, servername: 'localhost', ca, maxVersion: 'TLSv1.2' })
  client.on('error', () => {}).resume()
}

async function send({ renegotiation, milliseconds, everyMs }: Settings): Promise<void> {
  process.on('disconnect', () => process.exit())
  const server = createServer({ ...identity, maxVersion: 'TLSv1.2', noDelay: true, renegotiation })
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port))
  const [stream] = (await once(server, 'secureConnection')) as [RenegotiationTLSSocket]
  stream.on('error', () => {}).resume()
  await sendFor(stream, 300)
  let running: Promise<unknown> | undefined
  const begin = () => {
    running ??= stream.renegotiate().finally(() => {
      running = undefined
    })
  }
  const ticking = everyMs > 0 ? setInterval(begin, everyMs) : undefined
  const bytes = await sendFor(stream, milliseconds)
  clearInterval(ticking)
  await running
  const { hold, renegotiations } = stream.counters
  process.send?.({ bytes, holdMs: (hold.meanMs * hold.count) / renegotiations })
}

/** Sends as fast as it can. Returns how many bytes have left. */
async function sendFor(stream: RenegotiationTLSSocket, milliseconds: number): Promise<number> {
  const until = performance.now() + milliseconds
  let bytes = 0
  const left = () => {
    bytes += CHUNK.length
  }
  while (performance.now() < until) {
    if (!stream.write(CHUNK, left)) await once(stream, 'drain')
  }
  return bytes
}
