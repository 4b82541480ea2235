import PQueue from 'p-queue'
import t from 'tap'
import { SEED } from '../fixtures/random.ts'
import { explore, type Plan, type Result } from '../fixtures/two-ends/exploration.ts'
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
 *   at once.
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
 * TWO_ENDS_DEPTH=<n> explores to another depth: 14 takes a minute and a gigabyte.
 */
const { TWO_ENDS_DEPTH } = process.env

/** How deep to look for a planted fault. */
const FAULT_DEPTH = 8

type Kinds = Plan['kinds']

const one = { writes: 1, renegotiations: 1, stops: 1, ends: true, destroys: false }
const two = { writes: 2, renegotiations: 2, stops: 2, ends: true, destroys: false }
const buffers = { below: 'buffers', abbreviated: false, allowHalfOpen: true, readsAtOnce: true } as const
const stops = { below: 'stops midway', abbreviated: false, allowHalfOpen: true, readsAtOnce: false } as const
const abbreviated = { abbreviated: true }

/** Pairs of ends, with all that an application may do once. All that can happen to them is explored. */
const whole: Record<string, Kinds> = {
  'a client that buffers, and a server that stops midway and does not read at first': {
    client: { ...one, ...buffers },
    server: { ...one, ...stops },
  },
  'a client that stops midway and does not read at first, and a server that buffers, with abbreviated handshakes': {
    client: { ...one, ...stops, ...abbreviated },
    server: { ...one, ...buffers, ...abbreviated },
  },
  'ends that buffer and may be destroyed': {
    client: { ...one, ...buffers, destroys: true },
    server: { ...one, ...buffers, destroys: true },
  },
  'ends that stop midway and close when the other does': {
    client: { ...one, ...stops, readsAtOnce: true, allowHalfOpen: false },
    server: { ...one, ...stops, allowHalfOpen: false },
  },
}

/** Pairs of ends whose applications may do everything twice, but end() once. That is explored to a depth. */
const deep: Record<string, Kinds> = {
  'a client that buffers, and a server that stops midway and does not read at first': {
    client: { ...two, ...buffers },
    server: { ...two, ...stops },
  },
  'a client that stops midway and does not read at first, and a server that buffers, with abbreviated handshakes': {
    client: { ...two, ...stops, ...abbreviated },
    server: { ...two, ...buffers, ...abbreviated },
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

function explores(about: string, pairs: Record<string, Kinds>, depth: number): void {
  for (const [name, kinds] of Object.entries(pairs)) {
    const exploring = queued({ kinds, depth: Number(TWO_ENDS_DEPTH ?? depth), samples: 300, seed: SEED })
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

explores('whatever two ends do once, they keep every promise and never block each other', whole, Infinity)
explores('nor do they when they do it twice', deep, 12)

t.test('everything met everything', { skip: TWO_ENDS_DEPTH !== undefined && 'another depth' }, async (t) => {
  const all = Object.entries(meetings).flatMap(([state, messages]) => messages.map((message) => `${state}: ${message}`))
  t.same([...met].sort(), all.sort())
})

t.test('the explorer finds every planted fault', async (t) => {
  await Promise.all(
    plantedFaults.map(async (fault) => {
      for (const kinds of Object.values(deep)) {
        const { finding } = await queued({ kinds, depth: FAULT_DEPTH, fault, samples: 0, seed: SEED })
        if (finding === undefined) continue
        const { depth, violation, moves } = finding
        t.pass(`${fault.name}: found at depth ${depth}`)
        t.comment(`${fault.name}\n  ${violation.split('\n')[0]}\n  after ${moves.join('; ')}`)
        return
      }
      t.fail(`${fault.name}: not found to depth ${FAULT_DEPTH}`)
    }),
  )
})

t.test('the samples show when a fingerprint lacks something', async (t) => {
  const [kinds] = Object.values(whole) as [Kinds]
  const blind = { client: { ...kinds.client, blindTo: 'private_handshake' }, server: kinds.server }
  const exploring = queued({ kinds: blind, depth: 10, samples: 1000, seed: SEED })
  await t.rejects(exploring, /Not the same future|leads to something else/)
})
