/*
 * npm run bench [-- --quick]
 *
 * What the stream costs, against the plain socket and other wrappers: each in a
 * process of its own, and each run between two of the plain socket, so that
 * what the machine does otherwise meets both alike. What counts are ratios to
 * those two. Writes bench/result-<Node>.json and docs/bench-<Node>.svg.
 */
import { writeFileSync } from 'node:fs'
import os from 'node:os'
import { parseArgs } from 'node:util'
import { relay } from '../test/fixtures/relay.ts'
import { chart } from './chart.ts'
import type { Contender, Result, Work } from './messages.ts'
import { Runner, startPeer } from './processes.ts'
import { geometricMean, quantile, type Spread, spread } from './stats.ts'

const { values: given } = parseArgs({ options: { quick: { type: 'boolean', default: false } } })
const ROUNDS = given.quick ? 3 : 11
const KiB = 1024
const MiB = 1024 * KiB
const GiB = 1024 * MiB

/** One measured thing: a ratio to the plain socket for each contender. */
export interface Row {
  readonly name: string
  /** How the plain socket did, in words. */
  readonly plain: string
  readonly ratios: Partial<Record<Contender, Spread>>
}

const others: readonly Contender[] = ['ours', 'duplexify', 'streamx', 'bare']
const peer = await startPeer()
const plain = await Runner.start('plain', peer.port)
const runners = await Promise.all(others.map((contender) => Runner.start(contender, peer.port)))
const find = (contender: Contender) => runners.find((runner) => runner.contender === contender) as Runner

/** A run, and those of the plain socket right before and after it. */
interface Measured {
  readonly own: Result
  readonly plain: readonly [Result, Result]
}

/** In every round each once, in an order that goes round; the first round is for warming up. */
async function rounds(work: Work): Promise<Map<Contender, Measured[]>> {
  const results = new Map<Contender, Measured[]>(others.map((contender) => [contender, []]))
  for (let round = 0; round <= ROUNDS; round++) {
    let before = await plain.run(work)
    for (let turn = 0; turn < others.length; turn++) {
      const contender = others[(round + turn) % others.length] as Contender
      const own = await find(contender).run(work)
      const after = await plain.run(work)
      if (round > 0) results.get(contender)?.push({ own, plain: [before, after] })
      before = after
    }
  }
  return results
}

/** More is better where it is speed; `value` of a contender to that of the plain socket around it. */
function compare(
  name: string,
  results: Map<Contender, Measured[]>,
  value: (result: Result) => number,
  words: (value: number) => string,
): Row {
  const ratios: Partial<Record<Contender, Spread>> = {}
  const plains: number[] = []
  for (const [contender, measured] of results) {
    const around = measured.map(({ plain: [before, after] }) => geometricMean([value(before), value(after)]))
    ratios[contender] = spread(measured.map(({ own }, round) => value(own) / (around[round] as number)))
    plains.push(...around)
  }
  const row = { name, plain: words(spread(plains).median), ratios }
  print(row)
  return row
}

function print({ name, plain, ratios }: Row): void {
  const cells = Object.entries(ratios).map(
    ([contender, { median, low, high }]) => `${contender} ${median.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`,
  )
  console.log(`${name.padEnd(26)} plain ${plain.padEnd(14)} ${cells.join('   ')}`)
}

const speed = ({ bytes, time }: Result) => bytes / time
const cpuPerByte = ({ bytes, cpu }: Result) => cpu / bytes
const perSecond = (bytesPerMs: number) => `${(bytesPerMs / 1000).toFixed(0)} MB/s`
const perGiB = (cpuMsPerByte: number) => `${Math.round(cpuMsPerByte * GiB)} ms/GiB`
const percentile = (part: number) => (result: Result) => quantile(result.each ?? [], part)
const microseconds = (ms: number) => `${Math.round(ms * 1000)} µs`

const machine = `${os.cpus()[0]?.model ?? 'unknown CPU'}, ${os.availableParallelism()} cores, ${os.type()} ${os.release()}`
console.log(`Node ${process.versions.node}, OpenSSL ${process.versions.openssl}; ${machine}; ${ROUNDS} rounds`)
console.log('ratios to the plain socket: median (quarter–quarter)\n')

