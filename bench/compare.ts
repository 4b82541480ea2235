import type { Contender, Result, Version, Work } from './messages.ts'
import { Runner } from './processes.ts'
import { geometricMean, type Spread, spread } from './stats.ts'

/** One measured thing: a ratio to the plain socket for each of the others. */
export interface Row {
  readonly name: string
  /** How the plain socket did, in words. */
  readonly plain: string
  readonly ratios: Partial<Record<Contender, Spread>>
}

/** A run, and those of the plain socket right before and after it. */
interface Measured {
  readonly own: Result
  readonly plain: readonly [Result, Result]
}

/** What one kind of work came to, round for round. */
export type Rounds = ReadonlyMap<Contender, readonly Measured[]>

/**
 * Each contender in a process of its own, and each run between two of the plain
 * socket, so that what the machine does otherwise meets both alike.
 */
export class Comparison {
  readonly #plain: Runner
  readonly #others: readonly Runner[]

  private constructor(plain: Runner, others: readonly Runner[]) {
    this.#plain = plain
    this.#others = others
  }

  static async start(port: number, others: readonly Contender[], version: Version = 'TLSv1.2'): Promise<Comparison> {
    const start = (contender: Contender) => Runner.start(contender, port, version)
    return new Comparison(await start('plain'), await Promise.all(others.map(start)))
  }

  /** In every round each once, in an order that goes round; one more round, the first, is for warming up. */
  async run(work: Work, rounds: number): Promise<Rounds> {
    const others = this.#others
    const results = new Map<Contender, Measured[]>(others.map(({ contender }) => [contender, []]))
    for (let round = 0; round <= rounds; round++) {
      let before = await this.#plain.run(work)
      for (let turn = 0; turn < others.length; turn++) {
        const runner = others[(round + turn) % others.length] as Runner
        const own = await runner.run(work)
        const after = await this.#plain.run(work)
        if (round > 0) results.get(runner.contender)?.push({ own, plain: [before, after] })
        before = after
      }
    }
    return results
  }

  stop(): void {
    for (const runner of [this.#plain, ...this.#others]) runner.stop()
  }
}

/** The ratios of `value`, each to the mean of the plain socket's before and after. */
export function compare(
  name: string,
  rounds: Rounds,
  value: (result: Result) => number,
  words: (value: number) => string,
): Row {
  const ratios: Partial<Record<Contender, Spread>> = {}
  const plains: number[] = []
  for (const [contender, measured] of rounds) {
    const around = measured.map(({ plain: [before, after] }) => geometricMean([value(before), value(after)]))
    ratios[contender] = spread(measured.map(({ own }, round) => value(own) / (around[round] as number)))
    plains.push(...around)
  }
  return { name, plain: words(spread(plains).median), ratios }
}

/** Of the medians of several rows. */
export function means(rows: readonly Row[]): Partial<Record<Contender, number>> {
  const contenders = Object.keys(rows[0]?.ratios ?? {}) as Contender[]
  const medians = (contender: Contender) => rows.map(({ ratios }) => ratios[contender]?.median ?? Number.NaN)
  return Object.fromEntries(contenders.map((contender) => [contender, geometricMean(medians(contender))]))
}
