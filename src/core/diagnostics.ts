import { type Channel, channel, tracingChannel } from 'node:diagnostics_channel'
import { debuglog } from 'node:util'
import type { RenegotiationError } from './errors.ts'
import type { Origin, RenegotiationReport } from './report.ts'

/**
 * What the tracing channel `renegotiation-duplex:renegotiate` publishes: the
 * same object in every message about one renegotiation, filled as it goes on.
 *
 * | channel, `tracing:renegotiation-duplex:renegotiate:…` | when |
 * |---|---|
 * | `start`, `end` | it is asked for, or the peer begins a handshake |
 * | `drained` | the last write in flight is finished; ours only |
 * | `handshake` | the handshake begins |
 * | `error` | it has failed: `error` |
 * | `asyncStart`, `asyncEnd` | it is over: `result`, or `error` |
 *
 * One of ours for which a peer's handshake stands ends with `result.origin`
 * `'peer'`, and that handshake has messages of its own. A rekey schedule that
 * can't work on a connection is told by a single `error`.
 */
export interface RenegotiationTrace {
  /** The stream that it is about. */
  readonly stream: object
  /** Who began it. */
  readonly origin: Origin
  /** The option `rekey` asked for it. */
  readonly scheduled: boolean
  /** Milliseconds that the drain took. */
  drainMs?: number
  /** What `renegotiate()` resolves with. */
  result?: RenegotiationReport
  /** What it rejects with, or what ended the peer's. */
  error?: Error
}

const name = 'renegotiation-duplex:renegotiate'
const traced = tracingChannel<unknown, RenegotiationTrace>(name)
const { start, end, asyncStart, asyncEnd, error } = traced
const drained = channel(`tracing:${name}:drained`)
const handshake = channel(`tracing:${name}:handshake`)
const channels = [start, end, drained, handshake, error, asyncStart, asyncEnd]
/** NODE_DEBUG=renegotiation prints the same. */
const debug = debuglog('renegotiation')

/** Tells of one renegotiation, from its beginning to its end. */
export class Tracer {
  readonly #trace: RenegotiationTrace

  /** To be told of it, where anybody listens; undefined where nobody does. */
  static begin(stream: object, origin: Origin, scheduled = false): Tracer | undefined {
    if (!debug.enabled && !channels.some(({ hasSubscribers }) => hasSubscribers)) return undefined
    return new Tracer({ stream, origin, scheduled })
  }

  private constructor(trace: RenegotiationTrace) {
    this.#trace = trace
    this.#publish({}, start, end)
    this.#debug('begins')
  }

  drained(milliseconds: number): void {
    this.#publish({ drainMs: milliseconds }, drained)
    this.#debug('drained in %d ms', milliseconds)
  }

  handshake(): void {
    this.#publish({}, handshake)
    this.#debug('handshake begins')
  }

  succeeded(report: RenegotiationReport): void {
    this.#publish({ result: report }, asyncStart, asyncEnd)
    this.#debug('done: %o', report)
  }

  failed(reason: Error): void {
    this.#publish({ error: reason }, error, asyncStart, asyncEnd)
    this.#debug('failed: %s', reason)
  }

  /** In a turn of its own, in order: a subscriber may do with the stream what it likes, destroy it for instance. */
  #publish(known: Partial<RenegotiationTrace>, ...channels: Channel[]): void {
    process.nextTick(() => {
      Object.assign(this.#trace, known)
      for (const channel of channels) channel.publish(this.#trace)
    })
  }

  #debug(message: string, ...args: unknown[]): void {
    const { stream, origin, scheduled } = this.#trace
    debug(`%s %s${scheduled ? ' (rekey)' : ''} ${message}`, labelOf(stream), origin, ...args)
  }
}

const labels = new WeakMap<object, string>()
let streams = 0

/** Tells the streams of a process apart. */
function labelOf(stream: object): string {
  if (!labels.has(stream)) labels.set(stream, `#${++streams}`)
  return labels.get(stream) as string
}

const warned = new Set<string>()

/** A rekey schedule can't work on this connection. The process is warned once for each reason. */
export function rekeyUnsupported(stream: object, reason: RenegotiationError): void {
  error.publish({ stream, origin: 'local', scheduled: true, error: reason } satisfies RenegotiationTrace)
  debug('%s rekey: %s', labelOf(stream), reason)
  if (warned.has(reason.message)) return
  warned.add(reason.message)
  process.emitWarning(reason.message, { type: 'RenegotiationWarning', code: 'RENEGOTIATION_REKEY_UNSUPPORTED' })
}
