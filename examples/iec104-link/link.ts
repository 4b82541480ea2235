/*
 * The link of IEC 60870-5-104 between two stations: numbered telegrams, their acknowledgement, and the timers. It knows
 * nothing of TLS: below it is any Duplex.
 */
import type { Duplex } from 'node:stream'
import { encode, type Frame, FrameReader, MODULUS, type UFunction } from './apci.ts'

export interface LinkOptions {
  /** The controlling station starts and stops the transfer of data. */
  readonly role: 'controlling' | 'controlled'
  /** Called with the ASDU of each telegram, in order. */
  readonly onTelegram: (asdu: Buffer) => void
  /** Milliseconds until a telegram or a test must be acknowledged. */
  readonly t1?: number
  /** Milliseconds until a telegram is acknowledged if there is nothing to send. */
  readonly t2?: number
  /** Milliseconds of silence until the connection is tested. */
  readonly t3?: number
}

/** How many telegrams may be sent without an acknowledgement. */
const K = 12
/** After how many telegrams an acknowledgement is sent at the latest. */
const W = 8

export class Link {
  /** How many telegrams were sent, received, and acknowledged by the peer. */
  readonly counts = { sent: 0, received: 0, acknowledged: 0, tests: 0 }
  /** Fulfilled when the connection is closed: with the error, or undefined. */
  readonly closed: Promise<NodeJS.ErrnoException | undefined>
  readonly #stream: Duplex
  readonly #options: Required<LinkOptions>
  readonly #reader = new FrameReader()
  readonly #queue: Buffer[] = []
  #isStarted = false
  /** How many telegrams were received that this end has not acknowledged. */
  #unacknowledged = 0
  #sendTimer: NodeJS.Timeout | undefined
  #ackTimer: NodeJS.Timeout | undefined
  #idleTimer: NodeJS.Timeout | undefined
  #testTimer: NodeJS.Timeout | undefined
  #whenConfirmed: { readonly function: UFunction; readonly resolve: () => void } | undefined
  #whenDrained: (() => void) | undefined

