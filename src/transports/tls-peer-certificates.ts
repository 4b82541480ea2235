import { X509Certificate } from 'node:crypto'
import tls, { type TLSSocket } from 'node:tls'
import type { CertificateChain, PeerCertificates } from '../core/peer-certificates.ts'
import { type Authorities, isIssuedBy } from '../core/revocation-authorities.ts'
import { readCertificates } from '../core/revocation-input.ts'
import { readSessionDER } from './session-der.ts'
import type { ShownSession } from './shown-session.ts'

/** The certificates of the peer of a TLS socket. */
export class TLSPeerCertificates implements PeerCertificates {
  readonly #socket: TLSSocket
  readonly #shown: ShownSession
  readonly #ca: unknown

  /** `ca` is the option with which the connection was made. Undefined for the root certificates of Node. */
  constructor(socket: TLSSocket, shown: ShownSession, ca: unknown) {
    this.#socket = socket
    this.#shown = shown
    this.#ca = ca
  }

  accepted(): CertificateChain {
    const peer = this.#shown.method('getPeerCertificate', [true])
    return chainOf(peer, () => this.#shown.method('getSession', []) as Buffer | undefined)
  }

  completed(): CertificateChain {
    return chainOf(this.#socket.getPeerCertificate(true), () => this.#socket.getSession())
  }

  /** The peer's issuers are trusted if its certificate was verified: no other key can have signed that. */
  authorities(beside: CertificateChain): Authorities {
    const trusted = [...trustedBy(this.#ca)]
    const chain = this.#shown.property('authorized') === true ? this.accepted() : []
    for (const [index, certificate] of chain.entries()) {
      const issuer = chain[index + 1]
      if (issuer === undefined || !isIssuedBy(certificate, issuer)) break
      trusted.push(issuer)
    }
    return { trusted, others: beside }
  }
}

/** The source of Node's root certificates: `node:tls`. */
interface RootSource {
  /** Since Node 22.15. */
  getCACertificates?(type: 'default'): readonly string[]
  readonly rootCertificates: readonly string[]
}

/** The authorities that a connection with this option `ca` trusts. */
export function trustedBy(ca: unknown, { getCACertificates, rootCertificates }: RootSource = tls): X509Certificate[] {
  return readCertificates(ca || (getCACertificates?.('default') ?? rootCertificates))
}

/**
 * The authorities of a server, by the options that Node keeps of it, also after setSecureContext(). Its own chain (`cert`)
 * may have the certificate of an authority in between.
 */
export function serverAuthorities(server: object, beside: CertificateChain): Authorities {
  const { ca, cert } = server as { ca?: unknown; cert?: unknown }
  return { trusted: trustedBy(ca), others: [...beside, ...readCertificates(cert)] }
}

/** The peer of a server that is about to get a stream. */
export function peerChain(socket: TLSSocket): CertificateChain {
  return chainOf(socket.getPeerCertificate(true), () => socket.getSession())
}

/** What `getPeerCertificate(true)` returns. */
interface Detailed {
  readonly raw?: Buffer
  readonly issuerCertificate?: Detailed
}

/**
 * The certificates in the result of `getPeerCertificate(true)`. On a client that has resumed a session, that is empty; the
 * session itself has the certificate then.
 */
function chainOf(peer: unknown, session: () => Buffer | undefined): CertificateChain {
  const chain: X509Certificate[] = []
  const seen = new Set<Detailed>()
  for (let next = peer as Detailed | null | undefined; next?.raw && !seen.has(next); next = next.issuerCertificate) {
    seen.add(next)
    chain.push(new X509Certificate(next.raw))
  }
  if (chain.length > 0) return chain
  const { peerCertificate } = readSessionDER(session())
  return peerCertificate === undefined ? [] : [new X509Certificate(peerCertificate)]
}
