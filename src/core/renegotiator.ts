import { reasonAgainstOurs, reasonAgainstPeers } from './admission.ts'
import { Tracer } from './diagnostics.ts'
import {
  type AbortError,
  closedError,
  drainTimedOut,
  endsRenegotiation,
  flushTimedOut,
  RenegotiationError,
  refusedError,
} from './errors.ts'
import { Handshake } from './handshake.ts'
import { explain } from './handshake-failure.ts'
import type { RenegotiateOptions } from './options.ts'
import { Outcomes } from './outcomes.ts'
import { Phase } from './phase.ts'
import { PostHandshake } from './post-handshake.ts'
import type { RenegotiatorHost } from './renegotiator-host.ts'
import type { RenegotiationCounters, RenegotiationReport } from './report.ts'
import { Request } from './request.ts'
import { Requests } from './requests.ts'
import type { State } from './state.ts'

/**
 * Carries out one renegotiation at a time, from request to report. It alone changes the state of the stream.
 *
 * The rule of this package: while a handshake is in progress, only reading drives it. So hold new writes, finish the
 * write in flight, and only then begin. Keep reading all the while. Release the writes when the handshake is complete
 * and proven. docs/design.md explains why.
 *
 * The request whose turn it is waits for the connection and drains the outbox. Its handshake begins in the same call
 * that reports the end of the drain, so that nothing can happen in between. The peer may begin a handshake at any time.
 */
export class Renegotiator {
  readonly #host: RenegotiatorHost
  readonly #phase: Phase
  /** Whether the first handshake is complete. */
  isReady = false
  #peerEnded = false
  readonly #requests = new Requests()
  readonly #outcomes: Outcomes
  readonly postHandshake: PostHandshake
  #drainStartedAt = 0
  #bytesReadBefore = 0
  #handshake: Handshake | undefined
  #whenIdle: (() => void) | undefined
  /** Whether writes go on in a handshake of this end. */
  readonly #sendsOn = () => this.#host.settings.holdFrom === 'answer' && this.#host.transport.awaitsAnswer

  constructor(host: RenegotiatorHost) {
    this.#host = host
    this.#phase = new Phase(host.outbox, host.inbox)
    this.#outcomes = new Outcomes(this.#requests, host.face)
    this.postHandshake = new PostHandshake(host, this.#requests, this.#outcomes, () => this.#goOn())
  }

  get state(): State {
    return this.#phase.state
  }

  get hold() {
    return this.#phase.hold
  }

  get counts(): Omit<RenegotiationCounters, 'hold' | 'heldBytes' | 'keys'> {
    return this.#outcomes.counts
  }

  /** A getter, because TypeScript assumes that a call does not change `state`. */
  get #isClosed(): boolean {
    return this.state === 'closed'
  }

  /** Whether a renegotiation is requested or in progress. */
  get isBusy(): boolean {
    return this.#requests.size > 0 || this.state !== 'open'
  }

  /** Whether no renegotiation can begin any more. */
  get isOver(): boolean {
    return this.#host.face.writableEnded || this.#peerEnded || this.state === 'closed'
  }

