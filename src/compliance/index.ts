import { invalidType } from '../core/errors.ts'
import type { Transport } from '../core/transport.ts'
import { flag, integer, milliseconds, mustBeObject, quote } from '../core/values.ts'
import { RenegotiationDuplex } from '../faces/renegotiation-duplex.ts'
import { contractTests, keyUpdateContractTests, otherContractTests, renegotiatingContractTests } from './contract.ts'
import { End } from './end.ts'
import { Random } from './random.ts'
import { keyUpdateStreamTests, otherStreamTests, renegotiatingStreamTests, streamTests } from './stream.ts'

/** The options of {@link complianceTests}. */
export interface ComplianceOptions {
  /**
   * Makes two transports that are the two ends of one new connection. Called once
   * for each test. Neither transport may be attached, and their first handshake
   * need not be complete. `destroy()` of both must release the connection.
   */
  connect(): readonly [Transport, Transport] | Promise<readonly [Transport, Transport]>
  /**
   * Whether the transports can renegotiate. If false, the tests check that they
   * say so.
   *
   * @default true
   */
  renegotiates?: boolean | undefined
  /**
   * Whether the connections have key updates in place of renegotiations, as in
   * TLS 1.3.
   *
   * @default false
   */
  keyUpdates?: boolean | undefined
  /**
   * An integer that determines all random sizes and bytes. The message of a
   * failure contains it.
   *
   * @default a random integer
   */
  seed?: number | undefined
  /**
   * Milliseconds after which a test has failed. 0: no limit.
   *
   * @default 60_000
   */
  timeout?: number | undefined
}

type Transports = readonly [Transport, Transport]

/** One test of {@link complianceTests}. */
export interface ComplianceTest {
  /** A sentence that says what is tested. The same in every run. */
  readonly name: string
  /** Runs the test. Rejects with an error that says what is wrong and contains the seed. */
  run(): Promise<void>
}

/**
 * Returns the tests that the transports of this package pass, for a transport of
 * your own.
 *
 * The first tests check the contract of {@link Transport} without a stream, the
 * others a stream on the transport. Each test is in the array twice, with each
 * end once as the one that acts. The tests need no test framework and work with
 * any.
 *
 * @throws TypeError (`ERR_INVALID_ARG_TYPE`) or RangeError (`ERR_OUT_OF_RANGE`)
 *   for a bad option.
 * @example
 * ```js
 * import test from 'node:test'
 * import { complianceTests } from 'renegotiation-duplex/compliance'
 *
 * for (const { name, run } of complianceTests({ connect })) test(name, run)
 * ```
 */
export function complianceTests(options: ComplianceOptions): ComplianceTest[] {
  mustBeObject('options', options)
  const { connect } = options
  if (typeof connect !== 'function') throw invalidType(`connect must be a function, got ${quote(connect)}`)
  const renegotiates = flag(options, 'renegotiates') ?? true
  const timeout = milliseconds(options, 'timeout') ?? 60_000
  const seed = integer(options, 'seed') ?? Math.floor(Math.random() * 2 ** 31)
  const [changing, streamsChanging] =
    (flag(options, 'keyUpdates') ?? false)
      ? [keyUpdateContractTests, keyUpdateStreamTests]
      : [renegotiatingContractTests, renegotiatingStreamTests]
  const contract = { ...contractTests, ...(renegotiates ? changing : otherContractTests) }
  const streams = { ...streamTests, ...(renegotiates ? streamsChanging : otherStreamTests) }

  const test = (name: string, run: (ends: Transports, random: Random) => Promise<void>): ComplianceTest[] =>
    [false, true].map((swap) => ({
      name: swap ? `${name} (the other end)` : name,
      async run() {
        const [first, second] = twoTransports(await connect())
        try {
          await run(swap ? [second, first] : [first, second], new Random(seed))
        } catch (cause) {
          throw new Error(`${(cause as Error).message} (seed ${seed})`, { cause })
        }
      },
    }))
  return [
    ...Object.entries(contract).flatMap(([name, body]) =>
      test(`the transport ${name}`, (transports, random) =>
        onEnds(transports, timeout, (ends) => body({ ...ends, random }))),
    ),
    ...Object.entries(streams).flatMap(([name, body]) =>
      test(`a stream on it ${name}`, (transports, random) =>
        onStreams(transports, timeout, (ends) => body({ ...ends, random }))),
    ),
  ]
}

async function onEnds(
  transports: Transports,
  timeout: number,
  body: (ends: { near: End; far: End }) => Promise<void>,
): Promise<void> {
  const [near, far] = transports.map((transport) => new End(transport)) as [End, End]
  const ends = [near, far]
  const late = () => ends.map((end, index) => `${index === 0 ? 'near' : 'far'} end: ${end.describe()}`).join('. ')
  let failure: { error: unknown } | undefined
  for (const step of [
    async () => {
      for (const end of ends) await end.until('it is ready', () => end.told.includes('ready'))
      await body({ near, far })
    },
    () => Promise.all(ends.map((end) => end.destroy())),
    // Runs last, and its error replaces an earlier one: a violation of the contract explains the other failures.
    () => {
      for (const end of ends) end.check()
    },
  ]) {
    try {
      await within(timeout, step(), late)
    } catch (error) {
      failure = { error }
    }
  }
  for (const end of ends) end.stop(new Error('the test is over'))
  if (failure !== undefined) throw failure.error
}

async function onStreams(
  transports: Transports,
  timeout: number,
  body: (streams: { near: RenegotiationDuplex; far: RenegotiationDuplex }) => Promise<void>,
): Promise<void> {
  const [near, far] = transports.map((transport) => new RenegotiationDuplex(transport, { peerLimit: false })) as [
    RenegotiationDuplex,
    RenegotiationDuplex,
  ]
  const late = () =>
    Object.entries({ near, far })
      .map(
        ([name, { state, heldBytes, bytesInFlight }]) =>
          `${name} end: ${state}, ${heldBytes} bytes held, ${bytesInFlight} in flight`,
      )
      .join('. ')
  try {
    await within(timeout, body({ near, far }), late)
  } finally {
    for (const stream of [near, far]) stream.on('error', () => {}).destroy()
  }
}

function twoTransports(made: Transports): Transports {
  const isTwo = Array.isArray(made) && made.length === 2 && made.every((one) => typeof one?.attach === 'function')
  if (!isTwo) throw invalidType(`connect() must make an array of two transports, got ${quote(made)}`)
  return made
}

/** Settles as `promise` does, or rejects after so many milliseconds with the text that `late` returns. 0: no limit. */
async function within(milliseconds: number, promise: unknown, late: () => string): Promise<void> {
  if (milliseconds === 0) {
    await promise
    return
  }
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${milliseconds} ms. ${late()}`)), milliseconds)
  })
  try {
    await Promise.race([promise, deadline])
  } finally {
    clearTimeout(timer)
  }
}
