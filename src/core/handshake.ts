import { Tracer } from './diagnostics.ts'
import { RenegotiationError } from './errors.ts'
import type { GuardedTransport } from './guarded-transport.ts'
import type { Inbox } from './inbox.ts'
import type { Settings } from './options.ts'
import type { Origin, RenegotiationKind, RenegotiationReport } from './report.ts'
import type { Request } from './request.ts'
import type { Session } from './transport.ts'
import { type Expectation, isOther, judge, judgePostHandshake, type Verdict } from './verdict.ts'

/** The parts of the stream that a handshake needs. */
export interface HandshakeHost {
  readonly face: object
  readonly transport: GuardedTransport
  readonly inbox: Inbox
  readonly settings: Settings
  /** Bytes taken from the application and not yet given to the transport. */
  readonly heldBytes: number
  /** The error with which the stream must end if the certificates of the completed handshake are revoked. */
  revokedPeer(): RenegotiationError | undefined
}

/** What is known before a handshake of this end begins. */
export interface Prelude {
  readonly request: Request
  readonly drainMs: number
  /** `inbox.bytesRead` when the drain began, from which the report counts. */
  readonly bytesReadBefore: number
}

/** One handshake, from its start to its report. It keeps the session before it, and what is expected of the new one. */
export class Handshake {
  readonly origin: Origin
  readonly kind: RenegotiationKind
  /** The request that this handshake serves. Undefined when the peer began it. */
  readonly request: Request | undefined
  readonly expected: Expectation
  /** How long the handshake may take, in milliseconds. 0: no limit. */
  readonly timeout: number
  readonly #host: HandshakeHost
  readonly #before: Session
  readonly #drainMs: number
  readonly #bytesReadBefore: number
  readonly #startedAt = performance.now()
  #tracer: Tracer | undefined

  /** Reads the session before the handshake from the transport. `kind` is given for what the peer has requested. */
  constructor(host: HandshakeHost, prelude?: Prelude, kind?: RenegotiationKind) {
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
    this.kind = kind ?? kindOf(transport.hasKeyUpdates, asked.requestCert)
    this.timeout = asked.handshakeTimeout ?? settings.handshakeTimeout
    const requestCert =
      this.kind === 'renegotiation'
        ? asMade !== undefined && (asked.requestCert ?? (asMade.requestCert || this.#before.identity !== undefined))
        : this.kind === 'post-handshake-auth' && request !== undefined
    this.expected = {
      // A client that has shown a certificate is asked for it again. Otherwise it would have none afterwards.
      requestCert,
      rejectUnauthorized: asked.rejectUnauthorized ?? (asked.requestCert || asMade?.rejectUnauthorized === true),
      full: request?.full === true || (requestCert && request?.needsFull === true),
      allowIdentityChange: settings.allowIdentityChange,
      requireExtendedMasterSecret: settings.requireExtendedMasterSecret !== false,
    }
  }

  /** Tracer for a handshake that the peer began. Undefined without subscribers. A request has a tracer of its own. */
  get tracer(): Tracer | undefined {
    return this.#tracer
  }

  /** Begins tracing, if the peer began the handshake. */
  trace(): void {
    if (this.request === undefined) this.#tracer ??= Tracer.begin(this.#host.face, 'peer')
  }

  judge(after: Session): Verdict {
    const verdict = judge(this.#before, after, this.expected)
    if (verdict.outcome === 'fatal' || verdict.outcome === 'unchanged') return verdict
    const error = this.#host.revokedPeer()
    return error === undefined ? verdict : { outcome: 'fatal', error }
  }

  /** The same for what TLS 1.3 has in place of a renegotiation. */
  judgePostHandshake(after: Session): Error | undefined {
    const error = judgePostHandshake(this.#before, after, this.expected)
    return error ?? (this.kind === 'key-update' ? undefined : this.#host.revokedPeer())
  }

  /** Whether the peer has another certificate than before. */
  isOtherPeer(after: Session): boolean {
    return isOther(this.#before, after)
  }

  /** Makes the report of a handshake that was accepted. */
  report(
    after: Session,
    { verified, peerCertificateChanged }: Omit<Extract<Verdict, { outcome: 'renegotiated' }>, 'outcome'>,
  ): RenegotiationReport {
    return {
      origin: this.origin,
      kind: this.kind,
      freshSecret: this.kind === 'renegotiation' && after.resumed !== true,
      drainMs: this.#drainMs,
      handshakeMs: performance.now() - this.#startedAt,
      heldBytes: this.#host.heldBytes,
      inboundBytes: this.#host.inbox.bytesRead - this.#bytesReadBefore,
      verified,
      ...told(after),
      peerCertificateChanged,
    }
  }

  /** Makes the error of a handshake that did not finish within `timeout`. */
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

function kindOf(hasKeyUpdates: boolean, requestCert: boolean | undefined): RenegotiationKind {
  if (!hasKeyUpdates) return 'renegotiation'
  return requestCert === true ? 'post-handshake-auth' : 'key-update'
}

/** Picks the properties for the report, without those that are undefined. */
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
