/* What a transport must know so that the certificates of the peer can be judged by revocation lists. */
import type { X509Certificate } from 'node:crypto'
import type { Authorities } from './revocation-authorities.ts'

/** The certificates of the peer, its own first, then its issuers as far as they are known. Empty if it has none. */
export type CertificateChain = readonly X509Certificate[]

/** What a transport over TLS knows of certificates. */
export interface PeerCertificates {
  /** Those of the last handshake that was accepted, whatever handshake is in progress. */
  accepted(): CertificateChain
  /** Those of the handshake that was just completed, before it is accepted. */
  completed(): CertificateChain
  /** The authorities whose revocation lists count. `beside` are certificates that came with the list. */
  authorities(beside: CertificateChain): Authorities
}
