import PQueue from 'p-queue'
import t from 'tap'
import { SEED } from '../fixtures/random.ts'
import { explore, type Pair, type Plan, type Result } from '../fixtures/two-ends/exploration.ts'
import type { Finding } from '../fixtures/two-ends/explorer.ts'
import type { Fault } from '../fixtures/two-ends/opened-copy.ts'
import { plantedFaults } from '../fixtures/two-ends/planted-faults.ts'

/*
 * Two ends of one connection, and everything that can happen to them, in every
 * order.
 *
 *     application ─ RenegotiationDuplex ─ OpenSSLRules ══ wires ══ OpenSSLRules ─ RenegotiationDuplex ─ application
 *                   `────────── End, a client ───────'            `──────── End, a server ────────'
 *
 * - The streams are the real ones. OpenSSLRules (openssl-rules.ts) is a transport
 *   that does to them what OpenSSL does: see there for its rules. A wire is a queue
 *   of messages: data, the flights of a handshake, close_notify, reset.
 * - A *move* is one thing that happens at one end: its application writes, asks for
 *   a renegotiation, ends, or begins to read; it receives the next message; a write
 *   is called back, for all, for a part, or for nothing; an immediate runs ("turn");
 *   a timer fires. Right after it, all ticks and microtasks run, as in Node. Time
 *   itself stands still: a timer may fire at any moment.
 * - The explorer (explorer.ts) goes through all sequences of moves, breadth first.
 *   *Depth* is the number of moves. A state that is reached in two ways is looked
 *   at only once.
 * - An end notices each promise of the stream that is broken: bytes, order,
 *   callbacks, promises, `close`, timers, errors without a reason (end.ts). From
 *   each state, the explorer also lets happen what comes by itself (messages arrive,
 *   writes are called back, immediates run, but no timer fires). Then nobody may
 *   still wait for anything, all that was written must have arrived, and after end()
 *   at both ends both must be closed. So two ends never block each other.
 *
 * It is quick because an end depends on nothing but its own moves. So each end is
 * run alone and learned as a state machine (learned-end.ts): real code runs once
 * for each move from each state of one end, not of both.
 *
 * To recognise a state, fingerprint.ts walks all that the end consists of, with a
 * copy of the compiled sources without private fields (opened-copy.ts). That equal
 * fingerprints mean an equal future, and that two ends alive at once do the same as
 * each alone, is checked by samples (soundness.ts).
 *
 * The same copy can have a fault planted (planted-faults.ts). The explorer must
 * find each of them.
 *
 * TWO_ENDS_DEPTH=<n> explores to another depth: 14 takes some minutes and two
 * gigabytes.
 */
const { TWO_ENDS_DEPTH } = process.env

/** How deep to look for a planted fault. */
const FAULT_DEPTH = 7

const one = { writes: 1, renegotiations: 1, stops: 1, ends: true, destroys: false }
const two = { writes: 2, renegotiations: 2, stops: 2, ends: true, destroys: false }
const buffers = { below: 'buffers', abbreviated: false, allowHalfOpen: true, readsAtOnce: true } as const
const stops = { below: 'stops midway', abbreviated: false, allowHalfOpen: true, readsAtOnce: false } as const
const abbreviated = { abbreviated: true }
const untilAnswer = { holdFrom: 'answer' } as const

/** Pairs whose applications may do everything once. All that can happen to them is explored. */
const whole: Record<string, Pair> = {
  'a client that buffers, and a server that stops midway and does not read at first': {
    client: { ...one, ...buffers },
    server: { ...one, ...stops },
    capacity: Infinity,
  },
  'a client that stops midway and does not read at first, and a server that buffers, with abbreviated handshakes': {
    client: { ...one, ...stops, ...abbreviated },
    server: { ...one, ...buffers, ...abbreviated },
    capacity: Infinity,
  },
  'ends that buffer, and the server writes on until its request is answered': {
    client: { ...one, ...buffers, readsAtOnce: false },
    server: { ...one, ...buffers, ...untilAnswer, destroys: true },
    capacity: Infinity,
  },
  'a server that writes on until its request is answered, and may then resume, with a client that stops midway': {
    client: { ...one, ...stops, ...abbreviated },
    server: { ...one, ...buffers, ...abbreviated, ...untilAnswer, reacts: true },
    capacity: 1,
  },
  'ends that buffer and may be destroyed': {
    client: { ...one, ...buffers, destroys: true },
    server: { ...one, ...buffers, destroys: true },
    capacity: Infinity,
  },
  'ends that stop midway, close when the other does, and write when a handshake begins or ends': {
    client: { ...one, ...stops, readsAtOnce: true, allowHalfOpen: false, reacts: true },
    server: { ...one, ...stops, readsAtOnce: true, allowHalfOpen: false, reacts: true },
    capacity: 1,
  },
}

