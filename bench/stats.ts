/** The middle of them, and the quarters: half of all lie between `low` and `high`. */
export interface Spread {
  readonly median: number
  readonly low: number
  readonly high: number
}

/** What independent values say about the median of all values that there could be. */
export interface Estimate {
  readonly median: number
  /** The true median lies in it with a probability of at least `CONFIDENCE`. Undefined if there are too few values. */
  readonly interval?: readonly [low: number, high: number]
  readonly each: readonly number[]
}

export const CONFIDENCE = 0.95

export function spread(values: readonly number[]): Spread {
  return { median: quantile(values, 0.5), low: quantile(values, 0.25), high: quantile(values, 0.75) }
}

/** The interval is exact, whatever the distribution: from a value near the lowest to the one as near to the highest. */
export function estimate(each: readonly number[]): Estimate {
  const median = quantile(each, 0.5)
  const rank = medianRank(each.length)
  const sorted = each.toSorted((a, b) => a - b)
  if (rank === 0) return { median, each }
  return { median, interval: [sorted[rank - 1] as number, sorted[sorted.length - rank] as number], each }
}

/**
 * The largest rank for which the interval from the value of that rank to the one
 * of the same rank from above contains the true median with a probability of at
 * least `CONFIDENCE`; 0 if there is none. Each value is below the true median
 * with probability 1/2, so the number of those below it is binomial, and the
 * interval misses the median if fewer than `rank` are below it, or above it.
 */
export function medianRank(count: number): number {
  let rank = 0
  let exactly = 0.5 ** count
  let atMost = exactly
  while (2 * atMost <= 1 - CONFIDENCE) {
    rank++
    exactly *= (count - rank + 1) / rank
    atMost += exactly
  }
  return rank
}

/** False if the two intervals overlap, or if one is missing. */
export function apart({ interval: a }: Estimate, { interval: b }: Estimate): boolean {
  return a !== undefined && b !== undefined && (a[1] < b[0] || b[1] < a[0])
}

export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (sorted.length - 1) * part
  const [below = Number.NaN, above = below] = sorted.slice(Math.floor(at))
  return below + (above - below) * (at - Math.floor(at))
}

export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length)
}
