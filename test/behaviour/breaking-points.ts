import { randomInt } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import tls from 'node:tls'
import t from 'tap'
import { type BreakCase, type CaseReport, type Place, runCase } from '../fixtures/break-case.ts'
import { type Break, BreakingRelay, type BreakKind, breakKinds, type Direction } from '../fixtures/breaking-relay.ts'
import { HeldTimers } from '../fixtures/held-timers.ts'
import { ca, client } from '../fixtures/pki.ts'
import { clientOptions, tlsServer } from '../fixtures/tls-pair.ts'

/*
 * A connection breaks at any byte of a renegotiation's handshake, under traffic in both directions.
 *
 * Every BREAK_STEP-th byte is tried, beginning at another one in each run. BREAK_OFFSET repeats a run, BREAK_ALL=1 tries
 * every byte, and BREAK_ONLY='client toServer flip 123' only those cases whose name has these words.
 */
const ALL = process.env['BREAK_ALL'] === '1'
const STEP = ALL ? 1 : Number(process.env['BREAK_STEP'] ?? 7)
/** Also chooses which bit of a byte is flipped. */
const OFFSET = Number(process.env['BREAK_OFFSET'] ?? (ALL ? 0 : randomInt(10_000)))
const ONLY = process.env['BREAK_ONLY']?.split(' ')
/** So many connections at once. */
const PLACES = Number(process.env['BREAK_PLACES'] ?? 24)

t.setTimeout(900_000 + (ALL ? 3_600_000 : 0))
t.comment(`BREAK_OFFSET=${OFFSET} BREAK_STEP=${STEP}`)

const timers = new HeldTimers()
t.teardown(() => timers.restore())

interface Scenario extends Omit<BreakCase, 'breaks'> {
  name: string
  /** Only every so many of its cases are tried, because they take longer or differ little from the others. */
  sample: number
}

const usual = { asksForCertificate: false, isCongested: false, isDuplex: false, sample: 1 }
const scenarios: Scenario[] = [
  { ...usual, name: 'client', begins: 'client' },
  { ...usual, name: 'server', begins: 'server' },
  { ...usual, name: 'certificate', begins: 'server', asksForCertificate: true, sample: 5 },
  { ...usual, name: 'congested client', begins: 'client', isCongested: true, sample: 20 },
  { ...usual, name: 'congested server', begins: 'server', isCongested: true, sample: 20 },
  { ...usual, name: 'duplex client', begins: 'client', isDuplex: true, sample: 10 },
  { ...usual, name: 'duplex server', begins: 'server', isDuplex: true, sample: 10 },
]

async function places(): Promise<Place[]> {
  // Made once, because it takes a quarter of the time of a connection.
  const secureContext = tls.createSecureContext({ ca, ...client, maxVersion: 'TLSv1.2' })
  return Promise.all(
    Array.from({ length: PLACES }, async () => {
      const server = await tlsServer(t)
      const relay = await BreakingRelay.listen(server.port)
      t.teardown(() => relay.close())
      return { server, relay, clientOptions: { ...clientOptions(relay.port), secureContext } }
    }),
  )
}

/** Runs the tasks, as many at once as there are places. */
async function everywhere(tasks: Iterable<(place: Place) => Promise<void>>): Promise<void> {
  const next = tasks[Symbol.iterator]()
  await Promise.all(
    everyPlace.map(async (place) => {
      for (let task = next.next(); !task.done; task = next.next()) await task.value(place)
    }),
  )
}

const everyPlace = await places()
const longest = new Map<Scenario, Record<Direction, number>>()

t.test('a renegotiation under traffic whose connection does not break succeeds', async (t) => {
  const tasks = scenarios.flatMap((scenario) =>
    Array.from({ length: 8 }, () => async (place: Place) => {
      const { wrong, handshakeBytes } = await runCase({ ...scenario, breaks: undefined }, place, timers)
      t.same(wrong, [], scenario.name)
      const before = longest.get(scenario) ?? { toServer: 0, toClient: 0 }
      longest.set(scenario, {
        toServer: Math.max(before.toServer, handshakeBytes.toServer),
        toClient: Math.max(before.toClient, handshakeBytes.toClient),
      })
    }),
  )
  await everywhere(tasks)
  for (const [{ name }, bytes] of longest) t.comment(`${name}: handshake bytes ${JSON.stringify(bytes)}`)
})

interface NamedCase extends BreakCase {
  name: string
  breaks: Break
}

function* cases(): Generator<NamedCase> {
  for (const scenario of scenarios) {
    for (const direction of ['toServer', 'toClient'] as Direction[]) {
      const bytes = longest.get(scenario)?.[direction] ?? 0
      const step = STEP * scenario.sample
      for (let offset = OFFSET % step; offset < bytes; offset += step) {
        for (const kind of breakKinds) {
          const name = `${scenario.name} ${direction} ${kind} ${offset}`
          const mask = 1 << ((offset + OFFSET) % 8)
          if (ONLY !== undefined && !ONLY.every((word) => name.split(' ').includes(word))) continue
          yield { ...scenario, name, breaks: { direction, kind, offset, mask } }
        }
      }
    }
  }
}

/** How many resources of each kind keep the event loop alive. */
function resources(): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of process.getActiveResourcesInfo()) counts[name] = (counts[name] ?? 0) + 1
  return counts
}

t.test('wherever the connection breaks, everything is told, once, and accounted for', async (t) => {
  let broken = 0
  let untouched = 0
  let failed = 0
  const counts = new Map<BreakKind, number>()
  const fates = new Map<string, number>()
  const traffic = { held: 0, inFlight: 0 }
  const count = ({ name, breaks }: NamedCase, report: CaseReport) => {
    if (report.wrong.length > 0 && failed++ < 20) t.fail(`BREAK_OFFSET=${OFFSET} BREAK_ONLY='${name}'`, report)
    if (report.broken === undefined) {
      untouched++
      return
    }
    broken++
    counts.set(breaks.kind, (counts.get(breaks.kind) ?? 0) + 1)
    if (report.traffic.every(({ held }) => held)) traffic.held++
    if (report.traffic.some(({ inFlight }) => inFlight)) traffic.inFlight++
    for (const { side, outcome, error, cause } of report.fates) {
      const isReceiver = (breaks.direction === 'toServer') === (side === 'server')
      const key = `${breaks.kind}, ${isReceiver ? 'receiver' : 'sender'}: ${outcome ?? 'did not begin'}, error ${error} ${cause}`
      fates.set(key, (fates.get(key) ?? 0) + 1)
    }
  }
  const before = resources()
  // By offset, so that not all connections with much to carry come at the same time.
  const all = [...cases()].sort((a, b) => a.breaks.offset - b.breaks.offset)
  await everywhere(all.map((one) => async (place: Place) => count(one, await runCase(one, place, timers))))
  // Handles close in later turns.
  for (let turns = 0; turns < 20; turns++) await turn()
  t.same(resources(), before, 'no timer, socket or write is left')
  t.equal(failed, 0, `${broken} connections broke`)
  t.ok(traffic.held > broken / 2, `writes were held at both ends of ${traffic.held}`)
  t.ok(traffic.inFlight > 0 || ONLY !== undefined, `and in flight at one of ${traffic.inFlight}`)
  t.comment(`${untouched} handshakes were over before the byte came; ${JSON.stringify(Object.fromEntries(counts))}`)
  for (const [key, times] of [...fates].sort()) t.comment(`${times} ${key}`)
})