/** Pairs whose applications may do everything twice, but end() once. That is explored to a depth. */
const deep: Record<string, Pair> = {
  'a client that buffers, and a server that stops midway and does not read at first': {
    client: { ...two, ...buffers },
    server: { ...two, ...stops },
    capacity: Infinity,
  },
  'a client that stops midway and does not read at first, and a server that buffers, with abbreviated handshakes': {
    client: { ...two, ...stops, ...abbreviated },
    server: { ...two, ...buffers, ...abbreviated },
    capacity: Infinity,
  },
  'a server that writes on until its request is answered, with wires on which a write stays in flight until it is read':
    {
      client: { ...two, ...buffers, readsAtOnce: false },
      server: { ...two, ...buffers, ...untilAnswer },
      capacity: 0,
    },
  'ends that do not read at first, with wires on which a write stays in flight until it is read': {
    client: { ...two, ...buffers, readsAtOnce: false },
    server: { ...two, ...buffers, readsAtOnce: false },
    capacity: 0,
  },
}

/** What an end may receive in which state of its stream. Nothing else may happen, and all of it must. */
const meetings = {
  open: ['data', 'HelloRequest', 'ClientHello', 'close_notify', 'reset'],
  draining: ['data', 'HelloRequest', 'ClientHello', 'close_notify', 'reset'],
  handshaking: [
    ...['data', 'HelloRequest', 'ClientHello', 'ServerHello', 'ClientFinished', 'ServerFinished'],
    ...['close_notify', 'reset'],
  ],
  flushing: ['data', 'HelloRequest', 'ClientHello', 'close_notify', 'reset'],
}

t.setTimeout(900_000)
t.comment(`SEED=${SEED} TWO_ENDS_DEPTH=${TWO_ENDS_DEPTH ?? ''}`)

/** Two at a time, because each may take a gigabyte. */
const queue = new PQueue({ concurrency: 2 })

function queued(plan: Plan): Promise<Result> {
  return queue.add(() => explore(plan))
}

function summary({ states, locals, compared, seconds }: Result): string {
  const sum = states.reduce((sum, found) => sum + found)
  return [
    `${sum} states in ${seconds.toFixed(1)} s; by depth: ${states.join(' ')}`,
    `states of the client alone: ${locals.client}, of the server: ${locals.server}; ${compared} steps compared`,
  ].join('\n')
}

const met = new Set<string>()

function explores(about: string, pairs: Record<string, Pair>, depth: number): void {
  for (const [name, pair] of Object.entries(pairs)) {
    const exploring = queued({ pair, depth: Number(TWO_ENDS_DEPTH ?? depth), samples: 100, seed: SEED })
    exploring.catch(() => {})
    t.test(`${about}: ${name}`, async (t) => {
      const result = await exploring
      t.comment(summary(result))
      t.equal(result.finding, undefined)
      if (depth === Infinity && TWO_ENDS_DEPTH === undefined) t.equal(result.states.at(-1), 0, 'nothing is left')
      for (const meeting of result.met) met.add(meeting)
    })
  }
}

explores('two ends that do everything once keep every promise and never block each other', whole, Infinity)
explores('two ends that do everything twice do so, too', deep, 12)

const otherDepth = TWO_ENDS_DEPTH !== undefined && 'not expected of another depth'

t.test('each message was received in each state in which it can come', { skip: otherDepth }, async (t) => {
  const all = Object.entries(meetings).flatMap(([state, messages]) => messages.map((message) => `${state}: ${message}`))
  t.same([...met].sort(), all.sort())
})

/** Looks for a fault. `lenient`: only for the harm that it does. */
async function find(fault: Fault, lenient: boolean): Promise<Finding | undefined> {
  for (const { client, server, capacity } of Object.values(deep)) {
    const pair = { client: { ...client, lenient }, server: { ...server, lenient }, capacity }
    const { finding } = await queued({ pair, depth: FAULT_DEPTH, fault, samples: 0, seed: SEED })
    if (finding !== undefined) return finding
  }
  return undefined
}

function told({ violation, moves, depth }: Finding): string {
  return `depth ${depth}: ${violation.split('\n')[0]}\n    ${moves.join('; ')}`
}

for (const fault of plantedFaults) {
  const finding = find(fault, false)
  const harm = fault.onlyBreaksContract === undefined ? find(fault, true) : undefined
  for (const promise of [finding, harm]) promise?.catch(() => {})
  t.test(`the explorer finds this fault: ${fault.name}`, async (t) => {
    const found = await finding
    t.ok(found, `found at depth ${found?.depth}`)
    if (found !== undefined) t.comment(`by ${told(found)}`)
    if (harm === undefined) return
    const harmful = await harm
    t.ok(harmful, `found by its harm at depth ${harmful?.depth}`)
    if (harmful !== undefined) t.comment(`by its harm at ${told(harmful)}`)
  })
}

t.test('the samples show when a fingerprint lacks something', async (t) => {
  const [{ client, server, capacity }] = Object.values(whole) as [Pair]
  const pair = { client: { ...client, blindTo: 'private_handshake' }, server, capacity }
  const exploring = queued({ pair, depth: 10, samples: 1000, seed: SEED })
  await t.rejects(exploring, /Not the same future|leads to something else/)
})
