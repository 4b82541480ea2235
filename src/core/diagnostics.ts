/* Diagnostics of renegotiations: the tracing channel, NODE_DEBUG, and a process warning. */
import { type Channel, channel, tracingChannel } from 'node:diagnostics_channel'
import { debuglog } from 'node:util'
import type { RenegotiationError } from './errors.ts'
import type { Origin, RenegotiationReport } from './report.ts'

/**
 * A message of the tracing channel `renegotiation-duplex:renegotiate`. All messages about one renegotiation carry the
 * same object, and each adds to it what has become known.
 *
 * | channel, `tracing:renegotiation-duplex:renegotiate:…` | when |
 * |---|---|
 * | `start`, `end` | a renegotiation was requested, or the peer began a handshake |
 * | `drained` | the write in flight has finished; only for a renegotiation of this end |
 * | `handshake` | the handshake begins |
 * | `error` | the renegotiation failed; `error` is set |
 * | `asyncStart`, `asyncEnd` | the renegotiation is over; `result` or `error` is set |
 *
 * If a handshake of the peer counts for a request of this end, the request ends with `result.origin` `'peer'`, and the
 * handshake has messages of its own. A `rekey` schedule that cannot work on a connection publishes a single `error`.
 */
export interface RenegotiationTrace {
  /** The stream that renegotiates. */
  readonly stream: object
  /** Which end began it. */
  readonly origin: Origin
  /** Whether the schedule (`rekey`) began it. */
  readonly scheduled: boolean
  /** Milliseconds that the write in flight took to finish. */
  drainMs?: number
  /** The report that `renegotiate()` resolves with. */
  result?: RenegotiationReport
  /** The error that `renegotiate()` rejects with, or that ended the handshake of the peer. */
  error?: Error
}

const name = 'renegotiation-duplex:renegotiate'
const traced = tracingChannel<unknown, RenegotiationTrace>(name)
const { start, end, asyncStart, asyncEnd, error } = traced
const drained = channel(`tracing:${name}:drained`)
const handshake = channel(`tracing:${name}:handshake`)
const channels = [start, end, drained, handshake, error, asyncStart, asyncEnd]
/** Prints the same messages with NODE_DEBUG=renegotiation. */
const debug = debuglog('renegotiation')

/** Publishes the messages about one renegotiation. */
export class Tracer {
  readonly #trace: RenegotiationTrace

  /** Publishes the beginning of a renegotiation. Returns undefined without subscribers. */
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

  /** Asynchronous, because a subscriber may do anything with the stream, for example destroy it. */
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

/** A number that identifies the stream in debug messages. */
function labelOf(stream: object): string {
  if (!labels.has(stream)) labels.set(stream, `#${++streams}`)
  return labels.get(stream) as string
}

const warned = new Set<string>()

/** Reports that a `rekey` schedule cannot work on this connection. Warns the process once for each reason. */
export function rekeyUnsupported(stream: object, reason: RenegotiationError): void {
  error.publish({ stream, origin: 'local', scheduled: true, error: reason } satisfies RenegotiationTrace)
  debug('%s rekey: %s', labelOf(stream), reason)
  if (warned.has(reason.message)) return
  warned.add(reason.message)
  process.emitWarning(reason.message, { type: 'RenegotiationWarning', code: 'RENEGOTIATION_REKEY_UNSUPPORTED' })
}
