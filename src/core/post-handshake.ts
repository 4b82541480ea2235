/* What TLS 1.3 has in place of renegotiations: key updates, and certificate requests after the handshake. */
import { reasonAgainstPeers } from './admission.ts'
import { Handshake } from './handshake.ts'
import type { Outcomes } from './outcomes.ts'
import type { RenegotiatorHost } from './renegotiator-host.ts'
import type { RenegotiationKind } from './report.ts'
import type { Requests } from './requests.ts'

/**
 * Waits for the answer to a request of this end, and takes note of the requests of the peer. Data flows in both
 * directions meanwhile, because each end changes its keys between two records.
 *
 * There is at most one request at a time. A peer answers a key update at the latest before it sends data again, so a
 * peer that only reads may never answer. After `handshakeTimeout`, a key update counts as done, and as not verified: the
 * keys with which this end sends are new. A certificate request that is not answered ends the stream.
 */
export class PostHandshake {
  readonly #host: RenegotiatorHost
  readonly #requests: Requests
  readonly #outcomes: Outcomes
  readonly #settled: () => void
  #unanswered: Handshake | undefined
  #timer: NodeJS.Timeout | undefined

  /** `settled` is called when a request was answered or given up, so that the next one can begin. */
  constructor(host: RenegotiatorHost, requests: Requests, outcomes: Outcomes, settled: () => void) {
    this.#host = host
    this.#requests = requests
    this.#outcomes = outcomes
    this.#settled = settled
  }

  /** The request of this end that the peer has not answered. */
  get unanswered(): Handshake | undefined {
    return this.#unanswered
  }

  /** Called when a request of this end was sent. */
  sent(handshake: Handshake): void {
    const { kind, request, timeout } = handshake
    this.#unanswered = handshake
    if (kind === 'key-update') this.#host.keysChanged('sending')
    if (timeout === 0) return
    this.#timer = setTimeout(() => this.#timedOut(handshake), timeout)
    if (request?.scheduled) this.#timer.unref()
  }

  /**
   * Called when the peer has answered. The answer to a key update may be late: that request was given up, and meanwhile
   * this end has requested a certificate, to which this is no answer.
   */
  answered(kind: RenegotiationKind): void {
    const isUpdate = kind === 'key-update'
    if (isUpdate) this.#host.keysChanged('receiving')
    const handshake = this.#unanswered
    if (handshake?.kind === kind) this.#conclude(handshake, isUpdate)
  }

  /**
   * Called when the peer has changed its keys, or has requested a certificate and got the answer. It restarts only the
   * counts of the keys with which the peer sends: a peer must not keep this end from changing its own.
   */
  peerUpdated(kind: RenegotiationKind): void {
    const refusal = reasonAgainstPeers(this.#host)
    if (refusal !== undefined) {
      this.#host.face.destroy(refusal)
      return
    }
    if (kind === 'key-update') this.#host.keysChanged('receiving')
    const handshake = new Handshake(this.#host, undefined, kind)
    handshake.trace()
    this.#report(handshake, kind === 'key-update')
  }

  /** Stops to wait, because the peer has ended or the stream is destroyed. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#unanswered = undefined
  }

  /** A getter, because TypeScript assumes that a call does not change `state`. */
  get #isClosed(): boolean {
    return this.#host.state === 'closed'
  }

  #timedOut(handshake: Handshake): void {
    if (handshake.kind === 'key-update') this.#conclude(handshake, false)
    else this.#host.face.destroy(handshake.timedOut())
  }

  #conclude(handshake: Handshake, verified: boolean): void {
    try {
      // If this destroys the stream, close() needs to know the request.
      this.#report(handshake, verified)
    } finally {
      // A listener of the application may have thrown.
      this.stop()
      this.#settled()
    }
  }

  #report(handshake: Handshake, verified: boolean): void {
    const { transport, face } = this.#host
    // The first handshake of TLS 1.3 may have resumed a session. What comes after it does not.
    const after = { ...transport.session(), resumed: false }
    // If the transport throws, the stream is destroyed.
    if (this.#isClosed) return
    const error = handshake.judgePostHandshake(after)
    if (error !== undefined) {
      face.destroy(error)
      return
    }
    transport.accepted(after)
    if (this.#isClosed) return
    const { request } = handshake
    if (request !== undefined) this.#requests.remove(request)
    const peerCertificateChanged = handshake.isOtherPeer(after)
    this.#outcomes.renegotiated(handshake, request, handshake.report(after, { verified, peerCertificateChanged }))
    this.#outcomes.tell()
  }
}
