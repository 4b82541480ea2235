import PQueue from 'p-queue'
import { Tracer } from './diagnostics.ts'
import { type AbortError, RenegotiationError, sessionAttack } from './errors.ts'
import type { GuardedTransport } from './guarded-transport.ts'
import { HoldTime } from './hold-time.ts'
import type { Inbox } from './inbox.ts'
import { type PeerLimit, parseRenegotiateOptions, type RenegotiateOptions, type Settings } from './options.ts'
import type { Outbox } from './outbox.ts'
import type { Origin, RenegotiationReport } from './report.ts'
import { Request } from './request.ts'
import { next, type State, type Trigger } from './state.ts'
import type { Session } from './transport.ts'
import { type Expectation, judge } from './verdict.ts'

/** What the renegotiator works on: the parts of one stream, and the way to its application. */
export interface RenegotiatorHost {
  readonly face: RenegotiatorFace
  readonly transport: GuardedTransport
  readonly outbox: Outbox
  readonly inbox: Inbox
  readonly settings: Settings
  /** Bytes taken from the application and not yet given to the transport. */
  readonly heldBytes: number
  /** A handshake is complete, and the keys are new. */
  keysChanged(): void
  /** The peer begins a handshake: the limit where that is one too many. */
  exceededPeerLimit(): PeerLimit | undefined
}

/** What the application knows the stream as. */
export interface RenegotiatorFace {
  readonly writableEnded: boolean
  emit(event: 'renegotiating' | 'renegotiated', detail: { origin: Origin } | RenegotiationReport): unknown
  /** Ends in {@link Renegotiator.close}. */
  destroy(error: Error): unknown
}

/** The handshake on its way. */
interface Handshake {
  readonly origin: Origin
  /** Whose it is, where it is ours. */
  readonly request: Request | undefined
  readonly expected: Expectation
  readonly before: Session
  /** Of the peer's, where anybody listens. */
  readonly tracer: Tracer | undefined
  /** Milliseconds it may take. */
  readonly timeout: number
  readonly drainMs: number
  readonly startedAt: number
  /** `inbox.bytesRead` from where the report counts. */
  readonly bytesReadBefore: number
}