  constructor(stream: Duplex, options: LinkOptions) {
    this.#stream = stream
    this.#options = { t1: 15_000, t2: 10_000, t3: 20_000, ...options }
    stream.on('data', (chunk: Buffer) => {
      try {
        for (const frame of this.#reader.read(chunk)) this.#received(frame)
      } catch (error) {
        stream.destroy(error as Error)
      }
      this.#pump()
    })
    let failure: Error | undefined
    stream.on('error', (error) => {
      failure = error
    })
    this.closed = new Promise((resolve) => {
      stream.once('close', () => {
        this.#isStarted = false
        for (const timer of [this.#sendTimer, this.#ackTimer, this.#idleTimer, this.#testTimer]) clearTimeout(timer)
        this.#whenConfirmed?.resolve()
        this.#whenDrained?.()
        resolve(failure)
      })
    })
    this.#restartIdleTimer()
  }

  /** Telegrams that wait to be sent. */
  get queued(): number {
    return this.#queue.length
  }

  /** Sends telegrams, as soon as the transfer is started and the peer has acknowledged enough. */
  send(asdus: readonly Buffer[]): void {
    this.#queue.push(...asdus)
    this.#pump()
  }

  /** Starts the transfer of data. For the controlling station. */
  start(): Promise<void> {
    return this.#ask('STARTDT')
  }

  /** Stops the transfer of data. */
  stop(): Promise<void> {
    return this.#ask('STOPDT')
  }

  /** Waits until all telegrams are sent and acknowledged, or the connection is closed. */
  drained(): Promise<void> {
    return new Promise((resolve) => {
      this.#whenDrained = resolve
      this.#checkDrained()
    })
  }

  async #ask(what: 'STARTDT' | 'STOPDT'): Promise<void> {
    this.#write({ format: 'U', function: `${what} act` })
    this.#expect()
    await new Promise<void>((resolve) => {
      this.#whenConfirmed = { function: `${what} con`, resolve }
    })
    this.#isStarted = what === 'STARTDT'
    this.#pump()
  }

  #received(frame: Frame): void {
    this.#restartIdleTimer()
    if (frame.format === 'U') this.#receivedFunction(frame.function)
    else {
      this.#acknowledgedBefore(frame.received)
      if (frame.format === 'I') this.#receivedTelegram(frame.sent, frame.asdu)
    }
  }

  #receivedTelegram(number: number, asdu: Buffer): void {
    const expected = this.counts.received % MODULUS
    if (number !== expected) throw new Error(`Telegram ${number} was received instead of ${expected}`)
    this.counts.received++
    this.#options.onTelegram(asdu)
    if (++this.#unacknowledged >= W) this.#acknowledge()
    else this.#ackTimer ??= setTimeout(() => this.#acknowledge(), this.#options.t2)
  }

  #receivedFunction(name: UFunction): void {
    switch (name) {
      case 'STARTDT act':
      case 'STOPDT act':
        if (this.#options.role === 'controlling') throw new Error(`The controlled station has sent ${name}`)
        this.#acknowledge()
        this.#isStarted = name === 'STARTDT act'
        this.#write({ format: 'U', function: this.#isStarted ? 'STARTDT con' : 'STOPDT con' })
        break
      case 'TESTFR act':
        this.#write({ format: 'U', function: 'TESTFR con' })
        break
      case 'TESTFR con':
        this.counts.tests++
        clearTimeout(this.#testTimer)
        break
      default:
        if (this.#whenConfirmed?.function !== name) throw new Error(`Nobody has asked for ${name}`)
        clearTimeout(this.#testTimer)
        this.#whenConfirmed.resolve()
        this.#whenConfirmed = undefined
    }
  }

  /** All telegrams before this number have arrived. It must be one that was sent and is not acknowledged yet. */
  #acknowledgedBefore(number: number): void {
    const { counts } = this
    const newly = (number - (counts.acknowledged % MODULUS) + MODULUS) % MODULUS
    if (newly > counts.sent - counts.acknowledged) throw new Error(`Number ${number} is acknowledged, but was not sent`)
    counts.acknowledged += newly
    if (newly > 0) {
      clearTimeout(this.#sendTimer)
      this.#sendTimer = undefined
      if (counts.acknowledged < counts.sent) this.#expectAcknowledgement()
    }
    this.#checkDrained()
  }

  #acknowledge(): void {
    this.#isAcknowledged()
    this.#write({ format: 'S', received: this.counts.received % MODULUS })
  }

  #isAcknowledged(): void {
    this.#unacknowledged = 0
    clearTimeout(this.#ackTimer)
    this.#ackTimer = undefined
  }

  #pump(): void {
    const { counts } = this
    if (!this.#isStarted || this.#queue.length === 0) return
    this.#stream.cork()
    while (counts.sent - counts.acknowledged < K && this.#queue.length > 0) {
      const asdu = this.#queue.shift() as Buffer
      this.#isAcknowledged()
      this.#write({ format: 'I', sent: counts.sent++ % MODULUS, received: counts.received % MODULUS, asdu })
      this.#expectAcknowledgement()
    }
    this.#stream.uncork()
  }

  #write(frame: Frame): void {
    if (!this.#stream.destroyed) this.#stream.write(encode(frame))
  }

  #expectAcknowledgement(): void {
    this.#sendTimer ??= setTimeout(() => this.#timedOut('A telegram was not acknowledged within t1'), this.#options.t1)
  }

  /** Expects an answer to a U-frame. */
  #expect(): void {
    clearTimeout(this.#testTimer)
    this.#testTimer = setTimeout(() => this.#timedOut('There was no confirmation within t1'), this.#options.t1)
  }

  #timedOut(message: string): void {
    this.#stream.destroy(new Error(message))
  }

  #restartIdleTimer(): void {
    clearTimeout(this.#idleTimer)
    this.#idleTimer = setTimeout(() => {
      this.#write({ format: 'U', function: 'TESTFR act' })
      this.#expect()
    }, this.#options.t3)
  }

  #checkDrained(): void {
    const { sent, acknowledged } = this.counts
    const isDrained = this.#queue.length === 0 && sent === acknowledged
    if (!isDrained && !this.#stream.destroyed) return
    this.#whenDrained?.()
    this.#whenDrained = undefined
  }
}
