/* Certificates of the peer: when they are requested, and what their verification has found. */

import type { OpenSSL } from './binding.ts'
import { callbacks } from './callbacks.ts'
import * as c from './constants.ts'
import type { Pointer } from './ffi-types.ts'
import { oncePerLibrary } from './once-per-library.ts'

/** What a server asks of its clients. On a client, the server's certificate always comes. */
export interface VerifyOptions {
  requestCert?: boolean | undefined
  rejectUnauthorized?: boolean | undefined
}

/** The names that Node has for errors of a verification, by their numbers in OpenSSL. */
const codes: Readonly<Record<number, string>> = {
  2: 'UNABLE_TO_GET_ISSUER_CERT',
  3: 'UNABLE_TO_GET_CRL',
  4: 'UNABLE_TO_DECRYPT_CERT_SIGNATURE',
  5: 'UNABLE_TO_DECRYPT_CRL_SIGNATURE',
  6: 'UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY',
  7: 'CERT_SIGNATURE_FAILURE',
  8: 'CRL_SIGNATURE_FAILURE',
  9: 'CERT_NOT_YET_VALID',
  10: 'CERT_HAS_EXPIRED',
  11: 'CRL_NOT_YET_VALID',
  12: 'CRL_HAS_EXPIRED',
  13: 'ERROR_IN_CERT_NOT_BEFORE_FIELD',
  14: 'ERROR_IN_CERT_NOT_AFTER_FIELD',
  15: 'ERROR_IN_CRL_LAST_UPDATE_FIELD',
  16: 'ERROR_IN_CRL_NEXT_UPDATE_FIELD',
  17: 'OUT_OF_MEM',
  18: 'DEPTH_ZERO_SELF_SIGNED_CERT',
  19: 'SELF_SIGNED_CERT_IN_CHAIN',
  20: 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  21: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  22: 'CERT_CHAIN_TOO_LONG',
  23: 'CERT_REVOKED',
  25: 'PATH_LENGTH_EXCEEDED',
  26: 'INVALID_PURPOSE',
  27: 'CERT_UNTRUSTED',
  28: 'CERT_REJECTED',
  62: 'HOSTNAME_MISMATCH',
  79: 'INVALID_CA',
}

/** NID_auth_psk: the peer proved a pre-shared key. */
const NID_auth_psk = 1048

/**
 * The verify callback of Node: it accepts every certificate, so that each handshake completes. The caller then judges
 * by {@link verifyError}. A chain is verified to its end, and the last error counts.
 */
export const acceptEveryCertificate = oncePerLibrary((openssl) =>
  // It throws nothing, so there is no error to handle either.
  openssl.callback(callbacks.verify, accept, accept),
)

/**
 * The mode for SSL_set_verify() on a server. A client needs none: its server's certificate is verified in any case.
 *
 * With both options, OpenSSL itself refuses a client without a certificate. The client then gets an alert that says so.
 */
export function verifyMode({ requestCert = false, rejectUnauthorized = true }: VerifyOptions): number {
  if (!requestCert) return c.SSL_VERIFY_NONE
  return c.SSL_VERIFY_PEER | (rejectUnauthorized ? c.SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0)
}

/**
 * What is wrong with the certificate of the peer, as Node reports it: an Error with OpenSSL's message and a `code`. Null
 * if it was verified. The host name is not checked.
 *
 * A peer without a certificate is an error too, unless it proved a pre-shared key or its session of TLS 1.3 was resumed.
 */
export function verifyError(openssl: OpenSSL, ssl: Pointer): NodeJS.ErrnoException | null {
  const result = verifyResult(openssl, ssl)
  if (result === c.X509_V_OK) return null
  return Object.assign(new Error(verifyErrorMessage(openssl, result)), { code: verifyErrorCode(result) })
}

/** The code that Node has for an error of a verification. UNSPECIFIED if it has none. */
export function verifyErrorCode(result: number): string {
  return codes[result] ?? 'UNSPECIFIED'
}

/** OpenSSL's message for an error of a verification. */
export function verifyErrorMessage(openssl: OpenSSL, result: number): string {
  return openssl.X509_verify_cert_error_string(result) as string
}

function verifyResult(openssl: OpenSSL, ssl: Pointer): number {
  if (openssl.SSL_get0_peer_certificate(ssl) !== null) return openssl.SSL_get_verify_result(ssl)
  const cipher = openssl.SSL_get_current_cipher(ssl)
  if (cipher !== null && openssl.SSL_CIPHER_get_auth_nid(cipher) === NID_auth_psk) return c.X509_V_OK
  const isResumed = openssl.SSL_version(ssl) === c.TLS1_3_VERSION && openssl.SSL_session_reused(ssl) === 1
  return isResumed ? c.X509_V_OK : c.X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT
}

function accept(): number {
  return 1
}