/** A handshake that is over, told when writes go again. */
type Outcome = { request: Request | undefined; tracer: Tracer | undefined } & (
  | { report: RenegotiationReport }
  | { error: RenegotiationError }
)

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
  readonly counts = { renegotiations: 0, byPeer: 0, failed: 0, failedByPeer: 0 }
  readonly hold = new HoldTime()

  readonly #host: RenegotiatorHost
  #state: State = 'open'
  #ready = false
  #peerEnded = false

  /** Made at the first request: most connections never see one. */
  #queue: PQueue | undefined
  readonly #requests = new Set<Request>()
  /** The request whose turn it is. */
  #turn: Request | undefined
  #drainStartedAt = 0
  #bytesReadBefore = 0
  #timer: NodeJS.Timeout | undefined

  #handshake: Handshake | undefined
  readonly #outcomes: Outcome[] = []
  #whenIdle: (() => void) | undefined

  constructor(host: RenegotiatorHost) {
    this.#host = host
  }

  get state(): State {
    return this.#state
  }

  /** A getter, for TypeScript takes the state for what it was before a call that may have destroyed the stream. */
  get #isClosed(): boolean {
    return this.#state === 'closed'
  }

  /** One is asked for, or on its way. */
  get isBusy(): boolean {
    return this.#requests.size > 0 || this.#state !== 'open'
  }

  /** None can begin any more. */
  get isOver(): boolean {
    return this.#host.face.writableEnded || this.#peerEnded || this.#state === 'closed'
  }

  /**
   * Asks for a renegotiation, for the application or, `scheduled`, by itself.
   * Never throws; the promise settles exactly once, always.
   */
  renegotiate(options?: RenegotiateOptions, scheduled = false): Promise<RenegotiationReport> {
    const tracer = Tracer.begin(this.#host.face, 'local', scheduled)
    let request: Request
    try {
      request = new Request(parseRenegotiateOptions(options), scheduled, tracer)
    } catch (error) {
      request = new Request({}, scheduled, tracer)
      this.#fail(request, error as Error)
      return request.promise
    }
    if (this.isOver) {
      this.#fail(request, closedError('The stream was ended or destroyed before the renegotiation'))
      return request.promise
    }
    this.#requests.add(request)
    request.watchSignal((error) => this.#abort(request, error))
    if (request.isSettled) return request.promise
    this.#queue ??= new PQueue({ concurrency: 1 })
    void this.#queue.add(() => {
      if (request.isSettled) return request.settled
      this.#turn = request
      this.#takeTurn()
      return request.settled
    })
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
    if (this.#state === 'handshaking' || this.#state === 'closed') return
    const refusal = this.#handshake === undefined ? this.#refusalOfPeer() : undefined
    const handshake = this.#handshake ?? this.#newHandshake('peer', undefined, 0, this.#host.inbox.bytesRead)
    if (handshake === undefined) return
    this.#handshake = handshake
    this.#to('handshakeStarted')
    try {
      this.#tellOutcomes()
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
    const verdict = judge(handshake.before, after, handshake.expected)
    if (verdict.outcome === 'fatal') {
      this.#host.face.destroy(verdict.error)
    } else if (verdict.outcome === 'unchanged' && handshake.origin === 'local') {
      this.#host.face.destroy(refusedError('The handshake completed, but the keys are the same: the peer refused'))
    } else {
      transport.accepted(after)
      if (this.#isClosed) return
      const { origin, tracer } = handshake
      const request = handshake.request ?? (verdict.outcome === 'renegotiated' ? this.#requestServed() : undefined)
      if (request !== undefined) this.#forget(request)
      this.#handshake = undefined
      if (verdict.outcome === 'unchanged') {
        // One of the peer's that our own TLS refused: it never took place.
        this.#failedByPeer(handshake, refusedError('Our own TLS refused the renegotiation'))
      } else if (verdict.outcome === 'rejected') {
        this.#host.keysChanged()
        if (request === undefined) this.counts.failedByPeer++
        this.#outcomes.push({ request, tracer, error: verdict.error })
      } else {
        this.#host.keysChanged()
        this.counts.renegotiations++
        if (origin === 'peer') this.counts.byPeer++
        this.#outcomes.push({
          request,
          tracer,
          report: {
            origin,
            drainMs: handshake.drainMs,
            handshakeMs: performance.now() - handshake.startedAt,
            heldBytes: this.#host.heldBytes,
            inboundBytes: this.#host.inbox.bytesRead - handshake.bytesReadBefore,
            verified: verdict.verified,
            ...told(after),
            peerCertificateChanged: verdict.peerCertificateChanged,
          },
        })
      }
      this.#to('handshakeDone')
      this.#host.outbox.barrier(() => this.#flushed())
      this.#adjustInbox()
    }
  }

  /** The peer has ended its side: it can take no part in a handshake any more. */
  peerEnded(): void {
    this.#peerEnded = true
    if (this.#state === 'handshaking' && this.#handshake?.request && this.#host.transport.takeBack()) {
      // It was no more than asked for. What is still to be sent can be.
      this.#failAll(closedError('The peer closed the connection before it answered'))
      this.#handshake = undefined
      this.#giveUp()
    } else if (this.#state === 'handshaking') {
      // The handshake will never finish, so nothing can be written any more; what was received can still be read.
      clearTimeout(this.#timer)
      this.#neverFinished()
    } else if (!this.#ready) {
      // Whoever makes the connection may know a better error: Node does, in this turn, for a client of tls.connect().
      setImmediate(() => (this.#ready ? this.peerEnded() : this.#neverFinished()))
    } else {
      this.#failAll(closedError('The peer closed the connection before the renegotiation'))
      if (this.#state === 'draining') this.#giveUp()
      if (this.#state === 'flushing') this.#endedFlushing()
    }
    this.#checkIdle()
  }

  #neverFinished(): void {
    const error = closedError('The peer closed the connection in the middle of a handshake')
    this.#failAll(error)
    if (!this.#isClosed) this.#host.outbox.refuse(error)
    this.#checkIdle()
  }

  /**
   * The handshake is done, and the peer gone before the next write was. Node
   * may never call back for that one: where the last messages of a handshake
   * meet a reset, there is no write to report it to (TLSWrap::EncOut).
   */
  #endedFlushing(): void {
    this.#startTimer(this.#host.settings.handshakeTimeout, undefined, () => {
      const message = 'The peer closed the connection, and nothing could be written after the handshake'
      this.#host.face.destroy(new RenegotiationError('ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT', message))
    })
    this.#tellOutcomes()
  }

  /** What an error of the connection means, in the light of the handshake that it ended. */
  explain(error: Error): Error {
    if (this.#handshake === undefined) return error
    switch (this.#host.transport.failure(error)) {
      case 'refused':
        return refusedError('The renegotiation was refused', error)
      case 'insecure':
        return refusedError(
          'The peer is a legacy one, without secure renegotiation (RFC 5746), and our TLS does not renegotiate with it',
          error,
        )
      case 'peer-data':
        return new RenegotiationError(
          'ERR_RENEGOTIATION_PEER_DATA',
          'The peer sent application data in the middle of a handshake, which TLS libraries do not take',
          error,
        )
      case 'our-data':
        return new RenegotiationError(
          'ERR_RENEGOTIATION_PEER_DATA',
          'The peer began a handshake and could not take the application data that was on its way to it',
          error,
        )
      case 'broken':
        return refusedError('The handshake failed', error)
      default:
        return error
    }
  }

  /** The stream was destroyed, with or without an error. Settles everything. */
  close(error: Error | null): void {
    this.#to('destroyed')
    this.#adjustInbox()
    const own = this.#handshake?.request
    if (own !== undefined && error !== null && endsRenegotiation(error)) this.#fail(own, error)
    const closed = closedError('The stream was destroyed before the renegotiation was complete', error ?? undefined)
    this.#failAll(closed)
    if (this.#handshake?.origin === 'peer') this.#failedByPeer(this.#handshake, error ?? closed)
    this.#handshake = undefined
    this.#checkIdle()
    this.#tellOutcomes()
  }

  /** Whose turn it is goes on, if it can. Called whenever something it may have waited for has happened. */
  #takeTurn(): void {
    const request = this.#turn
    if (request === undefined || !this.#ready || this.#state !== 'open') return
    const { transport } = this.#host
    const unsupported = transport.unsupported() ?? this.#cannotAsk(request) ?? this.#lacksExtendedMasterSecret()
    if (this.#isClosed) return
    if (unsupported !== undefined) {
      this.#fail(request, new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', unsupported))
      this.#checkIdle()
      return
    }
    this.#drainStartedAt = performance.now()
    this.#bytesReadBefore = this.#host.inbox.bytesRead
    this.#to('requested')
    this.#startTimer(request.options.drainTimeout ?? this.#host.settings.drainTimeout, request, () => {
      this.#fail(
        request,
        new RenegotiationError(
          'ERR_RENEGOTIATION_DRAIN_TIMEOUT',
          `The write in flight (${this.#host.outbox.bytesInFlight} bytes) did not finish in time`,
        ),
      )
      this.#giveUp()
    })
    this.#adjustInbox()
    // A transport may have read on, and told of anything, before that returned.
    if (this.#turn === request && this.state === 'draining') this.#host.outbox.barrier(() => this.#begin(request))
  }

  /** The drain is complete, and the peer has begun nothing: were it otherwise, the barrier would be forgotten. */
  #begin(request: Request): void {
    const { transport } = this.#host
    const drainMs = performance.now() - this.#drainStartedAt
    request.tracer?.drained(drainMs)
    const handshake = this.#newHandshake('local', request, drainMs, this.#bytesReadBefore)
    if (handshake === undefined) return
    this.#handshake = handshake
    try {
      transport.renegotiate({ ...request.options, ...handshake.expected })
    } catch (cause) {
      const message = 'The transport could not begin a renegotiation'
      const error = new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', message, cause)
      if (this.#state === 'draining') {
        this.#handshake = undefined
        this.#fail(request, error)
        this.#giveUp()
      } else {
        this.#host.face.destroy(error)
      }
      return
    }
    // Inside that call a transport may have begun, and even finished, or died.
    if (this.#state === 'draining') {
      this.#to('drained')
      this.#entered(handshake)
    }
  }

  /** Undefined where the transport failed, which has destroyed the stream. */
  #newHandshake(
    origin: Origin,
    request: Request | undefined,
    drainMs: number,
    bytesReadBefore: number,
  ): Handshake | undefined {
    const { transport, settings } = this.#host
    const asked = request?.options ?? {}
    const asMade = transport.certificatePolicy
    const before = transport.session()
    if (this.#state === 'closed') return undefined
    return {
      origin,
      request,
      expected: {
        // Who has shown a certificate is asked for it again: not asked, it would come out with none.
        requestCert:
          asMade !== undefined && (asked.requestCert ?? (asMade.requestCert || before.identity !== undefined)),
        rejectUnauthorized: asked.rejectUnauthorized ?? (asked.requestCert || asMade?.rejectUnauthorized === true),
        allowIdentityChange: settings.allowIdentityChange,
        requireExtendedMasterSecret: settings.requireExtendedMasterSecret,
      },
      before,
      tracer: origin === 'peer' ? Tracer.begin(this.#host.face, origin) : undefined,
      timeout: asked.handshakeTimeout ?? settings.handshakeTimeout,
      drainMs,
      startedAt: performance.now(),
      bytesReadBefore,
    }
  }

  /** The state is `handshaking` now. */
  #entered({ origin, request, tracer, timeout }: Handshake): void {
    this.#startTimer(timeout, request, () => {
      const whose = origin === 'local' ? 'The' : "The peer's"
      const why = this.#host.inbox.isFull
        ? `: it stands behind data that the application does not read, as much as maxInboundBytes (${this.#host.settings.maxInboundBytes}) or inboundBudget lets in`
        : ''
      this.#host.face.destroy(
        new RenegotiationError(
          'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT',
          `${whose} handshake did not finish in time${why}`,
        ),
      )
    })
    ;(request?.tracer ?? tracer)?.handshake()
    try {
      this.#host.face.emit('renegotiating', { origin })
    } finally {
      // Reading on is what the handshake depends on, whatever a listener throws.
      this.#adjustInbox()
    }
  }

  /** Reading goes on regardless of the application while a handshake is due or running. */
  #adjustInbox(): void {
    this.#host.inbox.readAhead(this.#state === 'draining' || this.#state === 'handshaking')
  }

  /** The peer's handshake stands for the request in turn, unless that wants something of its own. */
  #requestServed(): Request | undefined {
    return this.#turn?.options.requestCert ? undefined : this.#turn
  }

  /** Without a word, a certificate that was insisted on would be asked of nobody. */
  #cannotAsk({ options }: Request): string | undefined {
    if (options.requestCert !== true || this.#host.transport.certificatePolicy !== undefined) return undefined
    return 'requestCert is for a server, and for a transport that can ask a client for its certificate; this one can not'
  }

  #refusalOfPeer(): RenegotiationError | undefined {
    const { transport } = this.#host
    const unsupported = transport.unsupported()
    if (unsupported !== undefined) {
      return new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', `The peer began a handshake. ${unsupported}`)
    }
    const insecure = this.#lacksExtendedMasterSecret()
    if (insecure !== undefined) {
      return new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', `The peer began a handshake. ${insecure}`)
    }
    const exceeded = this.#host.exceededPeerLimit()
    return (
      exceeded &&
      new RenegotiationError(
        'ERR_RENEGOTIATION_LIMIT',
        `The peer began more than ${exceeded.max} handshakes within ${exceeded.windowMs} ms (option peerLimit)`,
        sessionAttack(),
      )
    )
  }

  /** RFC 7627, 5.4: such a session must not be renegotiated where the option says so. */
  #lacksExtendedMasterSecret(): string | undefined {
    const { settings, transport } = this.#host
    if (!settings.requireExtendedMasterSecret || transport.session().extendedMasterSecret === true) return undefined
    return 'The session lacks the extended master secret (RFC 7627, 5.4; option requireExtendedMasterSecret)'
  }

  #abort(request: Request, error: AbortError): void {
    if (!this.#requests.has(request)) return
    if (this.#handshake?.request === request) {
      this.#fail(request, error)
      this.#host.face.destroy(error)
      return
    }
    const draining = this.#turn === request && this.#state === 'draining'
    this.#fail(request, error)
    if (draining) this.#giveUp()
    else this.#checkIdle()
  }

  /** Nothing has begun, so nothing needs to be waited for. */
  #giveUp(): void {
    this.#to('givenUp')
    this.#flushed()
    this.#adjustInbox()
  }

  #flushed(): void {
    this.#to('flushed')
    try {
      this.#tellOutcomes()
    } finally {
      // A listener of the application for `renegotiated` may throw.
      this.#takeTurn()
      this.#checkIdle()
    }
  }

  /** Moves the state, and sets the gate as the new one demands. */
  #to(trigger: Trigger): void {
    const { outbox } = this.#host
    const from = this.#state
    this.#state = next(from, trigger)
    clearTimeout(this.#timer)
    switch (this.#state) {
      case 'draining':
      case 'handshaking':
        outbox.hold()
        break
      case 'open':
        outbox.release()
        break
    }
    if (from === 'open') this.hold.begins()
    else if (this.#state === 'open') this.hold.ends()
  }

  #tellOutcomes(): void {
    const outcome = this.#outcomes.shift()
    if (outcome === undefined) return
    try {
      this.#tell(outcome)
    } finally {
      // Of all of them, whatever a listener throws at one.
      this.#tellOutcomes()
    }
  }

  #tell(outcome: Outcome): void {
    const { request, tracer } = outcome
    if ('error' in outcome) {
      if (request !== undefined) this.#fail(request, outcome.error)
      tracer?.failed(outcome.error)
    } else {
      request?.resolve(outcome.report)
      tracer?.succeeded(outcome.report)
      this.#host.face.emit('renegotiated', outcome.report)
    }
  }

  #fail(request: Request, error: Error): void {
    if (request.isSettled) return
    this.counts.failed++
    this.#forget(request)
    request.reject(error)
  }

  #failAll(error: RenegotiationError): void {
    for (const request of this.#requests) this.#fail(request, error)
  }

  #failedByPeer({ tracer }: Handshake, error: Error): void {
    this.counts.failedByPeer++
    tracer?.failed(error)
  }

  #forget(request: Request): void {
    this.#requests.delete(request)
    if (this.#turn === request) this.#turn = undefined
  }

  #startTimer(milliseconds: number, request: Request | undefined, expired: () => void): void {
    if (milliseconds === 0) return
    this.#timer = setTimeout(expired, milliseconds)
    // A schedule keeps no process alive.
    if (request?.scheduled) this.#timer.unref()
  }

  #checkIdle(): void {
    const idle = this.#whenIdle
    if (idle === undefined || this.#requests.size > 0) return
    if (this.#state === 'draining' || this.#state === 'flushing') return
    if (this.#state === 'handshaking' && !this.#peerEnded) return
    this.#whenIdle = undefined
    idle()
  }
}

/** Errors that are the end of a renegotiation by themselves; any other only cut it off. */
function endsRenegotiation(error: Error): boolean {
  return error instanceof RenegotiationError || error.name === 'AbortError'
}

function closedError(message: string, cause?: Error): RenegotiationError {
  return new RenegotiationError('ERR_RENEGOTIATION_CLOSED', message, cause)
}

function refusedError(message: string, cause?: Error): RenegotiationError {
  return new RenegotiationError('ERR_RENEGOTIATION_REFUSED', message, cause)
}

/** What a session tells, without what it doesn't. */
function told({
  resumed,
  authorized,
  authorizationError,
  extendedMasterSecret,
}: Session): Partial<RenegotiationReport> {
  return {
    ...(resumed !== undefined && { resumed }),
    ...(authorized !== undefined && { authorized }),
    ...(authorizationError !== undefined && { authorizationError }),
    ...(extendedMasterSecret !== undefined && { extendedMasterSecret }),
  }
}
