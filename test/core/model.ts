import fc from 'fast-check'
import sinon from 'sinon'
import t from 'tap'
import type { PeerLimit, RenegotiationOptions } from '../../src/core/options.ts'
import type { RenegotiationReport } from '../../src/core/report.ts'
import { transitions } from '../../src/core/state.ts'
import type { HandshakeFailure, Session } from '../../src/core/transport.ts'
import { RenegotiationDuplex } from '../../src/faces/renegotiation-duplex.ts'
import { failure } from '../fixtures/scripted-stream.ts'
import { GatheringTransport, type Script, ScriptedTransport, turn } from '../fixtures/scripted-transport.ts'

/*
 * Random lives of a stream. Whatever the application, the peer, the transport
 * and the clock do, in any order, the stream must keep its promises.
 *
 * On failure, fast-check prints the seed and the shortest life that fails.
 * MODEL_SEED=<seed> repeats the same lives. MODEL_RUNS=<n> is their number.
 * MODEL_REACHED=1 prints how often each step was taken in each state.
 */
const { MODEL_RUNS = '10000', MODEL_SEED, MODEL_REACHED } = process.env

type Failure = Error & { code?: string }

/** How a life begins, and what the application does, once, when it hears of a renegotiation. */
interface Birth extends Script {
  gathers: boolean
  reads: boolean
  reaction: ['renegotiating' | 'renegotiated', 'write' | 'end' | 'renegotiate' | 'destroy', ...unknown[]] | undefined
  options: RenegotiationOptions
}

let clock: sinon.SinonFakeTimers
/** Uncaught exceptions and unhandled rejections. */
const uncaught: unknown[] = []
/** How often each step was taken in each state, and how lives and renegotiations ended. */
const reached = new Map<string, number>()

function reach(what: string) {
  reached.set(what, (reached.get(what) ?? 0) + 1)
}

function must(holds: boolean, violation: string) {
  if (!holds) throw new Error(violation)
}

/** The bytes of either direction from one position to another. The value of a byte depends on its position. */
function pattern(from: number, to: number) {
  return Buffer.from(Array.from({ length: to - from }, (_, index) => ((from + index) * 31) % 251))
}

class Life {
  readonly #stream: RenegotiationDuplex
  readonly #transport: ScriptedTransport
  readonly #maxInboundBytes: number

  /** Allowed reasons for the end of the stream: error codes, or `destroyed` for an end without an error. */
  readonly #reasons = new Set<string>()
  readonly #errors: Failure[] = []
  readonly #events: string[] = []

  #written = 0
  /** For each write, how many bytes were written up to its end. */
  readonly #writes: number[] = []
  /** The callbacks of the writes in order, and how many bytes the transport had taken at that moment. */
  readonly #callbacks: { write: number; failed: boolean; taken: number }[] = []
  /** How many bytes of the write in flight never arrived, because the stream ended. */
  #lost = 0

  #sent = 0
  readonly #received: Buffer[] = []
  #ready: boolean
  #peerEnded = false

  #requests = 0
  readonly #controllers: AbortController[] = []
  readonly #fulfilled: RenegotiationReport[] = []
  readonly #rejected: Failure[] = []
  readonly #reports: RenegotiationReport[] = []

