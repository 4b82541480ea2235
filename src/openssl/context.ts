/* Makes secure contexts: the counterpart of tls.createSecureContext() over OpenSSL. */
import { createHash } from 'node:crypto'
import tls, { type SecureContextOptions } from 'node:tls'
import { invalidValue, withCode } from '../core/errors.ts'
import { mustBeInteger, mustBeObject, mustBeString, mustBeText, wrongValue } from './argument.ts'
import type { OpenSSL } from './binding.ts'
import { splitCiphers } from './ciphers.ts'
import * as c from './constants.ts'
import { useCertificates, usePFX, usePrivateKeys } from './credentials.ts'
import type { Pointer } from './ffi-types.ts'
import { opensslError } from './openssl-error.ts'
import { mustBeSupported } from './options.ts'
import { withBio } from './pem.ts'
import { SecureContext } from './secure-context.ts'
import { reportClientHellos } from './ssl-events.ts'
import { mustExist, mustSucceed } from './succeed.ts'
import { setTicketKeys } from './ticket-keys.ts'
import { allowPartialChains, trustAuthorities, trustRoots, useRevocationLists } from './trust.ts'
import { acceptEveryCertificate, type VerifyOptions, verifyMode } from './verify.ts'

/** The options of a secure context, as those of `tls.createSecureContext()`. */
export interface ContextOptions
  extends Omit<
      SecureContextOptions,
      'clientCertEngine' | 'privateKeyEngine' | 'privateKeyIdentifier' | 'secureProtocol' | 'ALPNCallback'
    >,
    VerifyOptions {}

const versions: Readonly<Record<string, number>> = {
  TLSv1: c.TLS1_VERSION,
  'TLSv1.1': c.TLS1_1_VERSION,
  'TLSv1.2': c.TLS1_2_VERSION,
  'TLSv1.3': c.TLS1_3_VERSION,
}

/** Below that, DH is insecure, and below the second it is soon to be. Bits, as in Node. */
const MIN_DH_BITS = 1024
const GOOD_DH_BITS = 2048
/** EVP_PKEY_DHX, the id of DH parameters in the form of X9.42. */
const EVP_PKEY_DHX = 920

/**
 * Makes a secure context with the options, defaults and errors of `tls.createSecureContext()`.
 *
 * `requestCert` and `rejectUnauthorized` say how a server verifies its clients; see {@link verifyMode}.
 *
 * @throws TypeError with the code ERR_INVALID_ARG_TYPE or ERR_INVALID_ARG_VALUE for an option with a wrong value or one
 *   that is not supported. What OpenSSL refuses is the error of Node, for example with the code
 *   ERR_OSSL_PEM_NO_START_LINE for a certificate that is not in PEM.
 */
export function createSecureContext(openssl: OpenSSL, options: ContextOptions = {}): SecureContext {
  mustBeObject('options', options)
  mustBeSupported('context', options)
  const min = versionOf(options.minVersion, tls.DEFAULT_MIN_VERSION, 'minimum')
  const max = versionOf(options.maxVersion, tls.DEFAULT_MAX_VERSION, 'maximum')
  openssl.ERR_clear_error()
  const context = new SecureContext(openssl, mustExist(openssl, openssl.SSL_CTX_new(openssl.TLS_method())))
  try {
    setDefaults(openssl, context.pointer)
    reportClientHellos(openssl, context.pointer)
    setVersions(openssl, context.pointer, min, max)
    setOptions(openssl, context.pointer, options)
    // Ciphers come first: `@SECLEVEL=0` in them changes which certificates and keys OpenSSL accepts.
    setCiphers(openssl, context.pointer, options)
    // Authorities come before certificates, and keys after them, as in Node.
    if (options.ca) trustAuthorities(openssl, context.pointer, options.ca)
    else trustRoots(openssl, context.pointer)
    if (options.allowPartialTrustChain) allowPartialChains(openssl, context.pointer)
    if (options.cert) useCertificates(openssl, context.pointer, options.cert)
    if (options.key) usePrivateKeys(openssl, context.pointer, options.key, options.passphrase)
    setAlgorithms(openssl, context.pointer, options)
    if (present(options.dhparam)) setDHParameters(openssl, context.pointer, options.dhparam)
    if (present(options.crl)) useRevocationLists(openssl, context.pointer, options.crl)
    if (present(options.sessionIdContext)) setSessionIdContext(context, options.sessionIdContext)
    if (present(options.pfx)) usePFX(openssl, context.pointer, options.pfx, options.passphrase)
    setTicketKeys(context, options.ticketKeys ?? undefined)
    if (present(options.sessionTimeout)) setSessionTimeout(openssl, context.pointer, options.sessionTimeout)
    openssl.SSL_CTX_set_verify(context.pointer, verifyMode(options), acceptEveryCertificate(openssl))
  } catch (error) {
    context.free()
    throw error
  } finally {
    // Node's own TLS may share this queue, and would find our errors there.
    openssl.ERR_clear_error()
  }
  return context
}