  /** Requests a renegotiation for the application, or, if `scheduled`, for the schedule. Never throws. */
  renegotiate(options?: RenegotiateOptions, scheduled = false, full = false): Promise<RenegotiationReport> {
    const request = new Request(options, scheduled, Tracer.begin(this.#host.face, 'local', scheduled), full)
    const closed = 'The stream was ended or destroyed before the renegotiation'
    const error = request.invalid ?? (this.isOver ? closedError(closed) : undefined)
    if (error !== undefined) this.#requests.fail(request, error)
    else this.#requests.add(request, this.#takeTurn, (reason) => this.#abort(request, reason))
    return request.promise
  }

  /** Calls `idle` once, when no request is left and no handshake is in progress, or none can ever finish. */
  whenIdle(idle: () => void): void {
    this.#whenIdle = idle
    this.#checkIdle()
  }

  ready(): void {
    this.isReady = true
    this.#takeTurn()
  }

  handshakeStarted(): void {
    this.#phase.stepped(this.#sendsOn)
    if (this.state === 'handshaking' || this.state === 'closed') return
    const refusal = this.#handshake === undefined ? reasonAgainstPeers(this.#host) : undefined
    const handshake = this.#handshake ?? new Handshake(this.#host)
    if (this.#isClosed) return
    handshake.trace()
    this.#handshake = handshake
    this.#phase.to('handshakeStarted')
    try {
      this.#outcomes.tell()
    } finally {
      // A listener for the result of the previous handshake may have thrown, or destroyed the stream.
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
        // The TLS library at this end refused the peer's handshake, so it did not take place.
        this.#outcomes.failedByPeer(handshake, refusedError('Our own TLS library refused the renegotiation'))
      } else {
        const request =
          handshake.request ?? (verdict.outcome === 'renegotiated' ? this.#requests.servedBy(after) : undefined)
        if (request !== undefined) this.#requests.remove(request)
        this.#host.keysChanged('both', after.resumed === true)
        if (verdict.outcome === 'rejected') this.#outcomes.rejected(handshake, verdict.error)
        else this.#outcomes.renegotiated(handshake, request, handshake.report(after, verdict))
      }
      this.#phase.flush('handshakeDone', this.#flushed)
    }
  }

  /** In TLS 1.3, the request of this end is sent, and data flows on. */
  requestSent(): void {
    const handshake = this.#handshake
    if (handshake === undefined) return
    try {
      if (this.state === 'draining') {
        this.#phase.to('drained')
        this.#entered(handshake)
      }
    } finally {
      // A listener may have thrown, or destroyed the stream.
      if (this.#handshake === handshake) {
        this.#handshake = undefined
        this.postHandshake.sent(handshake)
        this.#phase.flush('requestSent', this.#flushed)
      }
    }
  }

  /** Called when the peer has closed its side. It takes part in no handshake any more. */
  peerEnded(): void {
    this.#peerEnded = true
    const when = this.postHandshake.unanswered === undefined ? 'before the renegotiation' : 'before it answered'
    this.postHandshake.stop()
    if (this.state === 'handshaking' && this.#handshake?.request && this.#host.transport.takeBack()) {
      // Only a request was sent, so writes can continue.
      this.#requests.failAll(closedError('The peer closed the connection before it answered'))
      this.#handshake = undefined
      this.#giveUp()
    } else if (this.state === 'handshaking') {
      // The handshake will never finish, so nothing can be written any more. Received data can still be read.
      this.#phase.clearTimer()
      this.#neverFinished()
    } else if (!this.isReady) {
      // Wait for a better error: Node reports one in this turn for a client of tls.connect().
      setImmediate(() => (this.isReady ? this.peerEnded() : this.#neverFinished()))
    } else {
      this.#requests.failAll(closedError(`The peer closed the connection ${when}`))
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
   * The peer closed its side after the handshake and before the next write finished. Node may never call back for that
   * write: if the last messages of a handshake meet a reset, there is no write to report it to (TLSWrap::EncOut).
   */
  #endedFlushing(): void {
    this.#phase.limit(this.#host.settings.handshakeTimeout, () => this.#host.face.destroy(flushTimedOut()))
    this.#outcomes.tell()
  }

  /** Returns the error for the application. During a handshake, it explains why the handshake failed. */
  explain(error: Error): Error {
    const handshake = this.#handshake ?? this.postHandshake.unanswered
    return handshake === undefined ? error : explain(error, this.#host.transport.failure(error), handshake.origin)
  }

  /** Settles everything, because the stream was destroyed, with or without an error. */
  close(error: Error | null): void {
    this.#phase.to('destroyed')
    this.#phase.adjustInbox()
    const own = (this.#handshake ?? this.postHandshake.unanswered)?.request
    this.postHandshake.stop()
    if (own !== undefined && error !== null && endsRenegotiation(error)) this.#requests.fail(own, error)
    const closed = closedError('The stream was destroyed before the renegotiation was complete', error ?? undefined)
    this.#requests.failAll(closed)
    if (this.#handshake?.origin === 'peer') this.#outcomes.failedByPeer(this.#handshake, error ?? closed)
    this.#handshake = undefined
    this.#checkIdle()
    this.#outcomes.tell()
  }

  /** Begins the drain for the request whose turn it is, if it can. Called whenever something may have changed that. */
  readonly #takeTurn = (): void => {
    const request = this.#requests.turn
    if (request === undefined || !this.isReady || this.state !== 'open') return
    if (this.postHandshake.unanswered !== undefined) return
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
    const timedOut = () => {
      this.#requests.fail(request, drainTimedOut(this.#host.outbox.bytesInFlight))
      this.#giveUp()
    }
    this.#phase.limit(drainTimeout, timedOut, !request.scheduled)
    this.#phase.adjustInbox()
    // adjustInbox() resumes the transport, which may have reported anything before it returned.
    const goesOn = this.#requests.turn === request && this.#phase.state === 'draining'
    if (goesOn) this.#host.outbox.barrier(() => this.#begin(request))
  }

  /** Begins the handshake. The peer has not begun one during the drain, or the barrier would have been forgotten. */
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
    // The transport may have begun the handshake inside that call, and even completed it, or failed.
    if (this.state === 'draining') {
      this.#phase.to('drained')
      this.#entered(handshake)
    }
    if (this.#handshake === handshake) this.#phase.stepped(this.#sendsOn)
  }

  /** Called when the state has become `handshaking`. */
  #entered(handshake: Handshake): void {
    const { origin, request, tracer } = handshake
    // The timer of a scheduled renegotiation does not keep the process alive.
    this.#phase.limit(handshake.timeout, () => this.#host.face.destroy(handshake.timedOut()), !request?.scheduled)
    ;(request?.tracer ?? tracer)?.handshake()
    try {
      this.#host.face.emit('renegotiating', { origin })
    } finally {
      // The handshake depends on reading, even if a listener throws.
      this.#phase.adjustInbox()
    }
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

  /** Goes back to `open`. No handshake is in progress, so there is nothing to wait for. */
  #giveUp(): void {
    this.#phase.to('givenUp')
    this.#flushed()
    this.#phase.adjustInbox()
  }

  readonly #flushed = (): void => {
    this.#phase.to('flushed')
    try {
      this.#outcomes.tell()
    } finally {
      // A `renegotiated` listener of the application may have thrown.
      this.#goOn()
    }
  }

  #goOn(): void {
    process.nextTick(this.#takeTurn) // After the held writes, or requests without a pause would hold them for ever.
    this.#checkIdle()
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
