/*
 * npm run bench [-- --quick | --openssl | --guard 0.85 | --scale [--quick]]
 *
 * What the stream costs, against the plain socket and other wrappers, as ratios
 * to the plain socket. Prints the tables, and writes bench/result-<Node>.json
 * and docs/bench-<Node>.svg; the last table is of all results there.
 *
 * --quick shows no more than that it runs, and writes both to build/.
 * --openssl measures only the streams of renegotiation-duplex/openssl, and keeps the other results.
 * --guard measures only sending and reading, writes nothing, and exits with code 1 if either is
 * clearly below that part of the plain socket's speed.
 * --scale does what scale.ts says.
 *
 * --generations and --share change how often all processes are started anew, and which part of the
 * bytes is sent and received. --contender has another one than this package guarded.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { parseArgs } from 'node:util'
import { relay } from '../test/fixtures/relay.ts'
import { chart } from './chart.ts'
import { mean, measure, type Plan } from './compare.ts'
import { cipherSpeed, floorTable, negotiatedCipher } from './floor.ts'
import { measureForGuard, tooSlow } from './guard.ts'
import { type Contender, NAMES, type Result, type Work } from './messages.ts'
import { compareOpenSSL } from './openssl.ts'
import { Runner, startPeer } from './processes.ts'
import { measureScale } from './scale.ts'
import { type Spread, spread } from './stats.ts'
import { openSSLTable, summary, table } from './table.ts'
import { comparePings, compareThroughput, PINGS, throughputTasks } from './throughput.ts'
import { GiB, KiB, MiB, speed } from './units.ts'

/** Of the result files. A file of another format is from an older benchmark, and is left out of the last table. */
const FORMAT = 2

const { values: given } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    openssl: { type: 'boolean', default: false },
    scale: { type: 'boolean', default: false },
    guard: { type: 'string' },
    contender: { type: 'string', default: 'ours' },
    generations: { type: 'string' },
    share: { type: 'string' },
  },
})
const plan: Plan = {
  generations: given.generations === undefined ? (given.quick ? 1 : 9) : whole('generations', given.generations),
  rounds: given.quick ? 1 : 2,
}
const usualShare = given.guard !== undefined ? 1 / 32 : given.quick ? 1 / 16 : 1
const SHARE = given.share === undefined ? usualShare : positive('share', given.share)

const inMs = ({ median, low, high }: Spread) => `${median.toFixed(2)} ms (${low.toFixed(2)}–${high.toFixed(2)})`

const machine = `${os.cpus()[0]?.model ?? 'unknown CPU'}, ${os.availableParallelism()} cores, ${os.type()} ${os.release().split('.', 2).join('.')}`
console.log(`Node ${process.versions.node}, OpenSSL ${process.versions.openssl}; ${machine}\n`)
if (given.scale) {
  await measureScale(machine, given.quick)
  process.exit()
}

if (given.guard !== undefined) {
  process.exitCode = await guard(given.contender as Contender, positive('guard', given.guard))
  process.exit()
}

const [major] = process.versions.node.split('.')
const name = `result-${major}.json`
const before = given.openssl ? (JSON.parse(readFileSync(`bench/${name}`, 'utf8')) as Measured) : undefined
if (before !== undefined && before.format !== FORMAT) {
  throw new Error(`bench/${name} is from an older benchmark: run all of it, without --openssl`)
}
const peer = await startPeer()
const others = before ?? (await measureAll())
const tls13 = await compareOpenSSL(peer.port, plan, SHARE / 2, given.quick ? 100 : 1000, given.quick ? MiB : GiB)
peer.stop()
console.log(openSSLTable(tls13))

const result = { ...others, tls13 }
writeFileSync(`${given.quick ? 'build' : 'bench'}/${name}`, `${JSON.stringify(result, null, 2)}\n`)
writeFileSync(`${given.quick ? 'build' : 'docs'}/bench-${major}.svg`, chart(result))
const results = readdirSync('bench')
  .filter((name) => /^result-\d+\.json$/.test(name))
  .map((name) => JSON.parse(readFileSync(`bench/${name}`, 'utf8')) as typeof result)
  .filter(({ format }) => format === FORMAT)
console.log(`\n${summary(given.quick ? [result] : results)}`)

type Measured = Awaited<ReturnType<typeof measureAll>>

function positive(option: string, value: string): number {
  const number = Number(value)
  if (number > 0 && Number.isFinite(number)) return number
  throw new RangeError(`--${option} must be a number above 0, not '${value}'`)
}

function whole(option: string, value: string): number {
  const number = positive(option, value)
  if (Number.isInteger(number)) return number
  throw new RangeError(`--${option} must be a whole number, not '${value}'`)
}

/** @returns the exit code */
async function guard(contender: Contender, floor: number): Promise<number> {
  if (!Object.hasOwn(NAMES, contender)) throw new RangeError(`There is no contender '${contender}'`)
  const { rows, means } = await measureForGuard(contender, plan, SHARE)
  console.log(table([...rows, ...means], plan, [contender]))
  const failures = tooSlow(means, contender, floor)
  console.log(failures.length > 0 ? `TOO SLOW\n${failures.join('\n')}` : `Neither is clearly below ${floor}.`)
  return failures.length > 0 ? 1 : 0
}

/** All but the streams of OpenSSL. */
async function measureAll() {
  const tasks = [...throughputTasks(SHARE), PINGS]
  const measured = await measure(['again', 'ours', 'duplexify', 'streamx', 'tcp'], tasks, plan)
  const { sending, reading, cpuSending, cpuReading } = compareThroughput(measured)
  const means = [mean('send, geometric mean', sending), mean('read, geometric mean', reading)] as const
  const pingPong = comparePings(measured)
  const cipher = await cipherSpeed(await negotiatedCipher(peer.port))
  console.log(table([...sending, ...reading, ...means, ...pingPong, ...cpuSending, ...cpuReading], plan))
  console.log(floorTable(sending, reading, cipher))
  const idle = await idleConnections()
  const oneWrite = await singleWrite()
  const renegotiation = await renegotiating()
  const { node, openssl } = process.versions
  return {
    ...{ format: FORMAT, at: new Date().toISOString(), node, openssl, machine, ...plan },
    ...{ sending, reading, means, pingPong, cpuSending, cpuReading, cipher, idle, oneWrite, renegotiation },
  }
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
  // Not a share of it: a renegotiation takes as long as before.
  const scale = given.quick ? 1 / 16 : 1
  const milliseconds = 2000 * scale
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
      const regular = await runner.run({ what: 'renegotiate', milliseconds, every: 100 * scale })
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