/** Options that `tls.createServer()` takes for absent if they are falsy. */
const falsyIsAbsent = ['ciphers', 'crl', 'dhparam', 'maxVersion', 'minVersion', 'pfx', 'sessionTimeout'] as const

/** The options of a server, with the defaults of `tls.createServer()`. */
export function serverContextOptions(options: ContextOptions): ContextOptions {
  const { honorCipherOrder = true, sessionIdContext } = options
  // Servers of different programs must not resume each other's sessions.
  const own = () => createHash('sha1').update(process.argv.join(' ')).digest('hex').slice(0, 32)
  const all = { ...options, honorCipherOrder, sessionIdContext: sessionIdContext || own() }
  for (const name of falsyIsAbsent) if (!all[name]) delete all[name]
  return all
}

/** The settings that Node makes for every context. */
function setDefaults(openssl: OpenSSL, context: Pointer): void {
  openssl.SSL_CTX_set_options(context, c.SSL_OP_NO_SSLv2 | c.SSL_OP_NO_SSLv3)
  // Since OpenSSL 3.0, a server refuses its clients' renegotiations by default.
  openssl.SSL_CTX_set_options(context, c.SSL_OP_ALLOW_CLIENT_RENEGOTIATION)
  const cache = c.SSL_SESS_CACHE_BOTH | c.SSL_SESS_CACHE_NO_INTERNAL | c.SSL_SESS_CACHE_NO_AUTO_CLEAR
  openssl.SSL_CTX_ctrl(context, c.SSL_CTRL_SET_SESS_CACHE_MODE, cache, null)
}

function versionOf(version: unknown, byDefault: string, which: string): number {
  const name = version ?? byDefault
  const number = typeof name === 'string' && Object.hasOwn(versions, name) ? versions[name] : undefined
  if (number !== undefined) return number
  const quoted = typeof name === 'string' ? `"${name}"` : String(name)
  const message = `${quoted} is not a valid ${which} TLS protocol version`
  throw withCode(new TypeError(message), 'ERR_TLS_INVALID_PROTOCOL_VERSION')
}

function setVersions(openssl: OpenSSL, context: Pointer, min: number, max: number): void {
  // As Node does, a minimum above the maximum is accepted here. No handshake succeeds then.
  mustSucceed(openssl, openssl.SSL_CTX_ctrl(context, c.SSL_CTRL_SET_MIN_PROTO_VERSION, min, null))
  mustSucceed(openssl, openssl.SSL_CTX_ctrl(context, c.SSL_CTRL_SET_MAX_PROTO_VERSION, max, null))
}

function setOptions(openssl: OpenSSL, context: Pointer, { secureOptions, honorCipherOrder }: ContextOptions): void {
  if (secureOptions) {
    mustBeInteger('secureOptions', secureOptions)
    openssl.SSL_CTX_set_options(context, secureOptions < 0 ? secureOptions >>> 0 : secureOptions)
  }
  if (honorCipherOrder) openssl.SSL_CTX_set_options(context, c.SSL_OP_CIPHER_SERVER_PREFERENCE)
}

