import t from 'tap'
import { apart, estimate, geometricMean, medianRank, quantile, spread } from '../../bench/stats.ts'

t.test('medianRank() is the rank of the known tables of the sign test', async (t) => {
  const known = [
    [0, 0],
    [1, 0],
    [5, 0],
    [6, 1],
    [8, 1],
    [9, 2],
    [12, 3],
    [17, 5],
    [100, 40],
  ] as const
  for (const [count, rank] of known) t.equal(medianRank(count), rank, `${count} values`)
})

t.test('the interval contains the true median in at least 95 % of all cases, and no narrower one does', async (t) => {
  // Each value is below the true median or above it: all cases, one by one.
  const covered = (count: number, rank: number) => {
    let cases = 0
    for (let pattern = 0; pattern < 2 ** count; pattern++) {
      let below = 0
      for (let bit = 0; bit < count; bit++) below += (pattern >> bit) & 1
      if (below >= rank && count - below >= rank) cases++
    }
    return cases / 2 ** count
  }
  for (let count = 1; count <= 14; count++) {
    const rank = medianRank(count)
    t.ok(covered(count, rank) >= 0.95, `${count} values, rank ${rank}`)
    t.ok(covered(count, rank + 1) < 0.95, `${count} values, rank ${rank + 1}`)
  }
})

t.test('estimate() gives the median and its interval, in whatever order the values are', async (t) => {
  const each = [1.4, 0.9, 1, 1.2, 0.5, 1.1, 1.3, 0.8, 7]
  t.strictSame(estimate(each), { median: 1.1, interval: [0.8, 1.4], each })
  t.strictSame(estimate([3, 1, 2]), { median: 2, each: [3, 1, 2] }, 'three values are too few for an interval')
})

t.test('apart() is true only for two intervals that do not overlap', async (t) => {
  const of = (low: number, high: number) => ({ median: low, interval: [low, high] as const, each: [] })
  t.equal(apart(of(0.9, 1), of(1.01, 1.1)), true)
  t.equal(apart(of(1.01, 1.1), of(0.9, 1)), true)
  t.equal(apart(of(0.9, 1), of(1, 1.1)), false)
  t.equal(apart(of(0.9, 1.2), of(1, 1.1)), false)
  t.equal(apart(of(0.9, 1), { median: 5, each: [5] }), false, 'nothing is known of one without an interval')
})

t.test('quantile(), spread() and geometricMean()', async (t) => {
  t.equal(quantile([4, 1, 3, 2], 0.5), 2.5)
  t.equal(quantile([7], 0.99), 7)
  t.strictSame(spread([5, 1, 2, 3, 4]), { median: 3, low: 2, high: 4 })
  t.equal(geometricMean([0.5, 2]), 1)
})
