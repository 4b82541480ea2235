import type { Transport, TransportEvents, WriteCallback } from '../core/transport.ts'

/** The events of a transport. The content of `data` is in {@link End.received}. */
type Told =
  | 'ready'
  | 'data'
  | 'end'
  | 'handshakeStarted'
  | 'handshakeDone'
  | 'requestSent'
  | 'requestAnswered'
  | 'peerUpdated'
  | 'error'
  | 'closed'

interface Waiting {
  readonly what: string
  readonly holds: () => boolean
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

/**
 * One end of a connection without a stream. It uses a transport as the contract
 * allows, records the transport's events, and notes each violation of the
 * contract.
 */
export class End implements TransportEvents {
  readonly transport: Transport
  readonly told: Told[] = []
  /** Called with each chunk, inside the call of `data()`. */
  onData: ((chunk: Buffer) => void) | undefined
  /** Whether an error is part of the test, and so no violation. */
  mayFail = false
  handshaking = false
  flowing = false

  /** How the transport violated the contract. */
  readonly #violations = new Set<string>()
  readonly #chunks: Buffer[] = []
  /** The content of the chunks when they arrived, to detect memory that is used again. */
  readonly #copies: Buffer[] = []
  #error: Error | undefined
  #destroyed = false
  #stopped: Error | undefined
  #waiting: Waiting[] = []

  constructor(transport: Transport) {
    this.transport = transport
    transport.attach(this)
  }

  /** All data received so far. */
  get received(): Buffer {
    return Buffer.concat(this.#copies)
  }

  count(what: Told): number {
    return this.told.filter((told) => told === what).length
  }

  // Events of the transport

  ready(): void {
    this.#heard('ready')
  }

  data(chunk: Buffer): void {
    if (!Buffer.isBuffer(chunk) || chunk.length === 0) {
      this.#violated('data() came without any data, or not as a Buffer')
      return
    }
    if (!this.flowing) this.#violated('data() came while paused')
    if (this.told.includes('end')) this.#violated('data() came after end()')
    this.#chunks.push(chunk)
    this.#copies.push(Buffer.from(chunk))
    this.#heard('data')
    this.onData?.(chunk)
  }

  end(): void {
    this.#heard('end')
  }

  handshakeStarted(): void {
    this.handshaking = true
    this.#heard('handshakeStarted')
  }

  handshakeDone(): void {
    this.handshaking = false
    this.#heard('handshakeDone')
  }

  requestSent(): void {
    this.#heard('requestSent')
  }

  requestAnswered(): void {
    this.#heard('requestAnswered')
  }

  peerUpdated(): void {
    this.#heard('peerUpdated')
  }

  error(error: Error): void {
    if (!this.mayFail) this.#violated(`error() came: ${error.message}`)
    this.#error ??= error
    this.#heard('error')
  }

  closed(): void {
    this.#heard('closed')
  }

  // Actions of the test

  resume(): void {
    this.flowing = true
    this.transport.resume()
  }

  pause(): void {
    this.flowing = false
    this.transport.pause()
  }

  /** Offers `buffer` once and waits for the callback. Returns how many bytes the transport took. */
  async offer(buffer: Uint8Array): Promise<number> {
    const before = Buffer.from(buffer)
    const taken = await this.#once(buffer.length, (done) => this.transport.write(buffer, done))
    if (!before.equals(buffer)) this.#violated('write() changed the buffer')
    return taken
  }

  /**
   * Writes all of `buffer` as a stream would. After a partial write it offers the
   * rest of the same memory; if nothing was taken, it offers the identical object
   * again in a later turn.
   */
  async write(buffer: Uint8Array): Promise<void> {
    let rest = buffer
    do {
      if (this.handshaking) await this.until('the handshake is done', () => !this.handshaking)
      const taken = await this.offer(rest)
      if (taken === 0) await turns(1)
      else rest = rest.subarray(taken)
    } while (rest.length > 0)
  }

  /** Does the same with several buffers, in one call if the transport has `writev()`. */
  async writeAll(buffers: readonly Uint8Array[]): Promise<void> {
    const { transport } = this
    let rest = [...buffers]
    while (rest.length > 0) {
      const length = rest.reduce((sum, { length }) => sum + length, 0)
      const offered = rest
      let taken = await this.#once(length, (done) => {
        if (transport.writev) transport.writev(offered, done)
        else transport.write(offered[0] as Uint8Array, done)
      })
      if (taken === 0) await turns(1)
      while (taken > 0) {
        const [first = new Uint8Array(0), ...others] = rest
        rest = taken < first.length ? [first.subarray(taken), ...others] : others
        taken -= Math.min(taken, first.length)
      }
    }
  }

