import type { Tracer } from './diagnostics.ts'
import type { RenegotiationError } from './errors.ts'
import type { Handshake } from './handshake.ts'
import type { RenegotiationReport } from './report.ts'
import type { Request } from './request.ts'
import type { Requests } from './requests.ts'

/** How a handshake ended: with a report, or with an error that leaves the stream open. */
type Outcome = {
  /** The request that the handshake served, if any. */
  readonly request: Request | undefined
  /** Tracer for a handshake that the peer began. Undefined without subscribers. */
  readonly tracer: Tracer | undefined
} & ({ readonly report: RenegotiationReport } | { readonly error: RenegotiationError })

interface Face {
  emit(event: 'renegotiated', report: RenegotiationReport): unknown
}

/** The results of finished handshakes. Each is counted at once, and reported once writes have resumed. */
export class Outcomes {
  readonly #requests: Requests
  readonly #face: Face
  readonly #untold: Outcome[] = []
  #renegotiations = 0
  #byPeer = 0
  #failedByPeer = 0

  constructor(requests: Requests, face: Face) {
    this.#requests = requests
    this.#face = face
  }

  get counts() {
    return {
      renegotiations: this.#renegotiations,
      byPeer: this.#byPeer,
      failed: this.#requests.failed,
      failedByPeer: this.#failedByPeer,
    }
  }

  /** The handshake was accepted. `request` is its own, or, if the peer began it, the request whose turn it is. */
  renegotiated({ origin, tracer }: Handshake, request: Request | undefined, report: RenegotiationReport): void {
    this.#renegotiations++
    if (origin === 'peer') this.#byPeer++
    this.#untold.push({ request, tracer, report })
  }

  /** The keys are new, but the handshake did not bring what was requested. */
  rejected({ request, tracer }: Handshake, error: RenegotiationError): void {
    if (request === undefined) this.#failedByPeer++
    this.#untold.push({ request, tracer, error })
  }

  /** A handshake of the peer failed, or was refused. Only its tracer is told, at once. */
  failedByPeer({ tracer }: Handshake, error: Error): void {
    this.#failedByPeer++
    tracer?.failed(error)
  }

  /** Reports all results that were not reported yet, even if a listener throws. */
  tell(): void {
    const outcome = this.#untold.shift()
    if (outcome === undefined) return
    try {
      this.#tellOf(outcome)
    } finally {
      this.tell()
    }
  }

  #tellOf(outcome: Outcome): void {
    const { request, tracer } = outcome
    if ('error' in outcome) {
      if (request !== undefined) this.#requests.fail(request, outcome.error)
      tracer?.failed(outcome.error)
    } else {
      // The application may have aborted a request that was sent already (TLS 1.3).
      if (request?.isSettled === false) request.resolve(outcome.report)
      tracer?.succeeded(outcome.report)
      this.#face.emit('renegotiated', outcome.report)
    }
  }
}
