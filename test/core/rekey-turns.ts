import { execFile } from 'node:child_process'
import { setImmediate as turn } from 'node:timers/promises'
import { promisify } from 'node:util'
import sinon from 'sinon'
import t from 'tap'
import { RekeyTurns, type Turn } from '../../src/core/rekey-turns.ts'
import { Random, SEED } from '../fixtures/random.ts'

let clock: sinon.SinonFakeTimers
t.beforeEach(() => {
  clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
t.afterEach(() => clock.restore())

/** Lets what was given back be free, and the next streams begin. */
async function pace(): Promise<void> {
  await turn()
  clock.tick(5)
}

/** Turns whose holders are named, and the names of those that have begun after they waited. */
function line() {
  const turns = new RekeyTurns()
  const begun: string[] = []
  const take = (name: string, { concurrency = 2, deadline = 0, begin = () => {} } = {}): Turn =>
    turns.take({
      concurrency,
      deadline,
      begin() {
        begun.push(name)
        begin()
      },
    })
  return { turns, begun, take }
}

t.test('a free turn is taken at once, and its holder is not called', async (t) => {
  const { turns, begun, take } = line()
  t.equal(take('a').state, 'taken')
  t.equal(take('b').state, 'taken')
  t.equal(take('c').state, 'waiting')
  await turn()
  t.same(begun, [])
  t.match(turns, { taken: 2, waiting: 1 })
})

t.test(
  'a turn that is given back is free in the next turn of the event loop, and the next begins 5 ms later',
  async (t) => {
    const { turns, begun, take } = line()
    const [a] = [take('a'), take('b')]
    turns.giveBack(a)
    t.equal(take('c').state, 'waiting', 'the turn of `a` counts until then')
    clock.tick(5)
    t.same(begun, [])
    await turn()
    clock.tick(4)
    t.same(begun, [])
    clock.tick(1)
    t.same(begun, ['c'])
  },
)

t.test('the earliest deadline is first, and of the same the first that came', async (t) => {
  const { turns, begun, take } = line()
  const all = [take('first', { concurrency: 1 })]
  for (const [index, deadline] of [5, 1, Infinity, 5, 3, 1].entries()) {
    all.push(take(`${deadline} (${index})`, { concurrency: 1, deadline }))
  }
  while (turns.taken > 0) {
    for (const one of all) if (one.state === 'taken') turns.giveBack(one)
    await pace()
  }
  t.same(begun, ['1 (1)', '1 (5)', '3 (4)', '5 (0)', '5 (3)', 'Infinity (2)'])
})

t.test('giveBack() leaves the line, and a second call does nothing', async (t) => {
  const { turns, begun, take } = line()
  const [a, b, c] = [take('a'), take('b'), take('c')]
  take('d')
  turns.giveBack(c)
  turns.giveBack(c)
  t.equal(c.state, 'over')
  t.equal(turns.waiting, 1)
  turns.giveBack(a)
  turns.giveBack(a)
  await pace()
  t.same(begun, ['d'])
  t.equal(turns.taken, 2)
  turns.giveBack(a)
  turns.hurry(a)
  turns.hurry(b)
  t.equal(take('e').state, 'waiting')
})

t.test('no more than `concurrency` begin in one turn of the event loop, even if each gives back at once', async (t) => {
  const { turns, take } = line()
  for (let i = 0; i < 9; i++) {
    const one = take(`${i}`)
    t.equal(one.state, i < 2 ? 'taken' : 'waiting')
    if (i < 2) turns.giveBack(one)
  }
})

for (const [concurrency, many] of [
  [1, 1],
  [8, 1],
  [9, 2],
  [80, 10],
] as const) {
  t.test(`with a concurrency of ${concurrency}, ${many} of those that wait begin each 5 ms`, async (t) => {
    const { turns, begun, take } = line()
    const taken = Array.from({ length: concurrency }, () => take('first', { concurrency }))
    for (let i = 0; i < 20; i++) {
      taken.push(take(`${i}`, { concurrency, begin: () => turns.giveBack(taken[concurrency + i] as Turn) }))
    }
    for (const one of taken.slice(0, concurrency)) turns.giveBack(one)
    await turn()
    for (let count = many; count <= 20; count += many) {
      clock.tick(4)
      t.equal(begun.length, count - many)
      clock.tick(1)
      t.equal(begun.length, count)
      await turn()
    }
  })
}

t.test('if the first in line leaves, those that it held up begin', async (t) => {
  const { turns, begun, take } = line()
  take('a')
  const alone = take('alone', { concurrency: 1 })
  take('b')
  await pace()
  t.same(begun, [])
  turns.giveBack(alone)
  await pace()
  t.same(begun, ['b'])
})

t.test('a turn is over after 250 ms, if others wait', async (t) => {
  const { turns, begun, take } = line()
  const [a, b] = [take('a'), take('b')]
  clock.tick(10_000)
  t.equal(a.state, 'taken', 'nobody waits')
  take('c')
  take('d')
  take('e')
  clock.tick(249)
  await turn()
  t.same(begun, [])
  clock.tick(1)
  t.match([a, b], [{ state: 'over' }, { state: 'over' }])
  await pace()
  await pace()
  t.same(begun, ['c', 'd'])
  turns.giveBack(a)
  t.match(turns, { taken: 2, waiting: 1 }, 'its end is not counted again')
  clock.tick(250)
  await pace()
  t.same(begun, ['c', 'd', 'e'])
  t.equal(clock.countTimers(), 0, 'nobody waits any more')
})

t.test('time in which the event loop is blocked does not count', async (t) => {
  clock.restore()
  const { turns, take } = line()
  const a = take('a', { concurrency: 1 })
  const b = take('b', { concurrency: 1 })
  const until = performance.now() + 500
  while (performance.now() < until);
  // The timers that are late run before this.
  await turn()
  t.equal(a.state, 'taken')
  t.equal(b.state, 'waiting')
  turns.giveBack(b)
})

t.test('hurry() lets a stream begin however many turns are taken', async (t) => {
  const { turns, begun, take } = line()
  take('a')
  take('b')
  take('c', { deadline: -1000 })
  const d = take('d', { deadline: 1000 })
  turns.hurry(d)
  turns.hurry(d)
  t.equal(d.state, 'waiting')
  await pace()
  t.same(begun, ['d'])
  t.equal(d.state, 'taken')
  t.match(turns, { taken: 3, waiting: 1 })
})

t.test('of those that hurry, `concurrency` begin each 5 ms, and in order', async (t) => {
  const { turns, begun, take } = line()
  take('a')
  take('b')
  const waiting = ['c', 'd', 'e', 'f', 'g', 'h'].map((name) => take(name))
  for (const one of waiting.slice(0, 5)) turns.hurry(one)
  turns.giveBack(waiting[1] as Turn)
  for (const names of [
    ['c', 'e'],
    ['c', 'e', 'f', 'g'],
    ['c', 'e', 'f', 'g'],
  ]) {
    await pace()
    t.same(begun, names)
  }
  t.match(turns, { taken: 6, waiting: 1 })
})

t.test('without a limit, nothing waits, but the turn counts for others', async (t) => {
  const { turns, take } = line()
  for (let i = 0; i < 10; i++) t.equal(take('free', { concurrency: Infinity }).state, 'taken')
  t.equal(take('other', { concurrency: 10 }).state, 'waiting')
  t.equal(take('free', { concurrency: Infinity }).state, 'taken')
  t.match(turns, { taken: 11, waiting: 1 })
})

t.test('the first in line decides by its own `concurrency`, and the others wait behind it', async (t) => {
  const { turns, begun, take } = line()
  const taken = [take('a', { concurrency: 3 }), take('b', { concurrency: 3 }), take('c', { concurrency: 3 })]
  take('alone', { concurrency: 1, deadline: 1 })
  take('many', { concurrency: 100, deadline: 2 })
  for (const one of taken) {
    t.same(begun, [])
    turns.giveBack(one)
    await pace()
  }
  await pace()
  t.same(begun, ['alone', 'many'])
})

t.test('an exception does not stop the line', async (t) => {
  const { turns, begun, take } = line()
  const held = [take('a'), take('b')]
  const oops = new Error('oops')
  take('thrower', {
    begin() {
      throw oops
    },
  })
  take('next')
  for (const one of held) turns.giveBack(one)
  await turn()
  t.throws(() => clock.tick(5), oops)
  clock.tick(5)
  t.same(begun, ['thrower', 'next'])
})

t.test('at random: nobody is forgotten, none begins twice, and the limit holds', async (t) => {
  t.comment(`SEED=${SEED}`)
  const random = new Random(SEED)
  for (let life = 0; life < 100; life++) {
    const concurrency = 1 + random.below(4)
    const { turns, begun, take } = line()
    const all = new Map<string, Turn>()
    const expected = new Set<string>()
    const isTaken = ({ state }: Turn) => state === 'taken'
    for (let step = 0; step < 100; step++) {
      const names = [...all.keys()]
      const one = all.get(names[random.below(names.length || 1)] ?? '')
      const what = random.below(6)
      if (what < 2) {
        const name = `${step}`
        const taken = take(name, { concurrency, deadline: random.below(5) })
        all.set(name, taken)
        if (!isTaken(taken)) expected.add(name)
      } else if (what < 4 && one !== undefined) {
        for (const [name, own] of all) if (own === one && one.state === 'waiting') expected.delete(name)
        turns.giveBack(one)
      } else if (what === 4) {
        clock.tick(random.below(60))
      } else {
        await turn()
      }
      t.ok(turns.taken <= concurrency || t.fail(`SEED=${SEED}`))
      if (turns.taken !== [...all.values()].filter(isTaken).length) t.fail(`SEED=${SEED}`)
    }
    while (turns.waiting > 0) {
      clock.tick(250)
      await turn()
    }
    t.strictSame(begun.toSorted(), [...expected].toSorted(), `SEED=${SEED}`)
  }
})

t.test('streams that wait do not keep the process running', async (t) => {
  const url = JSON.stringify(new URL('../../src/core/rekey-turns.js', import.meta.url).href)
  const program = `
    import { rekeyTurns } from ${url}
    for (let i = 0; i < 20; i++) rekeyTurns.take({ concurrency: 8, deadline: 0, begin() { console.log('begins') } })
    process.on('exit', () => console.log(rekeyTurns.waiting, 'wait'))`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program])
  t.equal(stdout, '12 wait\n')
})
