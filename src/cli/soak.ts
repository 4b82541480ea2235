import { type ChildProcess, fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { RenegotiationCounters } from '../core/report.ts'
import { time } from './format.ts'
import { type Address, hostAndPort, type Range } from './parse.ts'
import type { Credentials, FromEnd, Orders, Peer, Side, Status, Sum, ToEnd } from './soak-messages.ts'
import { type Column, Timeline } from './timeline.ts'

export interface SoakOptions {
  /** Milliseconds for which data flows. */
  readonly duration: number
  readonly everyMs: Range
  readonly chunkBytes: Range
  readonly seed: number
  /** Milliseconds without a byte after which it has failed. */
  readonly stall: number
  /** A server of the user's, instead of one of our own. */
  readonly server?: { readonly address: Address; readonly mode: 'echo' | 'sink'; readonly credentials: Credentials }
}

/** How it goes. */
export interface SoakProgress {
  readonly milliseconds: number
  /** The client's. */
  readonly status: Status
}

/** What is written as JSON. */
export interface SoakReport {
  readonly verdict: 'passed' | 'failed'
  /** Why it has failed; empty where it has passed. */
  readonly problems: readonly string[]
  readonly startedAt: string
  readonly node: string
  readonly openssl: string
  readonly protocol: string | null
  readonly cipher: string | null
  readonly options: Omit<SoakOptions, 'server'> & { readonly server: string | null; readonly mode: string }
  /** It was stopped before its time. */
  readonly interrupted: boolean
  /** Milliseconds for which the connection was there. */
  readonly milliseconds: number
  readonly bytes: { readonly toServer: number; readonly toClient: number }
  /** Of both directions the same bytes came out that went in; null where that can't be known. */
  readonly intact: boolean | null
  readonly renegotiations: { readonly byClient: number; readonly byServer: number }
  /** For how long writes were held, in milliseconds. */
  readonly hold: { readonly client: Hold | null; readonly server: Hold | null }
  /** Resident memory in bytes, the middle one of the first third of the time and of the last. */
  readonly rss: { readonly client: readonly [number, number]; readonly server: readonly [number, number] | null }
  readonly timeline: { readonly columnMs: number; readonly columns: readonly Column[] }
}

type Hold = RenegotiationCounters['hold']

/** Milliseconds for what is still to be said when one end has failed, or the connection is to be closed. */
const LAST_WORDS = 5000

/**
 * Two ends that send without a pause and renegotiate all the while, for as long
 * as they are told or until `signal` stops them. Always resolves.
 */
export async function soak(
  options: SoakOptions,
  signal: AbortSignal,
  onProgress: (progress: SoakProgress) => void,
): Promise<SoakReport> {
  const { server: foreign, ...plain } = options
  const timeline = new Timeline()
  const ends: End[] = []
  const problems = new Set<string>()
  const over = new AbortController()
  let beganAt: number | undefined
  let endedAt = 0
  let intact: boolean | null = null
  /** All that was due has come. */
  let silenceExpected = false
  const connection = { protocol: null as string | null, cipher: null as string | null }
  const elapsed = () => (beganAt === undefined ? 0 : performance.now() - beganAt)

  function start(side: Side, peer: Peer): End {
    const { everyMs, chunkBytes, seed } = options
    const end = new End({ side, peer, everyMs, chunkBytes, seed: side === 'client' ? seed : seed + 1 }, (message) => {
      if (message.type === 'status') {
        timeline.status(elapsed(), side, message)
        if (side === 'client') onProgress({ milliseconds: elapsed(), status: message })
      } else if (message.type === 'renegotiated') {
        timeline.mark(elapsed(), side, message)
      }
    })
    ends.push(end)
    return end
  }

  async function run(): Promise<void> {
    const client = await connectEnds()
    const server = ends.find((end) => end !== client)
    const { protocol, cipher } = await client.hears('connected')
    Object.assign(connection, { protocol, cipher })
    beganAt = performance.now()
    await passes(options.duration, undefined, AbortSignal.any([signal, over.signal]))
    endedAt = elapsed()
    const [fromClient, fromServer] = await Promise.all([stop(client), server && stop(server)])
    const due: [at: End, sent: Sum][] = []
    if (server !== undefined && fromServer !== undefined) due.push([server, fromClient], [client, fromServer])
    else if (foreign?.mode === 'echo') due.push([client, fromClient])
    await Promise.all(due.map(([end, sent]) => expect(end, sent.bytes)))
    await close(client)
    // Not before it is closed: nothing may follow the last byte that is due.
    const same = await Promise.all(due.map(([end, sent]) => compare(end, sent)))
    if (same.length > 0) intact = !same.includes(false)
  }

  /** Ends both sides, and waits until the connection is closed. */
  async function close(client: End): Promise<void> {
    for (const end of ends) end.tell({ type: 'end' })
    const closed = Promise.all(ends.map((end) => end.hears('over')))
    if (foreign !== undefined) {
      // A server of the user's may keep the connection open, and has nothing more to send.
      silenceExpected = true
      await passes(LAST_WORDS, closed)
      client.tell({ type: 'leave' })
    }
    await closed
  }

  /** Whether all that ever came to `end` is what was sent to it. */
  async function compare(end: End, sent: Sum): Promise<boolean> {
    const { received } = await end.hears('over')
    const tooMany = received.bytes - sent.bytes
    if (tooMany > 0) problems.add(`more came out than went in: ${tooMany} bytes too many reached the ${end.side}`)
    else if (received.hash !== sent.hash) problems.add('what came out is not what went in')
    return received.hash === sent.hash
  }

  /** Returns the client's. */
  async function connectEnds(): Promise<End> {
    if (foreign !== undefined) return start('client', { kind: 'foreign', ...foreign.address, ...foreign.credentials })
    const key = randomBytes(32).toString('hex')
    const { port } = await start('server', { kind: 'own', key }).hears('listening')
    return start('client', { kind: 'own', key, port })
  }

  /** Rejects with what goes wrong with an end, or when nothing goes on any more. */
  function watch(): Promise<never> {
    let bytes = -1
    let since = performance.now()
    const problem = (): string | undefined => {
      for (const end of ends) if (end.problem !== undefined) return `${end.side}: ${end.problem}`
      if (silenceExpected) return undefined
      const now = ends.reduce((sum, { status }) => sum + (status ? status.sentBytes + status.receivedBytes : 0), 0)
      if (now !== bytes) since = performance.now()
      bytes = now
      return performance.now() - since > options.stall ? `no byte for ${time(options.stall)}` : undefined
    }
    return new Promise((_, reject) => {
      const watching = setInterval(() => {
        const message = problem()
        if (message !== undefined) reject(new Error(message))
      }, 100)
      over.signal.addEventListener('abort', () => clearInterval(watching))
    })
  }

  try {
    await Promise.race([run(), watch()])
  } catch (error) {
    problems.add((error as Error).message)
    // The other end's view of it.
    await passes(LAST_WORDS, Promise.all(ends.map((end) => end.hears('over'))))
    for (const { side, problem } of ends) {
      if (problem !== undefined) problems.add(`${side}: ${problem}`)
    }
  }
  over.abort()
  endedAt ||= elapsed()
  await Promise.all(ends.map((end) => end.dismiss()))

  const [client, server] = ['client', 'server'].map((side) => ends.find((end) => end.side === side))
  const counters = client?.status?.counters
  const { renegotiations = 0, byPeer = 0 } = counters ?? {}
  if (problems.size === 0 && renegotiations === 0) problems.add('there was no renegotiation, so nothing is proven')
  return {
    verdict: problems.size === 0 ? 'passed' : 'failed',
    problems: [...problems],
    startedAt: new Date(Date.now() - elapsed()).toISOString(),
    node: process.versions.node,
    openssl: process.versions.openssl,
    ...connection,
    options: {
      ...plain,
      server: foreign ? hostAndPort(foreign.address) : null,
      mode: foreign?.mode ?? 'both ends are ours',
    },
    interrupted: signal.aborted,
    milliseconds: endedAt,
    bytes: { toServer: client?.status?.sentBytes ?? 0, toClient: client?.status?.receivedBytes ?? 0 },
    intact,
    renegotiations: { byClient: renegotiations - byPeer, byServer: byPeer },
    hold: { client: counters?.hold ?? null, server: server?.status?.counters.hold ?? null },
    rss: {
      client: timeline.memory('client'),
      server: server ? timeline.memory('server') : null,
    },
    timeline: { columnMs: timeline.columnMs, columns: timeline.columns },
  }
}

/** Waits so many milliseconds, or until `promise` is settled or `signal` fires. */
async function passes(milliseconds: number, promise?: Promise<unknown>, signal?: AbortSignal): Promise<void> {
  const enough = new AbortController()
  const signals = AbortSignal.any([enough.signal, ...(signal ? [signal] : [])])
  await Promise.race([promise, sleep(milliseconds, undefined, { signal: signals })].filter(Boolean)).catch(() => {})
  enough.abort()
}

/** What an end has sent, all of it gone. */
async function stop(end: End): Promise<Sum> {
  end.tell({ type: 'stop' })
  return (await end.hears('sent')).sum
}

/** Waits until so many bytes have come to an end. */
async function expect(end: End, bytes: number): Promise<void> {
  end.tell({ type: 'expect', bytes })
  await end.hears('received')
}

/** One of the processes, seen from outside. */
class End {
  readonly side: Side
  /** The last that was heard. */
  status: Status | undefined
  /** What has become of it that should not have. */
  problem: string | undefined
  readonly #child: ChildProcess
  readonly #exited: Promise<void>
  readonly #heard = new Map<string, FromEnd>()
  readonly #waiting = new Map<string, (message: never) => void>()

  constructor(orders: Orders, onMessage: (message: FromEnd) => void) {
    this.side = orders.side
    this.#child = fork(fileURLToPath(new URL('./soak-end.js', import.meta.url)), [JSON.stringify(orders)])
    this.#child.on('message', (message: FromEnd) => {
      if (message.type === 'status') this.status = message
      if (message.type === 'over') this.problem = message.error
      this.#heard.set(message.type, message)
      this.#waiting.get(message.type)?.(message as never)
      onMessage(message)
    })
    this.#exited = new Promise((resolve) => {
      this.#child.on('exit', (code, signal) => {
        const how = [signal, code].find((value) => value !== null)
        if (!this.#heard.has('over')) this.problem = `its process ended early (${how})`
        resolve()
      })
    })
  }

  /** The first message of that type, heard already or to come. */
  hears<T extends FromEnd['type']>(type: T): Promise<FromEnd & { type: T }> {
    const heard = this.#heard.get(type)
    if (heard !== undefined) return Promise.resolve(heard as FromEnd & { type: T })
    return new Promise((resolve) => this.#waiting.set(type, resolve))
  }

  /** One that is gone is not told. */
  tell(message: ToEnd): void {
    if (this.#child.connected) this.#child.send(message, () => {})
  }

  /** It has a little time for last words. */
  async dismiss(): Promise<void> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), LAST_WORDS)
    if (this.#child.connected) this.#child.disconnect()
    await this.#exited
    clearTimeout(timer)
  }
}
