import { Readable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { Readable as UserlandReadable } from 'readable-stream'
import t from 'tap'
import {
  type BudgetWaiter,
  budgetHasRoom,
  chargeBudget,
  inboundBudget,
  leaveBudget,
  waitForBudget,
} from '../../src/core/inbound-budget.ts'
import { Inbox } from '../../src/core/inbox.ts'
import { Random, SEED } from '../fixtures/random.ts'

t.beforeEach((t) => {
  inboundBudget.maxBytes = 256 * 1024 * 1024
  t.equal(inboundBudget.bytes, 0)
})

t.test('the budget is 256 MiB by default, and none of it is used', async (t) => {
  t.equal(inboundBudget.maxBytes, 256 * 1024 * 1024)
  t.equal(inboundBudget.bytes, 0)
})

t.test('maxBytes accepts any integer from 0, and Infinity', async (t) => {
  for (const value of [0, 1, 2 ** 40, Infinity]) {
    inboundBudget.maxBytes = value
    t.equal(inboundBudget.maxBytes, value)
  }
})

t.test('any other maxBytes throws an error that quotes the value, and changes nothing', async (t) => {
  for (const [value, error] of [
    ['1', { name: 'TypeError', message: "maxBytes must be a number, got '1'" }],
    [undefined, { name: 'TypeError', message: 'maxBytes must be a number, got undefined' }],
    [null, { name: 'TypeError', message: 'maxBytes must be a number, got null' }],
    [-1, { name: 'RangeError', message: /maxBytes must be an integer from 0 to Infinity, got -1/ }],
    [1.5, { name: 'RangeError', message: /got 1.5/ }],
    [NaN, { name: 'RangeError', message: /got NaN/ }],
  ] as const) {
    t.throws(() => {
      inboundBudget.maxBytes = value as number
    }, error)
  }
  t.equal(inboundBudget.maxBytes, 256 * 1024 * 1024)
})

t.test('assigning to bytes or to a misspelt property throws a TypeError', async (t) => {
  t.throws(() => Object.assign(inboundBudget, { bytes: 1 }), TypeError)
  t.throws(() => Object.assign(inboundBudget, { maxbytes: 1 }), TypeError)
})

/** Waits for room, and adds its name to `woken` when it is woken. */
function waiter(name: string, woken: string[], then = () => {}): BudgetWaiter {
  const self = {
    wake() {
      woken.push(name)
      then()
    },
  }
  waitForBudget(self)
  return self
}

t.test('waiting streams are woken once, in order and in a later turn, when there is room', async (t) => {
  inboundBudget.maxBytes = 10
  chargeBudget(12)
  const woken: string[] = []
  waiter('first', woken)
  const gone = waiter('gone', woken)
  waiter('last', woken)
  chargeBudget(-2)
  await turn()
  t.same(woken, [], 'no room yet')
  chargeBudget(-1)
  chargeBudget(-9)
  leaveBudget(gone)
  t.same(woken, [])
  await turn()
  t.same(woken, ['first', 'last'])
  chargeBudget(1)
  chargeBudget(-1)
  await turn()
  t.same(woken, ['first', 'last'])
})

t.test('if a woken stream takes all the room, the streams behind it go on waiting', async (t) => {
  inboundBudget.maxBytes = 10
  chargeBudget(10)
  const woken: string[] = []
  const greedy: BudgetWaiter = waiter('greedy', woken, () => {
    chargeBudget(10)
    waitForBudget(greedy)
  })
  waiter('patient', woken)
  chargeBudget(-10)
  await turn()
  t.same(woken, ['greedy'])
  chargeBudget(-10)
  await turn()
  t.same(woken, ['greedy', 'patient', 'greedy'])
  leaveBudget(greedy)
  chargeBudget(-10)
})

t.test('raising maxBytes wakes the waiting streams', async (t) => {
  inboundBudget.maxBytes = 0
  t.equal(budgetHasRoom(), false)
  const woken: string[] = []
  waiter('it', woken)
  inboundBudget.maxBytes = Infinity
  t.equal(budgetHasRoom(), true)
  await turn()
  t.same(woken, ['it'])
})

const LARGEST = 10_000

/** A Readable on an inbox, the peer that fills it, and the application that reads it. */
class Bed {
  readonly readable: Readable
  readonly inbox: Inbox
  readonly #random: Random
  readonly #sent: Buffer[] = []
  readonly #received: Buffer[] = []
  sentBytes = 0
  receivedBytes = 0
  flowing = false
  ended = false
  handshaking = false
  listening = false
  done = false

  constructor(random: Random) {
    this.#random = random
    const Class = random.below(2) ? Readable : (UserlandReadable as unknown as typeof Readable)
    const maxInboundBytes = [0, 1000, 100_000, 1_000_000, Infinity][random.below(5)] as number
    this.readable = new Class({
      highWaterMark: [0, 1, 100, 16_384, 65_536, 200_000][random.below(6)] as number,
      autoDestroy: random.below(2) > 0,
      read: () => this.inbox.want(),
      destroy: (error, callback) => {
        this.inbox.close()
        callback(error)
      },
    })
    const face = this.readable as Readable & { readableBuffer: unknown[] }
    this.inbox = new Inbox(face, this, { maxInboundBytes })
    this.readable.once('end', () => {
      this.done = true
    })
  }

  /** How many chunks the Readable holds. */
  get chunks(): number {
    return (this.readable as Readable & { readableBuffer: unknown[] }).readableBuffer.length
  }

  /** How many bytes were sent and have not reached the application yet. */
  get waiting(): number {
    return this.sentBytes - this.receivedBytes
  }

  get inOrder(): boolean {
    const received = Buffer.concat(this.#received)
    return Buffer.concat(this.#sent).subarray(0, received.length).equals(received)
  }

  // The methods of the transport that the inbox calls.

  pause(): void {
    this.flowing = false
  }

  resume(): void {
    this.flowing = true
  }

  /** Lets the application or the peer do something at random. Returns a description of it. */
  step(): string {
    const random = this.#random
    switch (random.below(this.ended ? 6 : 9)) {
      case 0: {
        const bytes = random.size(Math.max(1, 2 * this.readable.readableHighWaterMark))
        return `read(${bytes})`.concat(this.#read(bytes) ? '' : ': null')
      }
      case 1:
        this.#read()
        return 'read()'
      case 2:
        this.readable.pause()
        return 'pause'
      case 3:
        this.flows()
        return 'resume'
      case 4:
      case 5:
        this.handshaking = !this.handshaking && !this.ended
        this.inbox.readAhead(this.handshaking)
        return `read ahead: ${this.handshaking}`
      case 6:
        if (random.below(20) === 0) {
          this.ended = true
          this.inbox.end()
          return 'end'
        }
        return this.sends(random.below(50), 10)
      default:
        return this.sends(random.below(100), LARGEST)
    }
  }

  flows(): void {
    if (!this.listening) this.readable.on('data', (chunk) => this.#receive(chunk))
    this.listening = true
    this.readable.resume()
  }

  sends(chunks: number, largest: number): string {
    const { sentBytes } = this
    for (let i = 0; i < chunks && this.flowing; i++) {
      const chunk = this.#random.chunk(largest)
      this.#sent.push(chunk)
      this.sentBytes += chunk.length
      this.inbox.receive(chunk)
    }
    return `receive: ${this.sentBytes - sentBytes}`
  }

  #read(bytes?: number): boolean {
    const { waiting, listening } = this
    const chunk: Buffer | null = this.readable.read(bytes)
    if (chunk === null) {
      if (bytes !== undefined && bytes <= waiting)
        throw new Error(`read(${bytes}) returned null, though ${waiting} bytes were waiting`)
      return false
    }
    // A `data` listener gets the chunk as well.
    if (!listening) this.#receive(chunk)
    return true
  }

  #receive(chunk: Buffer): void {
    this.#received.push(chunk)
    this.receivedBytes += chunk.length
  }
}

t.test(`random actions of peers and applications lose, reorder or delay no byte (SEED=${SEED})`, async (t) => {
  for (let round = 0; round < 30; round++) {
    const random = new Random(SEED + round)
    const steps: string[] = []
    const must = (holds: boolean, what: string) => {
      if (!holds) throw new Error(`${what} (SEED=${SEED}, round ${round}):\n${steps.slice(-30).join('\n')}`)
    }
    const maxBytes = [0, 10_000, 300_000, Infinity][random.below(4)] as number
    inboundBudget.maxBytes = maxBytes
    const beds = Array.from({ length: 1 + random.below(5) }, () => new Bed(random))
    for (let i = 0; i < 200; i++) {
      const index = random.below(beds.length)
      const bed = beds[index] as Bed
      try {
        steps.push(`${index}: ${bed.step()}`)
      } catch (error) {
        must(false, `${index}: ${(error as Error).message}`)
      }
      must(inboundBudget.bytes >= 0, 'the budget is below 0')
      // While an application asks for data, its stream is not charged, so the budget can be exceeded by that much.
      const most = beds.reduce((sum, bed) => sum + LARGEST + 65_536 + 512 * bed.chunks, maxBytes)
      must(inboundBudget.bytes <= most, 'the budget is exceeded')
      must(
        bed.flowing || bed.readable.readableLength === bed.waiting,
        `${index}: the transport is paused, but the Readable does not hold all that was sent`,
      )
      if (random.below(3) > 0) continue
      await turn()
      for (const bed of beds) {
        must(
          !bed.readable.readableFlowing || bed.waiting === 0,
          'a flowing Readable has not delivered all that was sent',
        )
      }
    }
    const charged = inboundBudget.bytes
    steps.push(`the end, with ${charged} bytes charged`)
    for (const bed of beds) {
      must(bed.inOrder, 'the received bytes differ from the sent ones')
      if (random.below(4) === 0) {
        bed.readable.destroy()
        continue
      }
      bed.handshaking = random.below(2) > 0
      bed.inbox.readAhead(bed.handshaking)
      if (!bed.ended) bed.inbox.end()
    }
    for (const bed of beds) {
      if (bed.readable.destroyed) continue
      bed.flows()
      if (!bed.done) await new Promise((resolve) => bed.readable.once('end', resolve))
      must(bed.waiting === 0 && bed.inOrder, 'the received bytes differ from the sent ones')
    }
    await turn()
    must(inboundBudget.bytes === 0, `${inboundBudget.bytes} bytes are left in the budget`)
  }
  t.pass()
})
