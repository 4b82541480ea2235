import type { Contender, Result, Version, Work } from './messages.ts'
import { Runner, startPeer } from './processes.ts'
import { type Estimate, estimate, geometricMean, quantile } from './stats.ts'

/** One measured thing. */
export interface Row {
  readonly name: string
  /** How each did, the plain socket too, as a number with a unit: the median of all runs. */
  readonly words: Partial<Record<Contender, string>>
  /** Of the others, to the plain socket. */
  readonly ratios: Partial<Record<Contender, Estimate>>
}

export interface Task {
  readonly name: string
  readonly work: Work
}

export interface Plan {
  /** How many times all processes are started anew. */
  readonly generations: number
  /** How many rounds the same processes run, after one that warms them up. */
  readonly rounds: number
}

/** A run, and those of the plain socket right before and after it. */
export interface Measured {
  readonly own: Result
  readonly plain: readonly [Result, Result]
}

/** What each contender did in the rounds of the same processes. */
export type Generation = ReadonlyMap<Contender, readonly Measured[]>

/**
 * Each contender does each task in a process of its own. Each run is placed
 * between two of the plain socket, so that what the machine does otherwise
 * meets both alike.
 *
 * A process keeps a bias for all of its life: two processes that run the same
 * code may differ by a tenth. More rounds do not remove it, so all processes
 * are started anew every few rounds. The order of the tasks and that of the
 * contenders go round, for what a process did before is part of its bias.
 *
 * @param warmUp what each process does first, without being measured
 */
export async function measure(
  others: readonly Contender[],
  tasks: readonly Task[],
  { generations, rounds }: Plan,
  version: Version = 'TLSv1.2',
  warmUp: readonly Work[] = [],
): Promise<(name: string) => readonly Generation[]> {
  const results = new Map<string, Generation[]>(tasks.map(({ name }) => [name, []]))
  for (let generation = 0; generation < generations; generation++) {
    const peer = await startPeer()
    const start = (contender: Contender) =>
      Runner.start(contender, contender === 'tcp' ? peer.tcpPort : peer.port, version)
    const plain = await start('plain')
    const runners = await Promise.all(rotated(others, generation).map(start))
    for (const runner of [plain, ...runners]) {
      for (const work of warmUp) await runner.run(work)
    }
    for (const { name, work } of rotated(tasks, generation)) {
      results.get(name)?.push(await runRounds(plain, runners, work, rounds))
    }
    for (const process of [plain, ...runners, peer]) process.stop()
  }
  return (name) => results.get(name) ?? []
}

async function runRounds(plain: Runner, runners: readonly Runner[], work: Work, rounds: number): Promise<Generation> {
  const results = new Map<Contender, Measured[]>(runners.map(({ contender }) => [contender, []]))
  let before = await plain.run(work)
  for (let round = 0; round <= rounds; round++) {
    for (const runner of rotated(runners, round)) {
      const own = await runner.run(work)
      const after = await plain.run(work)
      if (round > 0) results.get(runner.contender)?.push({ own, plain: [before, after] })
      before = after
    }
  }
  return results
}

function rotated<T>(list: readonly T[], by: number): T[] {
  const start = by % list.length
  return [...list.slice(start), ...list.slice(0, start)]
}

/**
 * The ratios of `value`, each to the mean of the plain socket's before and
 * after. The rounds of the same processes share their bias, so their median is
 * one value of the estimate.
 */
export function compare(
  name: string,
  generations: readonly Generation[],
  value: (result: Result) => number,
  words: (value: number) => string,
): Row {
  const ratios: Partial<Record<Contender, Estimate>> = {}
  const values: Partial<Record<Contender, number[]>> = { plain: [] }
  for (const contender of generations[0]?.keys() ?? []) {
    const rounds = generations.map((generation) => generation.get(contender) ?? [])
    const ratio = ({ own, plain: [before, after] }: Measured) =>
      value(own) / geometricMean([value(before), value(after)])
    ratios[contender] = estimate(rounds.map((measured) => quantile(measured.map(ratio), 0.5)))
    values[contender] = rounds.flat().map(({ own }) => value(own))
    values.plain?.push(...rounds.flat().flatMap(({ plain }) => plain.map(value)))
  }
  const inWords = Object.entries(values).map(([contender, all]) => [contender, words(quantile(all, 0.5))])
  return { name, words: Object.fromEntries(inWords), ratios }
}

/** The geometric mean of several rows: that of the same processes is one value of the estimate. */
export function mean(name: string, rows: readonly Row[]): Row {
  const ratios: Partial<Record<Contender, Estimate>> = {}
  for (const contender of Object.keys(rows[0]?.ratios ?? {}) as Contender[]) {
    const each = rows.map(({ ratios }) => ratios[contender]?.each ?? [])
    ratios[contender] = estimate(
      (each[0] ?? []).map((_, generation) => geometricMean(each.map((values) => values[generation] ?? Number.NaN))),
    )
  }
  return { name, words: {}, ratios }
}
