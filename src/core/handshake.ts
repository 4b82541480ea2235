import { Tracer } from './diagnostics.ts'
import { RenegotiationError } from './errors.ts'
import type { GuardedTransport } from './guarded-transport.ts'
import type { Inbox } from './inbox.ts'
import type { Settings } from './options.ts'
import type { Origin, RenegotiationReport } from './report.ts'
import type { Request } from './request.ts'
import type { Session } from './transport.ts'
import { type Expectation, judge, type Verdict } from './verdict.ts'

/** What a handshake is made of: the parts of its stream. */
export interface HandshakeHost {
  readonly face: object
  readonly transport: GuardedTransport
  readonly inbox: Inbox
  readonly settings: Settings
  /** Bytes taken from the application and not yet given to the transport. */
  readonly heldBytes: number
}

/** What ours brings along from before it began. */
export interface Prelude {
  readonly request: Request
  readonly drainMs: number
  /** `inbox.bytesRead` when the drain began: the report counts from there. */
  readonly bytesReadBefore: number
}

/** One handshake, from its start to its report: what was before it, and what it has to bring. */
export class Handshake {
  readonly origin: Origin
  /** The request that it fulfils. Undefined for the peer's. */
  readonly request: Request | undefined
  readonly expected: Expectation
  /** How long it may take, in milliseconds. 0: no limit. */
  readonly timeout: number
  readonly #host: HandshakeHost
  readonly #before: Session
  readonly #drainMs: number
  readonly #bytesReadBefore: number
  readonly #startedAt = performance.now()
  #tracer: Tracer | undefined

  /** Asks the transport for the session as it is before the handshake. */
  constructor(host: HandshakeHost, prelude?: Prelude) {
    const { transport, settings } = host
    const { request, drainMs = 0, bytesReadBefore = host.inbox.bytesRead } = prelude ?? {}
    const asked = request?.options ?? {}
    const asMade = transport.certificatePolicy
    this.#host = host
    this.#before = transport.session()
    this.#drainMs = drainMs
    this.#bytesReadBefore = bytesReadBefore
    this.origin = request === undefined ? 'peer' : 'local'
    this.request = request
    this.timeout = asked.handshakeTimeout ?? settings.handshakeTimeout
    this.expected = {
      // A client that has shown a certificate is asked for it again. Otherwise it would come out with none.
      requestCert:
        asMade !== undefined && (asked.requestCert ?? (asMade.requestCert || this.#before.identity !== undefined)),
      rejectUnauthorized: asked.rejectUnauthorized ?? (asked.requestCert || asMade?.rejectUnauthorized === true),
      allowIdentityChange: settings.allowIdentityChange,
      requireExtendedMasterSecret: settings.requireExtendedMasterSecret,
    }
  }

  /** For a handshake of the peer's, if anybody listens. Ours is traced by its request. */
  get tracer(): Tracer | undefined {
    return this.#tracer
  }

  /** It is under way. */
  trace(): void {
    if (this.request === undefined) this.#tracer ??= Tracer.begin(this.#host.face, 'peer')
  }

  judge(after: Session): Verdict {
    return judge(this.#before, after, this.expected)
  }

  /** It is complete, and was judged good. */
  report(
    after: Session,
    { verified, peerCertificateChanged }: Extract<Verdict, { outcome: 'renegotiated' }>,
  ): RenegotiationReport {
    return {
      origin: this.origin,
      drainMs: this.#drainMs,
      handshakeMs: performance.now() - this.#startedAt,
      heldBytes: this.#host.heldBytes,
      inboundBytes: this.#host.inbox.bytesRead - this.#bytesReadBefore,
      verified,
      ...told(after),
      peerCertificateChanged,
    }
  }

  /** It did not finish within `timeout`. */
  timedOut(): RenegotiationError {
    const { inbox, settings } = this.#host
    const whose = this.origin === 'local' ? 'The' : "The peer's"
    const why = inbox.isFull
      ? ': it stands behind data that the application does not read, ' +
        `as much as maxInboundBytes (${settings.maxInboundBytes}) or inboundBudget lets in`
      : ''
    const message = `${whose} handshake did not finish in time${why}`
    return new RenegotiationError('ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT', message)
  }
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
