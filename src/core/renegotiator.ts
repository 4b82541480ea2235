import { type AdmissionHost, reasonAgainstOurs, reasonAgainstPeers } from './admission.ts'
import { Tracer } from './diagnostics.ts'
import { type AbortError, closedError, endsRenegotiation, RenegotiationError, refusedError } from './errors.ts'
import { Handshake, type HandshakeHost } from './handshake.ts'
import { explain } from './handshake-failure.ts'
import type { HoldTime } from './hold-time.ts'
import type { RenegotiateOptions } from './options.ts'
import type { Outbox } from './outbox.ts'
import { Outcomes } from './outcomes.ts'
import { Phase } from './phase.ts'
import type { Origin, RenegotiationCounters, RenegotiationReport } from './report.ts'
import { Request } from './request.ts'
import { Requests } from './requests.ts'
import type { State } from './state.ts'

/** What the renegotiator works on: the parts of one stream, and the way to its application. */
export interface RenegotiatorHost extends HandshakeHost, AdmissionHost {
  readonly face: RenegotiatorFace
  readonly outbox: Outbox
  /** A handshake is complete, and the keys are new. */
  keysChanged(): void
}

/** What the application knows the stream as. */
export interface RenegotiatorFace {
  readonly writableEnded: boolean
  emit(event: 'renegotiating' | 'renegotiated', detail: { origin: Origin } | RenegotiationReport): unknown
  /** Ends in {@link Renegotiator.close}. */
  destroy(error: Error): unknown
}

/**
 * One renegotiation at a time, from request to report. It alone moves the state
 * and with every state sets the gate: who holds, who drains, who reads ahead.
 *
 * Requests stand in a queue (p-queue, one at a time). The one whose turn it is
 * waits for the connection, drains the outbox and begins in the very call that
 * tells of the drain, so that nothing can come between the look at the state
 * and the start. The peer's handshakes come whenever they come.
 */
export class Renegotiator {
  readonly #host: RenegotiatorHost
  readonly #phase: Phase
  #ready = false
  #peerEnded = false

  readonly #requests = new Requests()
  readonly #outcomes: Outcomes
  #drainStartedAt = 0
  #bytesReadBefore = 0

  #handshake: Handshake | undefined
  #whenIdle: (() => void) | undefined

  constructor(host: RenegotiatorHost) {
    this.#host = host
    this.#phase = new Phase(host.outbox, host.inbox)
    this.#outcomes = new Outcomes(this.#requests, host.face)
  }

  get state(): State {
    return this.#phase.state
  }

  /** How long writes were held. */
  get hold(): HoldTime {
    return this.#phase.hold
  }

  get counts(): Omit<RenegotiationCounters, 'hold' | 'heldBytes' | 'keys'> {
    return this.#outcomes.counts
  }

