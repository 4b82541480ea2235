/*
 * npm run bench [-- --quick] [-- --openssl] [-- --scale]
 *
 * What the stream costs, against the plain socket and other wrappers, as ratios
 * to the plain socket. Prints the tables, and writes bench/result-<Node>.json
 * and docs/bench-<Node>.svg; the last table is of all results there. --quick,
 * which shows no more than that it runs, writes both to build/. --openssl measures only the
 * streams of renegotiation-duplex/openssl, and keeps the other results. --scale does what scale.ts says.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { parseArgs } from 'node:util'
import { relay } from '../test/fixtures/relay.ts'
import { chart } from './chart.ts'
import { Comparison, compare, means, type Row } from './compare.ts'
import type { Contender, Result, Work } from './messages.ts'
import { compareOpenSSL } from './openssl.ts'
import { Runner, startPeer } from './processes.ts'
import { measureScale } from './scale.ts'
import { type Spread, spread } from './stats.ts'
import { openSSLTable, summary, table } from './table.ts'
import { cpuPerByte, GiB, KiB, MiB, microseconds, percentile, perGiB, perSecond, SIZES, speed } from './units.ts'

const { values: given } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    openssl: { type: 'boolean', default: false },
    scale: { type: 'boolean', default: false },
  },
})
const ROUNDS = given.quick ? 1 : 15
const SHARE = given.quick ? 1 / 16 : 1

const inMs = ({ median, low, high }: Spread) => `${median.toFixed(2)} ms (${low.toFixed(2)}–${high.toFixed(2)})`

const machine = `${os.cpus()[0]?.model ?? 'unknown CPU'}, ${os.availableParallelism()} cores, ${os.type()} ${os.release().split('.', 2).join('.')}`
console.log(`Node ${process.versions.node}, OpenSSL ${process.versions.openssl}; ${machine}\n`)
if (given.scale) {
  await measureScale(machine, given.quick)
  process.exit()
}
const peer = await startPeer()

const [major] = process.versions.node.split('.')
const name = `result-${major}.json`
const others = given.openssl ? (JSON.parse(readFileSync(`bench/${name}`, 'utf8')) as Measured) : await measure()
const tls13 = await compareOpenSSL(peer.port, given.quick ? 1 : 5, SHARE / 2)
peer.stop()
console.log(openSSLTable(tls13))

const result = { ...others, tls13 }
writeFileSync(`${given.quick ? 'build' : 'bench'}/${name}`, `${JSON.stringify(result, null, 2)}\n`)
writeFileSync(`${given.quick ? 'build' : 'docs'}/bench-${major}.svg`, chart(result))
const results = readdirSync('bench')
  .filter((name) => /^result-\d+\.json$/.test(name))
  .map((name) => JSON.parse(readFileSync(`bench/${name}`, 'utf8')) as typeof result)
console.log(`\n${summary(given.quick ? [result] : results)}`)

type Measured = Awaited<ReturnType<typeof measure>>

/** All but the streams of OpenSSL. */
async function measure() {
  const { sending, cpu, reading, pingPong } = await throughput()
  const mean = means(sending)
  console.log(
    table(
      [...sending, { name: 'send, geometric mean', plain: '', ratios: mean }, reading, ...pingPong, ...cpu],
      ROUNDS,
    ),
  )
  const idle = await idleConnections()
  const oneWrite = await singleWrite()
  const renegotiation = await renegotiating()
  const { node, openssl } = process.versions
  return {
    ...{ at: new Date().toISOString(), node, openssl, machine, rounds: ROUNDS },
    ...{ sending, mean, reading, pingPong, cpu, idle, oneWrite, renegotiation },
  }
}

