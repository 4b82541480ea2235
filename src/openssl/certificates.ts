/* Certificates of a connection in the forms that Node has for them. */
import { X509Certificate } from 'node:crypto'
import type { DetailedPeerCertificate } from 'node:tls'
import type { OpenSSL } from './binding.ts'
import * as c from './constants.ts'
import { addressIn, elementsOf, encoded } from './encoded.ts'
import type { Pointer } from './ffi-types.ts'
import { mustExist } from './succeed.ts'

/**
 * The certificates that the peer has sent, its own first. They belong to the SSL.
 *
 * As in Node, a client whose session was resumed from an earlier connection has none.
 */
export function peerChain(openssl: OpenSSL, ssl: Pointer): Pointer[] {
  const chain = elementsOf(openssl, openssl.SSL_get_peer_cert_chain(ssl))
  // On a server, the chain has only the issuers.
  const own = openssl.SSL_is_server(ssl) === 1 ? openssl.SSL_get0_peer_certificate(ssl) : null
  return own === null ? chain : [own, ...chain]
}

/** A certificate as `getCertificate()` and `getPeerCertificate()` of Node return it. */
export function legacyObject(openssl: OpenSSL, certificate: Pointer): DetailedPeerCertificate {
  return parsed(openssl, certificate).toLegacyObject() as DetailedPeerCertificate
}

/**
 * The same for the first of a chain, with its issuers in `issuerCertificate`: those in the chain, then those that this
 * end trusts. A certificate that has issued itself is its own issuer.
 */
export function detailedObject(openssl: OpenSSL, ssl: Pointer, chain: readonly Pointer[]): DetailedPeerCertificate {
  const [first, ...others] = chain as [Pointer, ...Pointer[]]
  const object = legacyObject(openssl, first)
  let last = { certificate: first, object }
  const add = (issuer: Pointer) => {
    const issuerObject = legacyObject(openssl, issuer)
    last.object.issuerCertificate = issuerObject
    last = { certificate: issuer, object: issuerObject }
  }
  for (;;) {
    const place = others.findIndex((other) => isIssuer(openssl, other, last.certificate))
    if (place === -1) break
    add(others.splice(place, 1)[0] as Pointer)
  }
  const ownReferences: Pointer[] = []
  while (!isIssuer(openssl, last.certificate, last.certificate)) {
    const issuer = trustedIssuer(openssl, ssl, last.certificate)
    if (issuer === null) break
    // A root that is not allowed to sign certificates would go on for ever. As in Node, it comes twice.
    const isLast = ownReferences.includes(issuer)
    ownReferences.push(issuer)
    add(issuer)
    if (isLast) break
  }
  if (isIssuer(openssl, last.certificate, last.certificate)) last.object.issuerCertificate = last.object
  for (const reference of ownReferences) openssl.X509_free(reference)
  return object
}

/** A certificate in DER. */
export function inDER(openssl: OpenSSL, certificate: Pointer): Buffer {
  return mustExist(
    openssl,
    encoded(openssl, (out) => openssl.i2d_X509(certificate, out)),
  )
}

/** A certificate as an X509Certificate of Node. */
export function parsed(openssl: OpenSSL, certificate: Pointer): X509Certificate {
  return new X509Certificate(inDER(openssl, certificate))
}

/**
 * The first of a chain as an X509Certificate. Its `issuerCertificate` is the next one, as in Node: in the order in which
 * the peer has sent them, whether or not it is the issuer.
 */
export function parsedChain(openssl: OpenSSL, chain: readonly Pointer[]): X509Certificate | undefined {
  let next: X509Certificate | undefined
  for (const pointer of chain.toReversed()) {
    const issuerCertificate = next
    next = parsed(openssl, pointer)
    Object.defineProperty(next, 'issuerCertificate', { configurable: true, get: () => issuerCertificate })
  }
  return next
}

function isIssuer(openssl: OpenSSL, issuer: Pointer, certificate: Pointer): boolean {
  return openssl.X509_check_issued(issuer, certificate) === c.X509_V_OK
}

/** The issuer of a certificate among those that this end trusts. The caller frees it. */
function trustedIssuer(openssl: OpenSSL, ssl: Pointer, certificate: Pointer): Pointer | null {
  const store = openssl.SSL_CTX_get_cert_store(openssl.SSL_get_SSL_CTX(ssl))
  const lookup = mustExist(openssl, openssl.X509_STORE_CTX_new())
  const out = new BigUint64Array(1)
  // 1: found; the address is left as it is otherwise.
  const isReady = openssl.X509_STORE_CTX_init(lookup, store, null, null) === 1
  if (isReady) openssl.X509_STORE_CTX_get1_issuer(out, lookup, certificate)
  openssl.X509_STORE_CTX_free(lookup)
  openssl.ERR_clear_error()
  return addressIn(out)
}