function setCiphers(openssl: OpenSSL, context: Pointer, { ciphers }: ContextOptions): void {
  if (present(ciphers)) mustBeString('options.ciphers', ciphers)
  const { list, suites } = splitCiphers(ciphers)
  if (suites !== '') mustSucceed(openssl, openssl.SSL_CTX_set_ciphersuites(context, suites))
  // An empty list leaves only TLS 1.3. OpenSSL empties it, and yet reports an error.
  const result = openssl.SSL_CTX_set_cipher_list(context, list)
  if (list !== '') {
    mustSucceed(openssl, result)
    return
  }
  openssl.ERR_clear_error()
  const min = openssl.SSL_CTX_ctrl(context, c.SSL_CTRL_GET_MIN_PROTO_VERSION, 0, null)
  const max = openssl.SSL_CTX_ctrl(context, c.SSL_CTRL_GET_MAX_PROTO_VERSION, 0, null)
  if (min < c.TLS1_3_VERSION && max > c.TLS1_2_VERSION) setVersions(openssl, context, c.TLS1_3_VERSION, max)
}

function setAlgorithms(openssl: OpenSSL, context: Pointer, options: ContextOptions): void {
  const { sigalgs, ecdhCurve = tls.DEFAULT_ECDH_CURVE || 'auto' } = options
  if (present(sigalgs)) {
    mustBeString('options.sigalgs', sigalgs)
    if (sigalgs === '') throw wrongValue('options.sigalgs', sigalgs)
    if (setString(openssl, context, c.SSL_CTRL_SET_SIGALGS_LIST, sigalgs) !== 1) {
      throw opensslError(openssl, 'Failed to set signature algorithms')
    }
  }
  mustBeString('options.ecdhCurve', ecdhCurve)
  if (ecdhCurve === 'auto') return
  if (setString(openssl, context, c.SSL_CTRL_SET_GROUPS_LIST, ecdhCurve) !== 1) {
    throw withCode(new Error('Failed to set ECDH curve'), 'ERR_CRYPTO_OPERATION_FAILED')
  }
}

function setString(openssl: OpenSSL, context: Pointer, command: number, text: string): number {
  return openssl.SSL_CTX_ctrl(context, command, 0, Buffer.from(`${text}\0`))
}

function setDHParameters(openssl: OpenSSL, context: Pointer, dhparam: unknown): void {
  mustBeText('options.dhparam', dhparam)
  if (dhparam === 'auto') {
    mustSucceed(openssl, openssl.SSL_CTX_ctrl(context, c.SSL_CTRL_SET_DH_AUTO, 1, null))
    return
  }
  const parameters = withBio(openssl, dhparam, (bio) => openssl.PEM_read_bio_Parameters(bio, null))
  // As documented by Node: without valid parameters there are no ciphers with DHE.
  if (parameters === null) return
  let isOurs = true
  try {
    if (![c.EVP_PKEY_DH, EVP_PKEY_DHX].includes(openssl.EVP_PKEY_get_base_id(parameters))) return
    const bits = openssl.EVP_PKEY_get_bits(parameters)
    if (bits < MIN_DH_BITS) throw invalidValue('DH parameter is less than 1024 bits')
    if (bits < GOOD_DH_BITS) process.emitWarning('DH parameter is less than 2048 bits', 'SecurityWarning')
    isOurs = openssl.SSL_CTX_set0_tmp_dh_pkey(context, parameters) !== 1
    if (isOurs) throw withCode(new Error('Error setting temp DH parameter'), 'ERR_CRYPTO_OPERATION_FAILED')
  } finally {
    if (isOurs) openssl.EVP_PKEY_free(parameters)
  }
}

function setSessionIdContext(context: SecureContext, value: unknown): void {
  mustBeString('options.sessionIdContext', value)
  const { openssl, pointer } = context
  const bytes = Buffer.from(value)
  if (openssl.SSL_CTX_set_session_id_context(pointer, bytes, bytes.length) !== 1) {
    throw new TypeError(opensslError(openssl).message)
  }
  context.sessionIdContext = value
}

function setSessionTimeout(openssl: OpenSSL, context: Pointer, seconds: unknown): void {
  mustBeInteger('options.sessionTimeout', seconds, 0, 2 ** 31 - 1)
  openssl.SSL_CTX_set_timeout(context, seconds)
}

/** Node accepts null wherever an option may be absent. */
function present<T>(value: T): value is NonNullable<T> {
  return value !== undefined && value !== null
}
