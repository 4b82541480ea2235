/* Whose revocation lists count: the authorities that this end trusts. */
import { createHash, type X509Certificate } from 'node:crypto'
import { listError } from './errors.ts'
import type { RevocationList } from './revocation-list.ts'

/** The certificates among which the authority of a list is looked for. */
export interface Authorities {
  /** Those that this end trusts. */
  readonly trusted: readonly X509Certificate[]
  /** Those that count if a trusted one has issued them, directly or not. */
  readonly others: readonly X509Certificate[]
}

/** All authorities that count: the trusted ones, and those of the others that one of these has issued. */
export function authoritiesThatCount({ trusted, others }: Authorities): X509Certificate[] {
  const all = [...trusted]
  const known = new Set(all.map(({ fingerprint256 }) => fingerprint256))
  // The array grows meanwhile.
  for (const authority of all) {
    for (const other of others) {
      if (!other.ca || known.has(other.fingerprint256) || !isIssuedBy(other, authority)) continue
      known.add(other.fingerprint256)
      all.push(other)
    }
  }
  return all
}

/**
 * Returns the authorities that have signed the list. There may be several certificates of one authority.
 *
 * The signature decides. So it does not matter if the authority writes its name in another encoding in its lists.
 *
 * @throws Error with the code ERR_CRL_BAD_SIGNATURE or ERR_CRL_UNKNOWN_ISSUER if there is none.
 */
export function signersOf(list: RevocationList, authorities: readonly X509Certificate[]): X509Certificate[] {
  const named = authorities.filter(({ raw }) => raw.includes(list.issuer))
  const signers = authorities.filter((authority) => list.isSignedBy(authority))
  if (signers.length > 0) return signers
  throw named.length > 0
    ? listError('ERR_CRL_BAD_SIGNATURE', 'The signature of the revocation list is not that of its authority')
    : listError('ERR_CRL_UNKNOWN_ISSUER', 'The revocation list is not of an authority that this end trusts')
}

/** The name of an authority, so that two spellings of it are equal (RFC 5280, 7.1). */
export function nameOf(name: string | undefined): string {
  return (name ?? '').toLowerCase().replace(/ +/g, ' ')
}

/** Identifies the key of an authority. */
export function keyOf({ publicKey }: X509Certificate): string {
  const der = publicKey.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(der).digest('hex')
}

/** Whether the key of `issuer` has signed `certificate`, and the names fit. */
export function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  try {
    return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)
  } catch {
    // A key of another kind than the signature.
    return false
  }
}
