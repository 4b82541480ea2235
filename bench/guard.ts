/* Whether a contender is clearly slower than the plain socket: for CI. */
import { mean, measure, type Plan, type Row } from './compare.ts'
import type { Contender } from './messages.ts'
import { medianRank } from './stats.ts'
import { compareThroughput, throughputTasks } from './throughput.ts'

/**
 * Measures what sending and reading cost, and nothing else.
 *
 * @param share of the bytes that a full benchmark sends and receives
 * @returns a row for each size, and the mean of sending and of reading
 */
export async function measureForGuard(
  contender: Contender,
  plan: Plan,
  share: number,
): Promise<{ rows: readonly Row[]; means: readonly Row[] }> {
  const { sending, reading } = compareThroughput(await measure([contender], throughputTasks(share), plan))
  const means = [mean('send, geometric mean', sending), mean('read, geometric mean', reading)]
  return { rows: [...sending, ...reading], means }
}

/**
 * The rows in which the contender is slower than `floor`, the plain socket being
 * 1, in words. It is only if all of its interval is: so a machine that is busy
 * makes the interval wide, but does not make the guard fail.
 */
export function tooSlow(rows: readonly Row[], contender: Contender, floor: number): string[] {
  return rows.flatMap(({ name, ratios }) => {
    const { median, interval, each = [] } = ratios[contender] ?? {}
    if (median === undefined || interval === undefined) {
      throw new RangeError(`${each.length} generations are too few for an interval: it takes ${fewest()}`)
    }
    if (interval[1] >= floor) return []
    return `${name}: ${median.toFixed(2)} of the plain socket, at most ${interval[1].toFixed(2)}, must be ${floor}`
  })
}

/** The fewest generations for which there is an interval. */
function fewest(): number {
  let count = 1
  while (medianRank(count) === 0) count++
  return count
}