async function throughput() {
  const comparison = await Comparison.start(peer.port, ['again', 'ours', 'duplexify', 'streamx'])
  const sending: Row[] = []
  const cpu: Row[] = []
  for (const [name, chunk, bytes] of SIZES) {
    const rounds = await comparison.run({ what: 'send', bytes: bytes * SHARE, chunk }, ROUNDS)
    sending.push(compare(`send, ${name}`, rounds, speed, perSecond))
    cpu.push(compare(`CPU, ${name}`, rounds, cpuPerByte, perGiB))
  }
  const reads = await comparison.run({ what: 'read', bytes: 384 * MiB * SHARE, chunk: 64 * KiB }, ROUNDS)
  const reading = compare('read', reads, speed, perSecond)
  cpu.push(compare('CPU, read', reads, cpuPerByte, perGiB))
  const pings = await comparison.run({ what: 'ping', times: 3000 }, ROUNDS * 2)
  const pingPong = [
    compare('ping-pong, p50', pings, percentile(0.5), microseconds),
    compare('ping-pong, p99', pings, percentile(0.99), microseconds),
  ]
  comparison.stop()
  return { sending, cpu, reading, pingPong }
}

/** In a process of its own: what one has grown is not given back. */
async function alone(contender: Contender, work: Work): Promise<Result> {
  const runner = await Runner.start(contender, peer.port)
  const result = await runner.run(work)
  runner.stop()
  return result
}

async function idleConnections() {
  const rows = []
  for (const connections of given.quick ? [100] : [1, 1000, 10_000]) {
    const each = async (contender: Contender) => {
      const { heapBytes = 0, rssBytes = 0 } = await alone(contender, { what: 'idle', connections })
      return { heapBytes: heapBytes / connections, rssBytes: rssBytes / connections }
    }
    const plain = await each('plain')
    const ours = await each('ours')
    rows.push({ connections, plain, ours })
    console.log(
      `${connections} idle connections: heap each, plain ${Math.round(plain.heapBytes)} B, ours + ${Math.round(ours.heapBytes - plain.heapBytes)} B; ` +
        `RSS each, plain ${Math.round(plain.rssBytes / KiB)} KiB, ours + ${Math.round((ours.rssBytes - plain.rssBytes) / KiB)} KiB`,
    )
  }
  return rows
}

async function singleWrite() {
  const bytes = GiB * SHARE
  const one = async (contender: Contender) => {
    const { rssBytes = 0, time } = await alone(contender, { what: 'one write', bytes })
    console.log(
      `one write of ${bytes / MiB} MiB, ${contender}: ${Math.round(rssBytes / MiB)} MiB above it, ${Math.round(time)} ms`,
    )
    return { rssBytes, time }
  }
  return { bytes, plain: await one('plain'), ours: await one('ours') }
}

/** Against the handshake alone on an idle connection, and how long a byte is on its way under the same load. */
async function renegotiating() {
  const rows = []
  const milliseconds = 2000 * SHARE
  for (const roundTripMs of [0, 10, 50]) {
    const between = roundTripMs > 0 ? await relay(peer.port, { latency: roundTripMs / 2 }) : undefined
    const runner = await Runner.start('ours', between?.port ?? peer.port)
    const goodputs: number[] = []
    const handshakes: number[] = []
    const transits: number[] = []
    const holds: number[] = []
    for (let round = 0; round < (given.quick ? 1 : 7); round++) {
      handshakes.push(...((await runner.run({ what: 'handshakes', times: 20 })).each ?? []))
      transits.push(...((await runner.run({ what: 'transit', milliseconds })).each ?? []))
      const without = await runner.run({ what: 'renegotiate', milliseconds, every: 0 })
      const regular = await runner.run({ what: 'renegotiate', milliseconds, every: 100 * SHARE })
      goodputs.push(speed(regular) / speed(without))
      holds.push(...(regular.each ?? []))
    }
    runner.stop()
    between?.close()
    const [handshakeMs, transitMs, holdMs, goodput] = [
      spread(handshakes),
      spread(transits),
      spread(holds),
      spread(goodputs),
    ]
    rows.push({ roundTripMs, handshakeMs, transitMs, holdMs, goodput })
    console.log(
      `round trip of ${roundTripMs} ms: handshake alone ${inMs(handshakeMs)}, a byte under load ${inMs(transitMs)}, ` +
        `hold under load ${inMs(holdMs)}, goodput with one every 100 ms ${goodput.median.toFixed(2)}`,
    )
  }
  return rows
}
