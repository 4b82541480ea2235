/* Whom an end trusts: certificate authorities and revocation lists. */
import { readFileSync } from 'node:fs'
import tls from 'node:tls'
import { withCode } from '../core/errors.ts'
import { listOf, mustBeText } from './argument.ts'
import type { OpenSSL } from './binding.ts'
import * as c from './constants.ts'
import type { Pointer } from './ffi-types.ts'
import { EMPTY_PASSPHRASE, freeCertificates, readCertificates, withBio } from './pem.ts'
import { mustExist, mustSucceed } from './succeed.ts'

/** The root certificates of Node, parsed. */
interface Roots {
  /** The texts, by which a later change by `tls.setDefaultCACertificates()` is noticed. */
  readonly texts: readonly string[]
  readonly certificates: readonly Pointer[]
  /** All of them. Contexts share it, so nothing may be added to it. */
  readonly store: Pointer
}

/** Where the root certificates of Node are: `node:tls`. */
export interface RootSource {
  /** Since Node 22.15. It returns the same array until the default changes. */
  getCACertificates?(type: 'default'): readonly string[]
  readonly rootCertificates: readonly string[]
}

const rootsOf = new WeakMap<OpenSSL, Roots>()

/**
 * Trusts the root certificates of Node: those of `tls.getCACertificates('default')`. On releases without that function
 * `tls.rootCertificates`, and the file in NODE_EXTRA_CA_CERTS.
 *
 * Parsing takes some milliseconds, so it is done once, and all contexts share the result.
 */
export function trustRoots(openssl: OpenSSL, context: Pointer, source: RootSource = tls): void {
  openssl.SSL_CTX_set1_cert_store(context, roots(openssl, source).store)
}

/** Trusts the certificates of PEM texts, and names them to clients when a server requests a certificate. */
export function trustAuthorities(openssl: OpenSSL, context: Pointer, ca: unknown): void {
  for (const text of listOf(ca)) {
    mustBeText('options.ca', text)
    addAuthorities(openssl, context, readCertificates(openssl, text))
  }
  // Node ignores a text without any certificate. Nobody is trusted because of it.
  openssl.ERR_clear_error()
}

/** The same for certificates that are parsed already. They are freed. */
export function addAuthorities(openssl: OpenSSL, context: Pointer, certificates: readonly Pointer[]): void {
  try {
    for (const certificate of certificates) {
      mustSucceed(openssl, openssl.X509_STORE_add_cert(ownStore(openssl, context), certificate))
      mustSucceed(openssl, openssl.SSL_CTX_add_client_CA(context, certificate))
    }
  } finally {
    freeCertificates(openssl, certificates)
  }
}

/** Adds revocation lists, one in each PEM text. Every certificate of a chain is then checked against a list. */
export function useRevocationLists(openssl: OpenSSL, context: Pointer, crl: unknown): void {
  for (const text of listOf(crl)) {
    mustBeText('options.crl', text)
    const list = withBio(openssl, text, (bio) => openssl.PEM_read_bio_X509_CRL(bio, null, null, EMPTY_PASSPHRASE))
    openssl.ERR_clear_error()
    if (list === null) throw withCode(new Error('Failed to parse CRL'), 'ERR_CRYPTO_OPERATION_FAILED')
    const store = ownStore(openssl, context)
    const added = openssl.X509_STORE_add_crl(store, list)
    openssl.X509_CRL_free(list)
    mustSucceed(openssl, added)
    const flags = c.X509_V_FLAG_CRL_CHECK | c.X509_V_FLAG_CRL_CHECK_ALL
    mustSucceed(openssl, openssl.X509_STORE_set_flags(store, flags))
  }
}

/** Ends a chain at any trusted certificate, not only at a root. */
export function allowPartialChains(openssl: OpenSSL, context: Pointer): void {
  mustSucceed(openssl, openssl.X509_STORE_set_flags(ownStore(openssl, context), c.X509_V_FLAG_PARTIAL_CHAIN))
}

/** The store of a context. If it is the shared one, it gets a copy of its own first. */
function ownStore(openssl: OpenSSL, context: Pointer): Pointer {
  const store = mustExist(openssl, openssl.SSL_CTX_get_cert_store(context))
  const shared = rootsOf.get(openssl)
  if (store !== shared?.store) return store
  const own = newStore(openssl, shared.certificates)
  // From now on the store belongs to the context.
  openssl.SSL_CTX_set_cert_store(context, own)
  return own
}

function roots(openssl: OpenSSL, source: RootSource): Roots {
  const known = rootsOf.get(openssl)
  const texts = source.getCACertificates?.('default') ?? source.rootCertificates
  if (known?.texts === texts) return known
  if (known !== undefined) {
    // Contexts that use it have references of their own.
    rootsOf.delete(openssl)
    openssl.X509_STORE_free(known.store)
    freeCertificates(openssl, known.certificates)
  }
  const all = source.getCACertificates === undefined ? [...texts, ...extraTexts()] : texts
  const certificates = all.flatMap((text) => readCertificates(openssl, text))
  openssl.ERR_clear_error()
  try {
    const fresh = { texts, certificates, store: newStore(openssl, certificates) }
    rootsOf.set(openssl, fresh)
    return fresh
  } catch (error) {
    freeCertificates(openssl, certificates)
    throw error
  }
}

function newStore(openssl: OpenSSL, certificates: readonly Pointer[]): Pointer {
  const store = mustExist(openssl, openssl.X509_STORE_new())
  try {
    for (const certificate of certificates) mustSucceed(openssl, openssl.X509_STORE_add_cert(store, certificate))
    return store
  } catch (error) {
    openssl.X509_STORE_free(store)
    throw error
  }
}

/** The file in NODE_EXTRA_CA_CERTS. Node itself has warned if it cannot be read. */
function extraTexts(): string[] {
  const file = process.env['NODE_EXTRA_CA_CERTS']
  if (!file) return []
  try {
    return [readFileSync(file, 'utf8')]
  } catch {
    return []
  }
}
