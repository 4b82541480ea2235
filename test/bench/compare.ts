import t from 'tap'
import { compare, type Generation, type Measured, mean } from '../../bench/compare.ts'
import { throughputTasks } from '../../bench/throughput.ts'
import { SIZES, speed } from '../../bench/units.ts'

const result = (bytesPerMs: number) => ({ bytes: bytesPerMs, time: 1, cpu: 1 })
/** A round: the speed of the plain socket before, that of the contender, that of the plain socket after. */
const round = (before: number, own: number, after: number): Measured => ({
  own: result(own),
  plain: [result(before), result(after)],
})
const rows = (...rounds: Measured[][]) =>
  compare(
    'send',
    rounds.map((measured): Generation => new Map([['ours', measured]])),
    speed,
    (value) => `${value} B`,
  )

t.test('each round is compared with the runs around it, and the rounds of one process are one value', async (t) => {
  const row = rows([round(100, 50, 100), round(100, 60, 100), round(100, 90, 100)], [round(50, 200, 200)])
  const { median, each } = row.ratios.ours!
  const rounded = [median, ...each].map((ratio) => ratio.toFixed(6))
  t.strictSame(rounded, ['1.300000', '0.600000', '2.000000'])
  t.strictSame(row.words, { plain: '100 B', ours: '75 B' })
})

t.test('the mean of several rows is taken of the same processes first', async (t) => {
  const one = rows([round(1, 2, 1)], [round(1, 1, 1)])
  const other = rows([round(1, 0.5, 1)], [round(1, 4, 1)])
  t.strictSame(mean('both', [one, other]), { name: 'both', words: {}, ratios: { ours: { median: 1.5, each: [1, 2] } } })
})

t.test('however small a share is, a task has whole chunks', async (t) => {
  for (const share of [1, 1 / 16, 1 / 7, 1e-9]) {
    const tasks = throughputTasks(share)
    t.equal(tasks.length, 2 * SIZES.length)
    for (const { name, work } of tasks) {
      if (work.what !== 'send' && work.what !== 'read') throw new Error(name)
      t.ok(work.bytes >= work.chunk && work.bytes % work.chunk === 0, `${name}: ${work.bytes} bytes`)
    }
  }
})
