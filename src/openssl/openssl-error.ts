import type { OpenSSL } from './binding.ts'

/** An error of OpenSSL in the form that Node.js gives it. */
export interface OpenSSLError extends Error {
  /** For example `ERR_SSL_UNEXPECTED_EOF_WHILE_READING`. Without a reason, `ERR_CRYPTO_OPERATION_FAILED`. */
  code: string
  /** For example `SSL routines`. */
  library?: string
  /** For example `unexpected eof while reading`. */
  reason?: string
  /** What OpenSSL reported after the error in the message, the last one first. */
  opensslErrorStack?: string[]
}

const NO_REASON = 'OpenSSL failed and did not say why'

/** ThrowCryptoError() in src/crypto/crypto_util.cc of Node.js cuts a message to this many bytes, with its NUL. */
const MESSAGE_BYTES = 128
/** CryptoErrorStore::Capture() does so with what goes to the stack. */
const STACK_BYTES = 256

/**
 * The error of a function that failed. Takes all errors out of the queue of this thread.
 *
 * Node.js forms the errors of `tls.createSecureContext()` in this way: `error:0A0000B9:SSL routines::no cipher match`.
 * As there, the message is that of the first error in the queue, which is the one closest to the cause.
 *
 * @param fallback the message if the queue is empty.
 */
export function opensslError(openssl: OpenSSL, fallback = NO_REASON): OpenSSLError {
  const number = openssl.ERR_get_error()
  const error = new Error(number === 0 ? fallback : textOf(openssl, number, MESSAGE_BYTES))
  const stack: string[] = []
  for (let next = openssl.ERR_get_error(); next !== 0; next = openssl.ERR_get_error()) {
    stack.unshift(textOf(openssl, next, STACK_BYTES))
  }
  if (stack.length > 0) Object.assign(error, { opensslErrorStack: stack })
  return describe(error, openssl, number, prefixOf(number))
}

/**
 * The error of a connection, after SSL_get_error(3) returned SSL_ERROR_SSL or SSL_ERROR_SYSCALL. Takes all errors out of
 * the queue of this thread.
 *
 * Node.js forms the errors of a TLSSocket in this way. The message is what ERR_print_errors(3) prints of the last error
 * in the queue, and ends with a line feed. The code is that of the first, and always begins with `ERR_SSL_`.
 *
 * @param fallback the message if the queue is empty.
 */
export function connectionError(openssl: OpenSSL, fallback = NO_REASON): OpenSSLError {
  const number = openssl.ERR_peek_error()
  const message = number === 0 ? fallback : printed(openssl).at(-1)
  return describe(new Error(message), openssl, number, 'ERR_SSL_')
}

/** The error for received bytes that are not TLS, if OpenSSL waits for more of them. Its code is that of OpenSSL. */
export function notTLS(): Error {
  return Object.assign(new Error('What was received is not TLS'), { code: 'ERR_SSL_WRONG_VERSION_NUMBER' })
}

/** The error of a connection whose peer has left in the first handshake, as that of Node.js. */
export function endedInHandshake(isServer: boolean): Error {
  const onClient = 'Client network socket disconnected before secure TLS connection was established'
  return Object.assign(new Error(isServer ? 'socket hang up' : onClient), { code: 'ECONNRESET' })
}

/** Sets `library`, `reason` and `code`. Node.js forms the code from the reason, because OpenSSL has no name for it. */
function describe(error: Error, openssl: OpenSSL, number: number, prefix: string): OpenSSLError {
  const library = openssl.ERR_lib_error_string(number)
  const reason = openssl.ERR_reason_error_string(number)
  const code = reason === null ? 'ERR_CRYPTO_OPERATION_FAILED' : prefix + reason.toUpperCase().replaceAll(' ', '_')
  return Object.assign(error, library !== null && { library }, reason !== null && { reason }, { code })
}

/** What ERR_error_string_n(3) makes of an error, in at most this many bytes. */
function textOf(openssl: OpenSSL, number: number, bytes: number): string {
  const text = Buffer.alloc(bytes)
  openssl.ERR_error_string_n(number, text, bytes)
  return text.toString('utf8', 0, text.indexOf(0))
}

/** What ERR_print_errors(3) prints of each error in the queue. It also empties the queue. */
function printed(openssl: OpenSSL): string[] {
  const bio = openssl.BIO_new(openssl.BIO_s_mem())
  openssl.ERR_print_errors(bio)
  const text = Buffer.alloc(openssl.BIO_ctrl_pending(bio))
  openssl.BIO_read(bio, text, text.length)
  openssl.BIO_free(bio)
  return text.toString('latin1').split(/(?<=\n)(?=[\dA-F]+:error:[\dA-F]{8}:)/)
}

/** How the code of an error begins, by the library that ERR_GET_LIB(3) tells. */
function prefixOf(number: number): string {
  const isOfSystem = number > 0x7fffffff
  const library = libraries[isOfSystem ? 2 : (number >>> 23) & 0xff]
  if (library === 'SSL') return 'ERR_SSL_'
  return library === undefined ? 'ERR_OSSL_' : `ERR_OSSL_${library}_`
}

/** ERR_LIB_* of err.h, those of which Node.js puts the name into the code. */
const libraries: Readonly<Record<number, string>> = {
  2: 'SYS',
  3: 'BN',
  4: 'RSA',
  5: 'DH',
  6: 'EVP',
  7: 'BUF',
  8: 'OBJ',
  9: 'PEM',
  10: 'DSA',
  11: 'X509',
  13: 'ASN1',
  14: 'CONF',
  15: 'CRYPTO',
  16: 'EC',
  20: 'SSL',
  32: 'BIO',
  33: 'PKCS7',
  34: 'X509V3',
  35: 'PKCS12',
  36: 'RAND',
  37: 'DSO',
  38: 'ENGINE',
  39: 'OCSP',
  40: 'UI',
  41: 'COMP',
  42: 'ECDSA',
  43: 'ECDH',
  44: 'OSSL_STORE',
  45: 'FIPS',
  46: 'CMS',
  47: 'TS',
  48: 'HMAC',
  50: 'CT',
  51: 'ASYNC',
  52: 'KDF',
  53: 'SM2',
  128: 'USER',
}
