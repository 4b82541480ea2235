/* What an end proves its own identity with: certificates and private keys. */
import { withCode } from '../core/errors.ts'
import { listOf, mustBeString, mustBeText } from './argument.ts'
import type { OpenSSL } from './binding.ts'
import * as c from './constants.ts'
import { addressIn, elementsOf } from './encoded.ts'
import type { Pointer } from './ffi-types.ts'
import { opensslError } from './openssl-error.ts'
import { bytesOf, EMPTY_PASSPHRASE, freeCertificates, isText, readCertificates, type Text, withBio } from './pem.ts'
import { mustSucceed } from './succeed.ts'
import { addAuthorities } from './trust.ts'

/** A private key with its own passphrase, as an element of the option `key`. */
export interface KeyWithPassphrase {
  pem: Text
  passphrase?: string | undefined
}

/** A PKCS#12 file with its own passphrase, as an element of the option `pfx`. */
export interface PFXWithPassphrase {
  buf: Text
  passphrase?: string | undefined
}

/** Sets certificate chains. Each is a PEM text: the certificate of this end, then those of its issuers. */
export function useCertificates(openssl: OpenSSL, context: Pointer, cert: unknown): void {
  for (const text of listOf(cert)) {
    mustBeText('options.cert', text)
    openssl.ERR_clear_error()
    const chain = readCertificates(openssl, text)
    try {
      // Reading ends with an error, which is the right one only if nothing but the end of the text was left.
      const isComplete = openssl.ERR_reason_error_string(openssl.ERR_peek_last_error()) === 'no start line'
      if (chain[0] === undefined || !isComplete) throw opensslError(openssl)
      openssl.ERR_clear_error()
      if (!useChain(openssl, context, chain[0], chain.slice(1))) throw opensslError(openssl)
    } finally {
      freeCertificates(openssl, chain)
    }
  }
}

/** Sets private keys. They must come after the certificates: OpenSSL then checks that they belong together. */
export function usePrivateKeys(openssl: OpenSSL, context: Pointer, key: unknown, passphrase: unknown): void {
  // Only an array may contain objects.
  if (!Array.isArray(key)) {
    usePrivateKey(openssl, context, key, passphrase)
    return
  }
  for (const entry of key as (KeyWithPassphrase | null)[]) {
    usePrivateKey(openssl, context, entry?.pem ?? entry, entry?.passphrase ?? passphrase)
  }
}

/** Sets certificates and keys out of PKCS#12 files. As in Node, the issuers in them are trusted from then on. */
export function usePFX(openssl: OpenSSL, context: Pointer, pfx: unknown, passphrase: unknown): void {
  if (!Array.isArray(pfx)) {
    addAuthorities(openssl, context, usePFXFile(openssl, context, pfx, passphrase))
    return
  }
  for (const entry of pfx as Partial<PFXWithPassphrase>[]) {
    const issuers = usePFXFile(openssl, context, entry.buf ?? entry, entry.passphrase || passphrase)
    addAuthorities(openssl, context, issuers)
  }
}

function useChain(openssl: OpenSSL, context: Pointer, leaf: Pointer | null, issuers: readonly Pointer[]): boolean {
  if (openssl.SSL_CTX_use_certificate(context, leaf) !== 1) return false
  if (openssl.SSL_CTX_ctrl(context, c.SSL_CTRL_CHAIN, 0, null) !== 1) return false
  // SSL_CTX_add1_chain_cert(): takes a reference of its own.
  return issuers.every((issuer) => openssl.SSL_CTX_ctrl(context, c.SSL_CTRL_CHAIN_CERT, 1, issuer) === 1)
}

function usePrivateKey(openssl: OpenSSL, context: Pointer, pem: unknown, passphrase: unknown): void {
  mustBeText('options.key', pem)
  if (passphrase !== undefined && passphrase !== null) mustBeString('options.passphrase', passphrase)
  openssl.ERR_clear_error()
  const secret = passphrase ? Buffer.from(`${passphrase}\0`) : EMPTY_PASSPHRASE
  const key = withBio(openssl, pem, (bio) => openssl.PEM_read_bio_PrivateKey(bio, null, null, secret))
  if (key === null) throw opensslError(openssl)
  try {
    mustSucceed(openssl, openssl.SSL_CTX_use_PrivateKey(context, key))
  } finally {
    openssl.EVP_PKEY_free(key)
  }
}

/** Returns the issuers in the file. The caller frees them. */
function usePFXFile(openssl: OpenSSL, context: Pointer, file: unknown, passphrase: unknown): Pointer[] {
  if (!isText(file)) throw operationFailed('Unable to load PFX certificate')
  openssl.ERR_clear_error()
  const pkcs12 = withBio(openssl, file, (bio) => openssl.d2i_PKCS12_bio(bio, null))
  if (pkcs12 === null) throw pfxError(openssl)
  const [key, certificate, others] = [new BigUint64Array(1), new BigUint64Array(1), new BigUint64Array(1)]
  const secret = passphrase ? bytesOf(passphrase as Text).toString() : null
  const isParsed = openssl.PKCS12_parse(pkcs12, secret, key, certificate, others) === 1
  openssl.PKCS12_free(pkcs12)
  if (!isParsed) throw pfxError(openssl)
  // Frees the stack, but not the certificates.
  const issuers = elementsOf(openssl, addressIn(others))
  openssl.OPENSSL_sk_free(addressIn(others))
  try {
    if (addressIn(key) === null) throw operationFailed('Unable to load private key from PFX data')
    if (addressIn(certificate) === null) throw operationFailed('Unable to load certificate from PFX data')
    if (!useChain(openssl, context, addressIn(certificate), issuers)) throw pfxError(openssl)
    if (openssl.SSL_CTX_use_PrivateKey(context, addressIn(key)) !== 1) throw pfxError(openssl)
  } catch (error) {
    freeCertificates(openssl, issuers)
    throw error
  } finally {
    openssl.EVP_PKEY_free(addressIn(key))
    openssl.X509_free(addressIn(certificate))
  }
  return issuers
}

/** The error of Node for a PKCS#12 file that OpenSSL cannot use. It has no code unless the encryption is too old. */
function pfxError(openssl: OpenSSL): Error {
  const { reason = 'Unknown error' } = opensslError(openssl)
  if (reason !== 'unsupported') return new Error(reason)
  return withCode(new Error('Unsupported PKCS12 PFX data'), 'ERR_CRYPTO_UNSUPPORTED_OPERATION')
}

function operationFailed(message: string): Error {
  return withCode(new Error(message), 'ERR_CRYPTO_OPERATION_FAILED')
}
