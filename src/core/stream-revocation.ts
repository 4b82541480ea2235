import { RenegotiationError } from './errors.ts'
import type { GuardedTransport } from './guarded-transport.ts'
import type { RenegotiateOptions, Settings } from './options.ts'
import { Revocation } from './revocation.ts'
import type { CRL } from './revocation-input.ts'
import type { CRLUpdateReport, RevocationMember } from './revocation-update.ts'
import type { State } from './state.ts'

/** What the judgement by revocation lists needs of the stream. */
export interface RevocationHost {
  readonly face: { readonly errored: Error | null; destroy(error: Error): unknown }
  readonly transport: GuardedTransport
  readonly settings: Settings
}

/** What it needs of the renegotiator of the stream. */
interface Renegotiating {
  readonly state: State
  readonly isReady: boolean
  /** Whether no renegotiation can begin any more. */
  readonly isOver: boolean
  renegotiate(options?: RenegotiateOptions): Promise<unknown>
}

/** Judges the peer of one stream by the lists of its server, and by those of its own `updateCRL()`. */
export class StreamRevocation implements RevocationMember {
  readonly #host: RevocationHost
  readonly #renegotiator: Renegotiating
  readonly #ofServer: Revocation | undefined
  #own: Revocation | undefined

  constructor(host: RevocationHost, renegotiator: Renegotiating, ofServer?: Revocation) {
    this.#host = host
    this.#renegotiator = renegotiator
    this.#ofServer = ofServer
  }

  /** Puts lists in force for this stream, and judges it by them. */
  async update(crl: CRL): Promise<CRLUpdateReport> {
    const certificates = this.#host.transport.peerCertificates
    if (certificates === undefined) {
      const message = 'This transport does not show the certificates of the peer, so no list can judge them'
      throw new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', message)
    }
    this.#own ??= new Revocation()
    if (!this.isClosed) this.#own.members.add(this)
    return this.#own.update(crl, (beside) => certificates.authorities(beside))
  }

  /**
   * Judges the first handshake, before the application learns of it. If the peer is revoked, the stream is destroyed.
   * Returns whether it goes on.
   */
  admits(): boolean {
    // Destroyed already, maybe by the server for this reason.
    if (this.isClosed) return false
    const error = this.completed()
    if (error !== undefined) this.#host.face.destroy(error)
    return error === undefined
  }

  /** The first handshake is complete and accepted. */
  join(): void {
    this.#ofServer?.members.add(this)
  }

  /** The stream is destroyed. */
  leave(): void {
    this.#ofServer?.members.delete(this)
    this.#own?.stop()
  }

  /** The verdict on the certificates of a handshake that was just completed. */
  completed(): RenegotiationError | undefined {
    return this.#judge('completed')
  }

  revoked(): RenegotiationError | undefined {
    return this.#judge('accepted')
  }

  get isClosed(): boolean {
    return this.#renegotiator.state === 'closed'
  }

  get wasRevoked(): boolean {
    const { errored } = this.#host.face
    return errored instanceof RenegotiationError && errored.code === 'ERR_RENEGOTIATION_REVOKED'
  }

  get mayChangeIdentity(): boolean {
    return this.#host.settings.allowIdentityChange !== false
  }

  get canRenegotiate(): boolean {
    const { transport } = this.#host
    // renegotiate() waits for the first handshake.
    if (!this.#renegotiator.isReady) return true
    if (this.#renegotiator.isOver || transport.hasKeyUpdates || transport.unsupported() !== undefined) return false
    const policy = transport.certificatePolicy
    return policy === undefined || policy.requestCert || transport.peerCertificates?.accepted()[0] !== undefined
  }

  /** A server requests the certificate as before. On a client, the server's certificate comes in any case. */
  renegotiate(): Promise<unknown> {
    const policy = this.#host.transport.certificatePolicy
    return this.#renegotiator.renegotiate(
      policy === undefined
        ? { rejectUnauthorized: true }
        : { requestCert: true, rejectUnauthorized: policy.rejectUnauthorized },
    )
  }

  destroy(error: RenegotiationError): void {
    this.#host.face.destroy(error)
  }

  #judge(which: 'accepted' | 'completed'): RenegotiationError | undefined {
    if (!this.#ofServer?.hasLists && !this.#own?.hasLists) return undefined
    const chain = this.#host.transport.peerCertificates?.[which]() ?? []
    return this.#ofServer?.revoked(chain) ?? this.#own?.revoked(chain)
  }
}