const sending: Row[] = []
const cpu: Row[] = []
for (const [name, chunk, bytes] of [
  ['64 B', 64, 64 * MiB],
  ['1 KiB', KiB, 192 * MiB],
  ['16 KiB', 16 * KiB, 384 * MiB],
  ['64 KiB', 64 * KiB, 384 * MiB],
  ['1 MiB', MiB, 384 * MiB],
] as const) {
  const results = await rounds({ what: 'send', bytes, chunk })
  sending.push(compare(`send, ${name}`, results, speed, perSecond))
  cpu.push(compare(`  CPU, ${name}`, results, cpuPerByte, perGiB))
}
const means = Object.fromEntries(
  others.map((contender) => [contender, geometricMean(sending.map(({ ratios }) => ratios[contender]?.median ?? 0))]),
)
console.log(
  `  geometric means: ${Object.entries(means)
    .map(([name, mean]) => `${name} ${mean.toFixed(3)}`)
    .join(', ')}`,
)

const reading = compare('read', await rounds({ what: 'read', bytes: 384 * MiB }), speed, perSecond)
const pings = await rounds({ what: 'ping', times: 3000 })
const pingPong = [
  compare('ping-pong, p50', pings, percentile(0.5), microseconds),
  compare('ping-pong, p99', pings, percentile(0.99), microseconds),
]

console.log('\nmemory')
const memory: Record<string, unknown> = {}
for (const connections of given.quick ? [1000] : [1, 1000, 10_000]) {
  const per = async (contender: Contender) => {
    // A process of its own each time: what one has grown is not given back.
    const runner = await Runner.start(contender, peer.port)
    const { heapBytes = 0, rssBytes = 0 } = await runner.run({ what: 'idle', connections })
    runner.stop()
    return { heap: heapBytes / connections, rss: rssBytes / connections }
  }
  const bare = await per('plain')
  const ours = await per('ours')
  memory[`idle, ${connections}`] = { plain: bare, ours }
  console.log(
    `idle, ${connections} connections: heap each, plain ${Math.round(bare.heap)} B, ours + ${Math.round(ours.heap - bare.heap)} B; ` +
      `RSS each, plain ${Math.round(bare.rss / KiB)} KiB, ours + ${Math.round((ours.rss - bare.rss) / KiB)} KiB`,
  )
}
for (const contender of ['plain', 'ours'] as const) {
  const runner = await Runner.start(contender, peer.port)
  const { rssBytes = 0, time } = await runner.run({ what: 'one write', bytes: given.quick ? 256 * MiB : GiB })
  runner.stop()
  memory[`one write, ${contender}`] = { rssBytes, time }
  console.log(`one write of 1 GiB, ${contender}: ${Math.round(rssBytes / MiB)} MiB above it, ${Math.round(time)} ms`)
}

console.log('\nrenegotiation')
const renegotiation: Record<string, unknown> = {}
for (const rtt of [0, 10, 50]) {
  const between = rtt > 0 ? await relay(peer.port, { latency: rtt / 2 }) : undefined
  const ours = find('ours')
  const bare = spread((await ours.run({ what: 'handshakes', times: 40 }, between?.port)).each ?? [])
  const goodput: number[] = []
  const holds: number[] = []
  for (let round = 0; round < (given.quick ? 1 : 5); round++) {
    const without = await ours.run({ what: 'renegotiate', milliseconds: 2000, every: 0 }, between?.port)
    const with100 = await ours.run({ what: 'renegotiate', milliseconds: 2000, every: 100 }, between?.port)
    goodput.push(speed(with100) / speed(without))
    holds.push(...(with100.each ?? []))
  }
  between?.close()
  const row = { bareHandshakeMs: bare, holdMs: spread(holds), goodput: spread(goodput) }
  renegotiation[`round trip ${rtt} ms`] = row
  console.log(
    `round trip ${rtt} ms: handshake alone ${bare.median.toFixed(2)} ms, hold under load ${row.holdMs.median.toFixed(2)} ms ` +
      `(${row.holdMs.low.toFixed(2)}–${row.holdMs.high.toFixed(2)}), goodput with one every 100 ms ${row.goodput.median.toFixed(2)}`,
  )
}

for (const runner of [plain, ...runners]) runner.stop()
peer.stop()
const result = {
  at: new Date().toISOString(),
  node: process.versions.node,
  openssl: process.versions.openssl,
  machine,
  rounds: ROUNDS,
  sending,
  means,
  cpu,
  reading,
  pingPong,
  memory,
  renegotiation,
}
const [major] = process.versions.node.split('.')
writeFileSync(`bench/result-${major}.json`, `${JSON.stringify(result, null, 2)}\n`)
writeFileSync(`docs/bench-${major}.svg`, chart(result))
