/*
 * The command `soak`: runs the two ends of a connection and judges the result.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { RenegotiationCounters } from '../core/report.ts'
import type { Range } from '../quantities.ts'
import { nounOf, time } from './format.ts'
import { type Address, hostAndPort } from './parse.ts'
import { selfSigned } from './self-signed.ts'
import type { Credentials, FromEnd, Orders, Peer, Side, Status, Sum, TLSVersion, ToEnd } from './soak-messages.ts'
import { type Column, Timeline } from './timeline.ts'

/** The options of {@link soak}. */
export interface SoakOptions {
  /** With `'1.3'`, OpenSSL must be available, and the ends update their keys instead of renegotiating. */
  readonly tls: TLSVersion
  /** Milliseconds for which data flows. */
  readonly duration: number
  /** Milliseconds between two renegotiations that an end begins. */
  readonly everyMs: Range
  /** The size of one write, in bytes. */
  readonly chunkBytes: Range
  readonly seed: number
  /** Milliseconds without a byte after which the soak has failed. */
  readonly stall: number
  /** A server of the user, instead of a second process of the soak. */
  readonly server?: { readonly address: Address; readonly mode: 'echo' | 'sink'; readonly credentials: Credentials }
}

/** The progress of a soak that is running. */
export interface SoakProgress {
  readonly milliseconds: number
  /** The latest status of the client. */
  readonly status: Status
}

/** The result, as it is written to the JSON file. */
export interface SoakReport {
  readonly verdict: 'passed' | 'failed'
  /** Why the soak failed. Empty if it passed. */
  readonly problems: readonly string[]
  readonly startedAt: string
  readonly node: string
  readonly openssl: string
  readonly protocol: string | null
  readonly cipher: string | null
  readonly options: Omit<SoakOptions, 'server'> & { readonly server: string | null; readonly mode: string }
  /** Whether it was stopped early, by a signal. */
  readonly interrupted: boolean
  /** Milliseconds for which data flowed. */
  readonly milliseconds: number
  readonly bytes: { readonly toServer: number; readonly toClient: number }
  /** Whether the bytes that arrived are the bytes that were sent. Null if that cannot be known. */
  readonly intact: boolean | null
  /** What the ends did, and what the numbers in `renegotiations` and `timeline` count. */
  readonly kind: 'renegotiation' | 'key-update'
  /** `unanswered`: key updates of either end that the other had not answered in time. */
  readonly renegotiations: { readonly byClient: number; readonly byServer: number; readonly unanswered: number }
  /** How long each end held its writes, in milliseconds. */
  readonly hold: { readonly client: Hold | null; readonly server: Hold | null }
  /** Resident memory in bytes: the median of the first third of the time, and of the last third. */
  readonly rss: { readonly client: readonly [number, number]; readonly server: readonly [number, number] | null }
  readonly timeline: { readonly columnMs: number; readonly columns: readonly Column[] }
}

type Hold = RenegotiationCounters['hold']

/** Milliseconds that the ends have for their last messages after a failure, and for closing the connection. */
const LAST_WORDS = 5000