  /** Ends this side. */
  async finish(): Promise<void> {
    await this.#once(0, (done) => this.transport.end(done))
  }

  async destroy(): Promise<void> {
    this.mayFail = true
    if (!this.#destroyed && !this.told.includes('closed')) {
      this.#destroyed = true
      this.transport.destroy()
    }
    await this.until('it is closed', () => this.told.includes('closed'))
  }

  /** Describes what this end waits for and what it has received, for the message of a test that timed out. */
  describe(): string {
    const waiting = this.#waiting.map(({ what }) => `it waits until ${what}`)
    const state = `it was told of ${new Set(this.told).size === 0 ? 'nothing' : [...new Set(this.told)].join(', ')}`
    return [...waiting, state, `and received ${this.received.length} bytes`].join('; ')
  }

  /** Ends the test: rejects everything that still waits, now and later. */
  stop(reason: Error): void {
    this.#stopped ??= reason
    this.#look()
  }

  /**
   * Resolves when `holds` returns true, which is checked with each event. Rejects
   * after an unexpected error, after `closed`, and when the test is over.
   */
  until(what: string, holds: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ what, holds, resolve, reject })
      this.#look()
    })
  }

  /** Throws if the transport violated the contract. */
  check(): void {
    for (const what of ['ready', 'end', 'closed'] as const) {
      if (this.count(what) > 1) this.#violated(`${what}() came ${this.count(what)} times`)
    }
    const after = this.told.slice(this.told.indexOf('closed') + 1)
    if (this.told.includes('closed') && after.length > 0) {
      this.#violated(`after closed() there came ${after.join(', ')}`)
    }
    if (this.#chunks.some((chunk, index) => !this.#copies[index]?.equals(chunk))) {
      this.#violated('memory that was handed over by data() was used again')
    }
    if (this.#violations.size > 0) throw new Error([...this.#violations].join('; '))
  }

  #violated(what: string): void {
    this.#violations.add(what)
  }

  #heard(what: Told): void {
    this.told.push(what)
    this.#look()
  }

  #look(): void {
    const isOver =
      this.#stopped !== undefined || this.told.includes('closed') || (this.#error !== undefined && !this.mayFail)
    this.#waiting = this.#waiting.filter(({ what, holds, resolve, reject }) => {
      if (holds()) resolve()
      else if (isOver) reject(this.#stopped ?? this.#error ?? new Error(`it closed before ${what}`))
      else return true
      return false
    })
  }

  /** Makes a call that must call back exactly once. Returns how many bytes it took. */
  async #once(length: number, call: (done: WriteCallback) => void): Promise<number> {
    let result: { error: Error | null | undefined; taken: number | undefined } | undefined
    call((error, taken) => {
      if (result !== undefined) this.#violated('a callback was called twice')
      result ??= { error, taken }
      this.#look()
    })
    await this.until('it is called back', () => result !== undefined)
    // TypeScript does not know that the callback has set `result`.
    const { error, taken } = result as unknown as NonNullable<typeof result>
    if (error) throw error
    if (length === 0) return 0
    if (taken !== undefined && Number.isInteger(taken) && taken >= 0 && taken <= length) return taken
    throw new Error(`of ${length} bytes it took ${taken}`)
  }
}

/** Throws if the buffers differ, and says where. */
export function same(actual: Buffer, expected: Buffer): void {
  if (actual.equals(expected)) return
  const length = Math.min(actual.length, expected.length)
  let place = 0
  while (place < length && actual[place] === expected[place]) place++
  const which = `${actual.length} bytes for ${expected.length}, and from byte ${place} they differ`
  throw new Error(`what arrives is not what was written: ${which}`)
}

/** Waits for `count` turns of the event loop. Whatever was due has happened by then. */
export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}
