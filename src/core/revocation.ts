import type { X509Certificate } from 'node:crypto'
import { listError, RenegotiationError } from './errors.ts'
import type { CertificateChain } from './peer-certificates.ts'
import {
  type Authorities,
  authoritiesThatCount,
  isIssuedBy,
  keyOf,
  nameOf,
  signersOf,
} from './revocation-authorities.ts'
import { type CRL, readRevocationInput } from './revocation-input.ts'
import type { RevocationList } from './revocation-list.ts'
import { type CRLUpdateReport, checkAll, type RevocationMember } from './revocation-update.ts'
import { publishSecurityEvent } from './security-events.ts'
import { MAX_TIMEOUT } from './values.ts'

/** A list in force. */
interface InForce {
  readonly list: RevocationList
  /** The name of its authority. */
  readonly issuer: string
}

/**
 * The revocation lists in force for the streams of a server, or for one stream, and these streams.
 *
 * A peer is revoked if one certificate of its chain is on a list of its issuer, whatever `rejectUnauthorized` is. A
 * certificate whose issuer has no list, or one that has expired, is not: who cannot get a new list must not lose its
 * connections. An expired list stays in force, because what is revoked stays revoked.
 */
export class Revocation {
  /** The streams that have completed their first handshake and are not destroyed. */
  readonly members = new Set<RevocationMember>()
  /** By authority, its key, and what the list is for. */
  readonly #inForce = new Map<string, InForce>()
  #timer: NodeJS.Timeout | undefined

  /** Whether any list is in force. */
  get hasLists(): boolean {
    return this.#inForce.size > 0
  }

  /** Returns the error with which a peer with these certificates must end. Undefined if none of them is revoked. */
  revoked(chain: CertificateChain): RenegotiationError | undefined {
    if (!this.hasLists) return undefined
    for (const [index, certificate] of chain.entries()) {
      const issuer = chain[index + 1]
      const serial = `serial number ${certificate.serialNumber}`
      if (this.#isListed(certificate)) {
        return revokedError(`The certificate of ${index === 0 ? 'the peer' : 'its authority'} is revoked (${serial})`)
      }
      // Issuers are found by their names. With a forged one in between, a peer could hide one that is revoked.
      if (issuer !== undefined && !isIssuedBy(certificate, issuer)) {
        return revokedError(`The peer has sent a false issuer of a certificate (${serial}), which hides the true one`)
      }
    }
    return undefined
  }

  /**
   * Puts lists in force, all or none, and checks every stream by them. They are in force when this method returns: what
   * happens from then on is judged by them.
   *
   * @returns a rejected promise if a list cannot be used. The lists before stay in force.
   */
  async update(crl: CRL, authorities: (beside: CertificateChain) => Authorities): Promise<CRLUpdateReport> {
    const accepted = new Map<string, InForce>()
    try {
      const { lists, certificates } = readRevocationInput(crl)
      const known = authoritiesThatCount(authorities(certificates))
      for (const list of lists) this.#accept(list, known, accepted)
    } catch (error) {
      const { code } = error as Error & { code: string }
      publishSecurityEvent('revocation-list-invalid', { code })
      throw error
    }
    for (const [key, one] of accepted) this.#inForce.set(key, one)
    this.#watchExpiry()
    publishSecurityEvent('revocation-list-updated')
    return checkAll(this.members)
  }

  /** Called when there will be no more streams. */
  stop(): void {
    clearTimeout(this.#timer)
  }

  #isListed(certificate: X509Certificate): boolean {
    const issuer = nameOf(certificate.issuer)
    for (const one of this.#inForce.values()) if (one.issuer === issuer && one.list.has(certificate)) return true
    return false
  }

  /** Adds a list that can be used to `accepted`, once for each name of its authority. */
  #accept(list: RevocationList, known: readonly X509Certificate[], accepted: Map<string, InForce>): void {
    const signers = signersOf(list, known)
    const now = Date.now()
    if (list.nextUpdate < now) {
      throw listError('ERR_CRL_EXPIRED', `The revocation list expired at ${new Date(list.nextUpdate).toISOString()}`)
    }
    if (list.thisUpdate > now) {
      const message = `The revocation list is of a later time: ${new Date(list.thisUpdate).toISOString()}`
      throw listError('ERR_CRL_NOT_YET_VALID', message)
    }
    for (const signer of signers) {
      const issuer = nameOf(signer.subject)
      const key = `${keyOf(signer)} ${list.scope} ${issuer}`
      const older = accepted.get(key) ?? this.#inForce.get(key)
      if (older?.list.isNewerThan(list)) {
        throw listError('ERR_CRL_OUTDATED', 'The revocation list is older than the one in force')
      }
      accepted.set(key, { list, issuer })
    }
  }

  /** Reports when a list expires. It does not keep the process alive. */
  #watchExpiry(): void {
    clearTimeout(this.#timer)
    const now = Date.now()
    const left = [...this.#inForce.values()].map(({ list }) => list.nextUpdate - now).filter((ms) => ms > 0)
    const next = Math.min(...left)
    if (next === Infinity) return
    this.#timer = setTimeout(
      () => {
        if (next <= MAX_TIMEOUT) publishSecurityEvent('revocation-list-expired')
        this.#watchExpiry()
      },
      Math.min(next, MAX_TIMEOUT),
    ).unref()
  }
}

function revokedError(message: string): RenegotiationError {
  return new RenegotiationError('ERR_RENEGOTIATION_REVOKED', message)
}