  /** A getter, for TypeScript takes the state for what it was before a call that may have destroyed the stream. */
  get #isClosed(): boolean {
    return this.state === 'closed'
  }

  /** One is asked for, or on its way. */
  get isBusy(): boolean {
    return this.#requests.size > 0 || this.state !== 'open'
  }

  /** None can begin any more. */
  get isOver(): boolean {
    return this.#host.face.writableEnded || this.#peerEnded || this.state === 'closed'
  }

  /**
   * Asks for a renegotiation, for the application or, `scheduled`, by itself.
   * Never throws; the promise settles exactly once, always.
   */
  renegotiate(options?: RenegotiateOptions, scheduled = false): Promise<RenegotiationReport> {
    const request = new Request(options, scheduled, Tracer.begin(this.#host.face, 'local', scheduled))
    const closed = 'The stream was ended or destroyed before the renegotiation'
    const error = request.invalid ?? (this.isOver ? closedError(closed) : undefined)
    const takeTurn = () => this.#takeTurn()
    if (error !== undefined) this.#requests.fail(request, error)
    else this.#requests.add(request, takeTurn, (reason) => this.#abort(request, reason))
    return request.promise
  }

  /** Calls `idle` once, when no request is left and no handshake runs, or none can ever finish. */
  whenIdle(idle: () => void): void {
    this.#whenIdle = idle
    this.#checkIdle()
  }

  /** The first handshake of the connection is complete. */
  ready(): void {
    this.#ready = true
    this.#takeTurn()
  }

  handshakeStarted(): void {
    if (this.state === 'handshaking' || this.state === 'closed') return
    const refusal = this.#handshake === undefined ? reasonAgainstPeers(this.#host) : undefined
    const handshake = this.#handshake ?? new Handshake(this.#host)
    // A transport that cannot tell of its session is destroyed for it.
    if (this.#isClosed) return
    handshake.trace()
    this.#handshake = handshake
    this.#phase.to('handshakeStarted')
    try {
      this.#outcomes.tell()
    } finally {
      // A listener for the handshake before it may have thrown, or destroyed the stream.
      if (this.#handshake === handshake) {
        if (refusal !== undefined) this.#host.face.destroy(refusal)
        else this.#entered(handshake)
      }
    }
  }

  handshakeDone(): void {
    const handshake = this.#handshake
    if (this.#isClosed || handshake === undefined) return
    const { transport } = this.#host
    const after = transport.session()
    // What cannot tell of its session is destroyed for it.
    if (this.#isClosed) return
    const verdict = handshake.judge(after)
    if (verdict.outcome === 'fatal') {
      this.#host.face.destroy(verdict.error)
    } else if (verdict.outcome === 'unchanged' && handshake.origin === 'local') {
      this.#host.face.destroy(refusedError('The handshake completed, but the keys are the same: the peer refused'))
    } else {
      transport.accepted(after)
      if (this.#isClosed) return
      this.#handshake = undefined
      if (verdict.outcome === 'unchanged') {
        // One of the peer's that our own TLS refused: it never took place.
        this.#outcomes.failedByPeer(handshake, refusedError('Our own TLS refused the renegotiation'))
      } else {
        const request = handshake.request ?? (verdict.outcome === 'renegotiated' ? this.#requestServed() : undefined)
        if (request !== undefined) this.#requests.remove(request)
        this.#host.keysChanged()
        if (verdict.outcome === 'rejected') this.#outcomes.rejected(handshake, verdict.error)
        else this.#outcomes.renegotiated(handshake, request, handshake.report(after, verdict))
      }
      this.#phase.to('handshakeDone')
      this.#host.outbox.barrier(() => this.#flushed())
      this.#phase.adjustInbox()
    }
  }

  /** The peer has ended its side: it can take no part in a handshake any more. */
  peerEnded(): void {
    this.#peerEnded = true
    if (this.state === 'handshaking' && this.#handshake?.request && this.#host.transport.takeBack()) {
      // It was no more than asked for. What is still to be sent can be.
      this.#requests.failAll(closedError('The peer closed the connection before it answered'))
      this.#handshake = undefined
      this.#giveUp()
    } else if (this.state === 'handshaking') {
      // The handshake will never finish, so nothing can be written any more; what was received can still be read.
      this.#phase.clearTimer()
      this.#neverFinished()
    } else if (!this.#ready) {
      // Whoever makes the connection may know a better error: Node does, in this turn, for a client of tls.connect().
      setImmediate(() => (this.#ready ? this.peerEnded() : this.#neverFinished()))
    } else {
      this.#requests.failAll(closedError('The peer closed the connection before the renegotiation'))
      if (this.state === 'draining') this.#giveUp()
      if (this.state === 'flushing') this.#endedFlushing()
    }
    this.#checkIdle()
  }

  #neverFinished(): void {
    const error = closedError('The peer closed the connection in the middle of a handshake')
    this.#requests.failAll(error)
    if (!this.#isClosed) this.#host.outbox.refuse(error)
    this.#checkIdle()
  }

  /**
   * The handshake is done, and the peer gone before the next write was. Node
   * may never call back for that one: where the last messages of a handshake
   * meet a reset, there is no write to report it to (TLSWrap::EncOut).
   */
  #endedFlushing(): void {
    this.#phase.limit(this.#host.settings.handshakeTimeout, () => {
      const message = 'The peer closed the connection, and nothing could be written after the handshake'
      this.#host.face.destroy(new RenegotiationError('ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT', message))
    })
    this.#outcomes.tell()
  }

  /** What an error of the connection means. During a handshake, the handshake failed by it. */
  explain(error: Error): Error {
    return this.#handshake === undefined ? error : explain(error, this.#host.transport.failure(error))
  }

  /** The stream was destroyed, with or without an error. Settles everything. */
  close(error: Error | null): void {
    this.#phase.to('destroyed')
    this.#phase.adjustInbox()
    const own = this.#handshake?.request
    if (own !== undefined && error !== null && endsRenegotiation(error)) this.#requests.fail(own, error)
    const closed = closedError('The stream was destroyed before the renegotiation was complete', error ?? undefined)
    this.#requests.failAll(closed)
    if (this.#handshake?.origin === 'peer') this.#outcomes.failedByPeer(this.#handshake, error ?? closed)
    this.#handshake = undefined
    this.#checkIdle()
    this.#outcomes.tell()
  }

  /** Whose turn it is goes on, if it can. Called whenever something it may have waited for has happened. */
  #takeTurn(): void {
    const request = this.#requests.turn
    if (request === undefined || !this.#ready || this.state !== 'open') return
    const unsupported = reasonAgainstOurs(this.#host, request.options)
    if (this.#isClosed) return
    if (unsupported !== undefined) {
      this.#requests.fail(request, new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', unsupported))
      this.#checkIdle()
      return
    }
    this.#drainStartedAt = performance.now()
    this.#bytesReadBefore = this.#host.inbox.bytesRead
    this.#phase.to('requested')
    const drainTimeout = request.options.drainTimeout ?? this.#host.settings.drainTimeout
    this.#phase.limit(drainTimeout, () => this.#drainTimedOut(request), !request.scheduled)
    this.#phase.adjustInbox()
    // A transport may have read on, and told of anything, before that returned.
    const goesOn = this.#requests.turn === request && this.#phase.state === 'draining'
    if (goesOn) this.#host.outbox.barrier(() => this.#begin(request))
  }

  #drainTimedOut(request: Request): void {
    const message = `The write in flight (${this.#host.outbox.bytesInFlight} bytes) did not finish in time`
    this.#requests.fail(request, new RenegotiationError('ERR_RENEGOTIATION_DRAIN_TIMEOUT', message))
    this.#giveUp()
  }

  /** The drain is complete, and the peer has begun nothing: were it otherwise, the barrier would be forgotten. */
  #begin(request: Request): void {
    const { transport } = this.#host
    const drainMs = performance.now() - this.#drainStartedAt
    request.tracer?.drained(drainMs)
    const handshake = new Handshake(this.#host, { request, drainMs, bytesReadBefore: this.#bytesReadBefore })
    if (this.#isClosed) return
    this.#handshake = handshake
    try {
      transport.renegotiate({ ...request.options, ...handshake.expected })
    } catch (cause) {
      const message = 'The transport could not begin a renegotiation'
      const error = new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', message, cause)
      if (this.state === 'draining') {
        this.#handshake = undefined
        this.#requests.fail(request, error)
        this.#giveUp()
      } else {
        this.#host.face.destroy(error)
      }
      return
    }
    // Inside that call a transport may have begun, and even finished, or died.
    if (this.state === 'draining') {
      this.#phase.to('drained')
      this.#entered(handshake)
    }
  }

  /** The state is `handshaking` now. */
  #entered(handshake: Handshake): void {
    const { origin, request, tracer } = handshake
    // A schedule keeps no process alive.
    this.#phase.limit(handshake.timeout, () => this.#host.face.destroy(handshake.timedOut()), !request?.scheduled)
    ;(request?.tracer ?? tracer)?.handshake()
    try {
      this.#host.face.emit('renegotiating', { origin })
    } finally {
      // Reading on is what the handshake depends on, whatever a listener throws.
      this.#phase.adjustInbox()
    }
  }

  /** The peer's handshake stands for the request in turn, unless that wants something of its own. */
  #requestServed(): Request | undefined {
    return this.#requests.turn?.options.requestCert ? undefined : this.#requests.turn
  }

  #abort(request: Request, error: AbortError): void {
    if (!this.#requests.has(request)) return
    if (this.#handshake?.request === request) {
      this.#requests.fail(request, error)
      this.#host.face.destroy(error)
      return
    }
    const draining = this.#requests.turn === request && this.state === 'draining'
    this.#requests.fail(request, error)
    if (draining) this.#giveUp()
    else this.#checkIdle()
  }

  /** Nothing has begun, so nothing needs to be waited for. */
  #giveUp(): void {
    this.#phase.to('givenUp')
    this.#flushed()
    this.#phase.adjustInbox()
  }

  #flushed(): void {
    this.#phase.to('flushed')
    try {
      this.#outcomes.tell()
    } finally {
      // A listener of the application for `renegotiated` may throw.
      this.#takeTurn()
      this.#checkIdle()
    }
  }

  #checkIdle(): void {
    const idle = this.#whenIdle
    if (idle === undefined || this.#requests.size > 0) return
    if (this.state === 'draining' || this.state === 'flushing') return
    if (this.state === 'handshaking' && !this.#peerEnded) return
    this.#whenIdle = undefined
    idle()
  }
}