  constructor({ gathers, reads, reaction, options, ...script }: Birth) {
    const transport = gathers ? new GatheringTransport(script) : new ScriptedTransport(script)
    const stream = new RenegotiationDuplex(transport, options)
    this.#transport = transport
    this.#stream = stream
    this.#ready = script.ready ?? true
    this.#maxInboundBytes = options.maxInboundBytes ?? Infinity
    if (options.peerLimit) this.#reasons.add('ERR_RENEGOTIATION_LIMIT')
    if (options.maxHeldBytes) this.#reasons.add('ERR_RENEGOTIATION_HOLD_OVERFLOW')

    transport.onWrite = ({ length }) => {
      // Empty: a barrier, or a batch without a byte.
      const states = length > 0 ? ['open'] : ['open', 'draining', 'flushing']
      must(states.includes(stream.state), `${length} bytes are written while ${stream.state}`)
    }
    transport.onRenegotiate = () => {
      must(stream.state === 'draining', `a renegotiation begins while ${stream.state}`)
      must(
        this.#requests > this.#fulfilled.length + this.#rejected.length,
        'a renegotiation begins that nobody requested',
      )
      if (this.#peerEnded) this.#reasons.add('ERR_RENEGOTIATION_CLOSED')
    }
    stream.on('renegotiating', () => must(stream.state === 'handshaking', `renegotiating while ${stream.state}`))
    stream.on('renegotiated', (report) => this.#reports.push(report))
    stream.on('error', (error: Failure) => this.#errors.push(error))
    stream.on('data', (chunk) => this.#received.push(chunk))
    for (const event of ['renegotiating', 'renegotiated', 'data', 'end', 'finish', 'error', 'close']) {
      stream.on(event, () => this.#events.push(event))
    }
    if (!reads) stream.pause()
    if (reaction !== undefined) {
      const [event, name, ...args] = reaction
      stream.once(event, () => this.step(name, args))
    }
  }

  /** Takes the step with this name, and counts it. */
  step(name: string, args: unknown[]): unknown {
    reach(`${this.#stream.state}: ${name}`)
    return (this as unknown as Record<string, (...args: unknown[]) => unknown>)[name]?.(...args)
  }

  // What the application does.

  /** A Writable defers a synchronous callback to the next tick. A write that is taken in this tick would overtake it. */
  write(length: number) {
    if (this.#stream.writableEnded || this.#stream.destroyed) return undefined
    const write = this.#writes.push(this.#written + length) - 1
    const chunk = pattern(this.#written, this.#written + length)
    this.#written += length
    this.#stream.write(chunk, (error?: Error | null) => {
      this.#callbacks.push({ write, failed: Boolean(error), taken: this.#transport.taken.length })
      this.#events.push('callback')
    })
    return length === 0 ? this.nextTick() : undefined
  }

  cork() {
    this.#stream.cork()
  }

  uncork() {
    this.#stream.uncork()
    return this.nextTick()
  }

  end() {
    if (!this.#stream.destroyed) this.#stream.end()
  }

  pause() {
    this.#stream.pause()
  }

  resume() {
    this.#stream.resume()
  }

  renegotiate(requestCert: boolean) {
    const controller = new AbortController()
    this.#controllers.push(controller)
    this.#requests++
    this.#stream.renegotiate({ requestCert, signal: controller.signal }).then(
      (report) => {
        must(!requestCert || report.origin === 'local', 'a handshake of the peer served a request with requestCert')
        this.#fulfilled.push(report)
      },
      (error: Failure) => this.#rejected.push(error),
    )
  }

  abort(index: number) {
    this.#reasons.add('ABORT_ERR')
    this.#controllers[index]?.abort()
  }

  destroy(code: string | undefined) {
    this.#reasons.add(code ?? 'destroyed')
    this.#stream.destroy(code === undefined ? undefined : failure(code))
  }

  // What the transport does.

  becomesReady() {
    if (this.#ready || this.#transport.closed) return
    this.#ready = true
    this.#transport.becomesReady()
  }

  take(bytes: number) {
    const { inFlight, closed } = this.#transport
    if (inFlight === undefined || closed) return
    if (this.#stream.destroyed) this.#lost += Math.max(0, inFlight - bytes)
    this.#transport.take(bytes)
  }

  failWrite() {
    const { inFlight, closed } = this.#transport
    if (inFlight === undefined || closed) return
    this.#reasons.add('EPIPE')
    this.#lost += inFlight
    this.#transport.failWrite(failure('EPIPE'))
  }

  endDone() {
    if (!this.#transport.closed) this.#transport.endDone()
  }

  breaks(failsAs: HandshakeFailure | undefined) {
    this.#reasons.add('ECONNRESET').add('ERR_RENEGOTIATION_REFUSED').add('ERR_RENEGOTIATION_PEER_DATA')
    this.#transport.failsAs = failsAs
    this.#transport.breaks(failure('ECONNRESET'))
  }

  closes() {
    this.#reasons.add('destroyed')
    this.#transport.closes()
  }

  forbids(why: string | undefined) {
    this.#reasons.add('ERR_RENEGOTIATION_UNSUPPORTED')
    this.#transport.why = why
  }

  // What the peer does.

  peerSends(length: number) {
    if (this.#peerEnded || this.#transport.closed) return
    this.#transport.peerSends(pattern(this.#sent, this.#sent + length))
    this.#sent += length
  }

  peerBegins() {
    if (this.#peerEnded || !this.#ready) return
    this.#transport.peerBegins()
  }

  peerFinishes(session: Session) {
    if (this.#peerEnded || !this.#transport.peerCanFinish) return
    this.#reasons.add('ERR_RENEGOTIATION_IDENTITY_CHANGED').add('ERR_RENEGOTIATION_NO_CERTIFICATE')
    this.#transport.peerFinishes(session)
  }

  peerRefuses() {
    if (this.#peerEnded || !this.#transport.peerCanFinish) return
    this.#reasons.add('ERR_RENEGOTIATION_REFUSED')
    this.#transport.peerRefuses()
  }

  peerEnds() {
    if (this.#peerEnded) return
    this.#peerEnded = true
    // The handshake will never finish, and what is written will not arrive.
    if (this.#transport.peerCanFinish || !this.#ready) this.#reasons.add('ERR_RENEGOTIATION_CLOSED')
    this.#transport.peerEnds()
  }

  // What time does.

  passes(milliseconds: number) {
    this.#reasons.add('ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT')
    const { state } = this.#stream
    clock.tick(milliseconds)
    const hangs = (state === 'draining' && milliseconds >= 100) || (state === 'handshaking' && milliseconds >= 1000)
    must(!hangs || this.#stream.state !== state || this.#peerEnded, `the stream stays ${state} for ever`)
  }

  nextTick(): Promise<void> {
    return new Promise((resolve) => process.nextTick(resolve))
  }

  turn(): Promise<void> {
    return turn()
  }

  /** Finishes everything that is in progress, until the stream has closed. */
  async comesToItsEnd() {
    for (let rounds = 0; rounds < 100 && !this.#events.includes('close'); rounds++) {
      while (this.#stream.writableCorked > 0) await this.uncork()
      this.resume()
      this.becomesReady()
      this.end()
      this.take(Infinity)
      this.endDone()
      this.peerFinishes({
        identity: Buffer.from('Anna'),
        authorized: true,
        ...this.#transport.session(),
        keys: undefined,
      })
      if (this.#events.includes('finish')) this.peerEnds()
      if (this.#transport.destroyed) this.#transport.closes()
      await turn()
      this.check()
    }
  }

  async perish() {
    this.#stream.destroy()
    this.#transport.closes()
    await turn()
  }

  /** Checks what must hold at any time. */
  check() {
    const { state, heldBytes, bytesInFlight, readableLength, readableHighWaterMark } = this.#stream
    const { violations, taken, inFlight, handshaking, flowing } = this.#transport
    must(uncaught.length === 0, `${uncaught[0]} is uncaught`)
    must(violations.length === 0, `the stream ${violations[0]}`)
    if (state === 'closed') return
    const sum = heldBytes + bytesInFlight + taken.length
    must(
      sum === this.#written,
      `${heldBytes} held + ${bytesInFlight} in flight + ${taken.length} taken is not ${this.#written}`,
    )
    must(bytesInFlight === (inFlight ?? 0), `${inFlight} bytes are in flight, not ${bytesInFlight}`)
    must(
      handshaking === (state === 'handshaking'),
      `the state is ${state}, but the transport's handshaking is ${handshaking}`,
    )
    const readsAhead = state === 'draining' || state === 'handshaking'
    must(!readsAhead || flowing || readableLength >= this.#maxInboundBytes, `the stream does not read while ${state}`)
    must(
      readsAhead || !flowing || readableLength < readableHighWaterMark,
      `the stream reads while ${state}, though its buffer is full`,
    )
  }

  /** Checks what must hold when the stream has closed. */
  checkEnd() {
    const complete = this.#events.includes('end') && this.#events.includes('finish')
    this.#checkClose(complete)
    this.#checkBytes(complete)
    this.#checkCallbacks()
    this.#checkRenegotiations()
  }

  #checkClose(complete: boolean) {
    must(
      this.#events.filter((event) => event === 'close').length === 1,
      `close must come once: ${this.#events.join(', ')}`,
    )
    must(this.#events.at(-1) === 'close', `close must be the last event: ${this.#events.join(', ')}`)
    must(this.#stream.state === 'closed', `the state is ${this.#stream.state} after close`)
    must(clock.countTimers() === 0, 'a timer is left behind')
    must(this.#errors.length <= 1, 'there was more than one error event')
    const how = this.#errors[0]?.code ?? this.#errors[0]?.message ?? (complete ? 'complete' : 'destroyed')
    must(
      how === 'complete' || this.#reasons.has(how),
      `the stream ended for no allowed reason: ${this.#errors[0]?.stack ?? how}`,
    )
    reach(`ends: ${how}`)
  }

  #checkBytes(complete: boolean) {
    const { taken, inFlight = 0 } = this.#transport
    const unsent = Buffer.concat(this.#stream.unsent())
    const received = Buffer.concat(this.#received)
    must(taken.equals(pattern(0, taken.length)), 'the bytes taken differ from those written')
    must(received.equals(pattern(0, received.length)), 'the bytes received differ from those sent')
    must(
      unsent.equals(pattern(this.#written - unsent.length, this.#written)),
      'unsent() differs from the last bytes written',
    )
    const sum = taken.length + inFlight + this.#lost + unsent.length
    must(
      sum === this.#written,
      `${taken.length} taken + ${inFlight + this.#lost} lost in flight + ${unsent.length} unsent is not ${this.#written}`,
    )
    must(!complete || received.length === this.#sent, `${received.length} of ${this.#sent} bytes were received`)
    must(!complete || taken.length === this.#written, `${taken.length} of ${this.#written} bytes arrived`)
  }

  #checkCallbacks() {
    const order = this.#callbacks.map(({ write }) => write)
    must(order.length === this.#writes.length, `${this.#writes.length} writes had ${order.length} callbacks`)
    must(
      order.every((write, index) => write === index),
      `callbacks came in the order ${order}`,
    )
    for (const { write, failed, taken } of this.#callbacks) {
      must(
        failed || (this.#writes[write] as number) <= taken,
        `write ${write} was called back with only ${taken} bytes taken`,
      )
    }
  }

  #checkRenegotiations() {
    const settled = this.#fulfilled.length + this.#rejected.length
    must(settled === this.#requests, `of ${this.#requests} renegotiations ${settled} are settled`)
    must(new Set(this.#fulfilled).size === this.#fulfilled.length, 'two renegotiations had the same report')
    must(
      this.#fulfilled.every((report) => this.#reports.includes(report)),
      'a report was not emitted as an event',
    )
    const local = this.#reports.filter(({ origin }) => origin === 'local')
    must(
      local.every((report) => this.#fulfilled.includes(report)),
      'a local report reached no promise',
    )
    const { renegotiations, byPeer, failed } = this.#stream.counters
    must(renegotiations === this.#reports.length, `${renegotiations} renegotiations were counted`)
    must(byPeer === renegotiations - local.length, `${byPeer} renegotiations by the peer were counted`)
    must(failed === this.#rejected.length, `${failed} failures were counted, there were ${this.#rejected.length}`)
    for (const { origin } of this.#fulfilled) reach(`renegotiations: ${origin}`)
    for (const { code } of this.#rejected) reach(`renegotiations: ${code}`)
  }
}

const length = fc.nat(30)

const births: fc.Arbitrary<Birth> = fc.record({
  gathers: fc.boolean(),
  reads: fc.boolean(),
  reaction: fc.option(
    fc.oneof(
      fc.tuple(fc.constantFrom('renegotiating', 'renegotiated'), fc.constant('write'), fc.constant(5)),
      fc.tuple(fc.constantFrom('renegotiating', 'renegotiated'), fc.constant('renegotiate'), fc.boolean()),
      fc.tuple(fc.constantFrom('renegotiating', 'renegotiated'), fc.constantFrom('end', 'destroy')),
    ),
    { nil: undefined },
  ) as fc.Arbitrary<Birth['reaction']>,
  takes: fc.constantFrom('at once', 'when told'),
  resumes: fc.constantFrom('at once', 'on the next tick'),
  ends: fc.constantFrom('at once', 'when told'),
  destroys: fc.constantFrom('at once', 'on the next tick', 'when told'),
  ready: fc.constantFrom(true, true, true, false),
  allowHalfOpen: fc.boolean(),
  certificatePolicy: fc.constant({ requestCert: false, rejectUnauthorized: true }),
  options: fc.record(
    {
      highWaterMark: fc.constantFrom(1, 16, 1000),
      drainTimeout: fc.constant(100),
      handshakeTimeout: fc.constant(1000),
      maxInboundBytes: fc.constantFrom(0, 20, 1000, 1000),
      maxHeldBytes: fc.constantFrom(50, 500),
      peerLimit: fc.constantFrom<PeerLimit | false>(false, false, { max: 1, windowMs: 1000 }),
    },
    { requiredKeys: ['highWaterMark', 'drainTimeout', 'handshakeTimeout', 'maxInboundBytes', 'peerLimit'] },
  ),
})

const sessions = fc.constantFrom<Session>(
  {},
  { identity: Buffer.from('Anna'), authorized: true },
  { identity: Buffer.from('Otto'), authorized: true },
  { resumed: true },
)

const names = new Set<string>()

function does(weight: number, name: keyof Life, ...args: fc.Arbitrary<unknown>[]) {
  names.add(name)
  return { weight, arbitrary: fc.tuple(fc.constant(name), ...args) as fc.Arbitrary<[string, ...unknown[]]> }
}

const steps = fc.oneof(
  does(60, 'write', length),
  does(10, 'cork'),
  does(10, 'uncork'),
  does(1, 'end'),
  does(10, 'pause'),
  does(10, 'resume'),
  does(50, 'renegotiate', fc.boolean()),
  does(15, 'abort', fc.nat(3)),
  does(1, 'destroy', fc.constantFrom(undefined, 'EMINE')),
  does(20, 'becomesReady'),
  does(80, 'take', fc.constantFrom(0, 1, 7, Infinity, Infinity, Infinity)),
  does(1, 'failWrite'),
  does(10, 'endDone'),
  does(1, 'breaks', fc.constantFrom(undefined, 'refused', 'peer-data', 'unexpected-message')),
  does(1, 'closes'),
  does(1, 'forbids', fc.constantFrom(undefined, 'It is forbidden')),
  does(30, 'peerSends', length),
  does(30, 'peerBegins'),
  does(60, 'peerFinishes', sessions),
  does(1, 'peerRefuses'),
  does(1, 'peerEnds'),
  does(10, 'passes', fc.constantFrom(50, 100, 1000)),
  does(30, 'nextTick'),
  does(60, 'turn'),
)

t.setTimeout(600_000)

t.test('a stream keeps its promises through any sequence of random events', async (t) => {
  clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  const caught = (error: unknown) => uncaught.push(error)
  process.setUncaughtExceptionCaptureCallback(caught)
  process.on('unhandledRejection', caught)
  t.teardown(() => {
    clock.restore()
    process.setUncaughtExceptionCaptureCallback(null)
    process.off('unhandledRejection', caught)
  })

  const property = fc.asyncProperty(births, fc.array(steps, { maxLength: 60, size: 'max' }), async (birth, story) => {
    clock.reset()
    uncaught.length = 0
    const life = new Life(birth)
    try {
      for (const [name, ...args] of story) {
        // If the step returns no promise, the next step comes at once, in the same tick.
        const passed = life.step(name, args)
        if (passed instanceof Promise) await passed
        life.check()
      }
      await life.comesToItsEnd()
      life.checkEnd()
    } catch (error) {
      // A failed life must not disturb the shorter one that fast-check tries next.
      await life.perish()
      throw error
    }
  })
  await fc.assert(property, {
    numRuns: Number(MODEL_RUNS),
    ...(MODEL_SEED !== undefined && { seed: Number(MODEL_SEED) }),
  })
  for (const [what, times] of MODEL_REACHED ? [...reached].sort() : []) t.comment(`${times} times ${what}`)
  t.pass(`${MODEL_RUNS} lives`)
})

t.test(
  'the random runs took every step in every state',
  { skip: Number(MODEL_RUNS) < 10_000 && 'needs at least 10,000 lives' },
  async (t) => {
    const unseen = Object.keys(transitions)
      .flatMap((state) => [...names].map((name) => `${state}: ${name}`))
      .filter((what) => !reached.has(what))
    t.same(unseen, [])
  },
)