/**
 * Lets two ends send without a pause and renegotiate, or update their keys, all the while, for
 * `duration` milliseconds or until `signal` is aborted. The promise never
 * rejects.
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
  let unanswered = 0
  let intact: boolean | null = null
  /** Whether all expected data has arrived, so that silence is no failure any more. */
  let silenceExpected = false
  const connection = { protocol: null as string | null, cipher: null as string | null }
  const elapsed = () => (beganAt === undefined ? 0 : performance.now() - beganAt)

  function start(side: Side, peer: Peer): End {
    const { tls, everyMs, chunkBytes, seed } = options
    const orders = { side, peer, tls, everyMs, chunkBytes, seed: side === 'client' ? seed : seed + 1 }
    const end = new End(orders, (message) => {
      if (message.type === 'status') {
        timeline.status(elapsed(), side, message)
        if (side === 'client') onProgress({ milliseconds: elapsed(), status: message })
      } else if (message.type === 'renegotiated') {
        timeline.mark(elapsed(), side, message)
        if (!message.verified) unanswered++
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
    // Compared only after the connection has closed, so that extra bytes at the end are noticed.
    const same = await Promise.all(due.map(([end, sent]) => compare(end, sent)))
    if (same.length > 0) intact = !same.includes(false)
  }

  /** Ends both sides, and waits until the connection is closed. */
  async function close(client: End): Promise<void> {
    for (const end of ends) end.tell({ type: 'end' })
    const closed = Promise.all(ends.map((end) => end.hears('over')))
    if (foreign !== undefined) {
      // A server of the user may keep the connection open although it has nothing more to send.
      silenceExpected = true
      await passes(LAST_WORDS, closed)
      client.tell({ type: 'leave' })
    }
    await closed
  }

  /** Whether `end` received exactly what was sent to it. */
  async function compare(end: End, sent: Sum): Promise<boolean> {
    const { received } = await end.hears('over')
    const tooMany = received.bytes - sent.bytes
    if (tooMany > 0) problems.add(`more came out than went in: ${tooMany} bytes too many reached the ${end.side}`)
    else if (received.hash !== sent.hash) problems.add('what came out is not what went in')
    return received.hash === sent.hash
  }

  /** Starts the processes. Returns the client. */
  async function connectEnds(): Promise<End> {
    if (foreign !== undefined) return start('client', { kind: 'foreign', ...foreign.address, ...foreign.credentials })
    const identity = options.tls === '1.3' ? selfSigned('soak') : { key: randomBytes(32).toString('hex') }
    const { port } = await start('server', { kind: 'own', ...identity }).hears('listening')
    return start('client', { kind: 'own', ...identity, port })
  }

  /** Rejects when an end reports a problem, and when no byte has moved for too long. */
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
    // Wait for the report of the other end.
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
  const kind = options.tls === '1.3' ? 'key-update' : 'renegotiation'
  if (problems.size === 0 && renegotiations === 0) problems.add(`there was no ${nounOf(kind)}, so nothing is proven`)
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
    kind,
    renegotiations: { byClient: renegotiations - byPeer, byServer: byPeer, unanswered },
    hold: { client: counters?.hold ?? null, server: server?.status?.counters.hold ?? null },
    rss: {
      client: timeline.memory('client'),
      server: server ? timeline.memory('server') : null,
    },
    timeline: { columnMs: timeline.columnMs, columns: timeline.columns },
  }
}

/** Waits so many milliseconds, or until `promise` settles or `signal` is aborted. */
async function passes(milliseconds: number, promise?: Promise<unknown>, signal?: AbortSignal): Promise<void> {
  const enough = new AbortController()
  const signals = AbortSignal.any([enough.signal, ...(signal ? [signal] : [])])
  await Promise.race([promise, sleep(milliseconds, undefined, { signal: signals })].filter(Boolean)).catch(() => {})
  enough.abort()
}

/** Stops an end. Returns what it has sent, once all of that was sent. */
async function stop(end: End): Promise<Sum> {
  end.tell({ type: 'stop' })
  return (await end.hears('sent')).sum
}

/** Waits until an end has received so many bytes. */
async function expect(end: End, bytes: number): Promise<void> {
  end.tell({ type: 'expect', bytes })
  await end.hears('received')
}

/** One of the child processes, as the program sees it. */
class End {
  readonly side: Side
  /** The latest status that the process reported. */
  status: Status | undefined
  /** What went wrong at this end, if anything. */
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

  /** Resolves with a message of this type, at once if one has arrived already. */
  hears<T extends FromEnd['type']>(type: T): Promise<FromEnd & { type: T }> {
    const heard = this.#heard.get(type)
    if (heard !== undefined) return Promise.resolve(heard as FromEnd & { type: T })
    return new Promise((resolve) => this.#waiting.set(type, resolve))
  }

  /** Sends a message, unless the process is gone. */
  tell(message: ToEnd): void {
    if (this.#child.connected) this.#child.send(message, () => {})
  }

  /** Lets the process exit, and kills it if it takes too long. */
  async dismiss(): Promise<void> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), LAST_WORDS)
    if (this.#child.connected) this.#child.disconnect()
    await this.#exited
    clearTimeout(timer)
  }
}
