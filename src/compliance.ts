import { contractTests, otherContractTests, renegotiatingContractTests } from './compliance/contract.ts'
import { End } from './compliance/end.ts'
import { Random } from './compliance/random.ts'
import { otherStreamTests, renegotiatingStreamTests, streamTests } from './compliance/stream.ts'
import { RenegotiationDuplex } from './renegotiation-duplex.ts'
import type { Transport } from './transport/transport.ts'

/** What is to be tested, and how. */
export interface ComplianceOptions {
  /**
   * Makes two transports that are the ends of one new connection, neither of
   * them attached to anything. Called once for each test; `destroy()` of both
   * must release all of it. Their first handshake need not be complete.
   */
  connect(): readonly [Transport, Transport] | Promise<readonly [Transport, Transport]>
  /** Whether they can renegotiate; where not, they are tested to say so. Default: true. */
  renegotiates?: boolean
  /** For all that is random: the same seed, the same sizes and bytes. Default: a random one. A failure tells it. */
  seed?: number
  /** Milliseconds after which a test that is not done has failed. Default: 60,000. */
  timeout?: number
}

type Transports = readonly [Transport, Transport]
type Step = () => unknown

/** One test. */
export interface ComplianceTest {
  /** A sentence, the same in every run. */
  readonly name: string
  /** Resolves where it passes; rejects with what is wrong, the seed in the message. */
  run(): Promise<void>
}

/**
 * The tests that every transport of this package passes, for transports of your
 * own: first the contract (see {@link Transport}) without a stream, then a
 * stream on it. They need no test framework and go with any:
 *
 * ```js
 * import test from 'node:test'
 * import { complianceTests } from 'renegotiation-duplex/compliance'
 *
 * for (const { name, run } of complianceTests({ connect })) test(name, run)
 * ```
 *
 * Each is run twice, with either end as the one that acts.
 */
export function complianceTests(options: ComplianceOptions): ComplianceTest[] {
  const { connect, renegotiates = true, seed = Math.floor(Math.random() * 2 ** 31), timeout = 60_000 } = options
  const contract = { ...contractTests, ...(renegotiates ? renegotiatingContractTests : otherContractTests) }
  const streams = { ...streamTests, ...(renegotiates ? renegotiatingStreamTests : otherStreamTests) }

  const test = (name: string, steps: (ends: Transports, random: Random) => Step[]): ComplianceTest[] =>
    [false, true].map((swap) => ({
      name: swap ? `${name} (the other end)` : name,
      async run() {
        const [first, second] = await connect()
        try {
          await takeAll(steps(swap ? [second, first] : [first, second], new Random(seed)), timeout)
        } catch (error) {
          if (error instanceof Error) error.message += ` (seed ${seed})`
          throw error
        }
      },
    }))
  return [
    ...Object.entries(contract).flatMap(([name, body]) =>
      test(`the transport ${name}`, (transports, random) => {
        const [near, far] = transports.map((transport) => new End(transport)) as [End, End]
        return [
          async () => {
            for (const end of [near, far]) await end.until('it is ready', () => end.told.includes('ready'))
            await body({ near, far, random })
          },
          () => Promise.all([near.destroy(), far.destroy()]),
          // Last, and told rather than the first: what a transport did wrong explains what came of it.
          () => near.check(),
          () => far.check(),
        ]
      }),
    ),
    ...Object.entries(streams).flatMap(([name, body]) =>
      test(`a stream on it ${name}`, (transports, random) => {
        const [near, far] = transports.map((transport) => new RenegotiationDuplex(transport, { peerLimit: false })) as [
          RenegotiationDuplex,
          RenegotiationDuplex,
        ]
        return [
          () => body({ near, far, random }),
          () => {
            for (const stream of [near, far]) stream.on('error', () => {}).destroy()
          },
        ]
      }),
    ),
  ]
}

/** Takes each step, failed or not the one before; rejects with what the last one that failed says. */
async function takeAll(steps: readonly Step[], timeout: number): Promise<void> {
  let failure: { error: unknown } | undefined
  for (const step of steps) {
    try {
      await within(timeout, step())
    } catch (error) {
      failure = { error }
    }
  }
  if (failure !== undefined) throw failure.error
}

/** Settles as `promise` does, or rejects after so many milliseconds. */
async function within(milliseconds: number, promise: unknown): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${milliseconds} ms`)), milliseconds)
  })
  try {
    await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
