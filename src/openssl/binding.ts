// Node.js initializes its OpenSSL, with its own settings, when this module is first loaded.
import 'node:crypto'
import { OPENSSL_VERSION } from './constants.ts'
import type { ForeignFunctions, ForeignLibrary, Memory } from './ffi-types.ts'
import { functions, type OpenSSLFunctions } from './functions.ts'

/** The functions of OpenSSL under their own names, and access to memory outside JavaScript. */
export type OpenSSL = OpenSSLFunctions &
  Memory & {
    /** For example `OpenSSL 3.5.2 5 Aug 2025`. */
    readonly version: string
    /** Where it was found: the file name of libssl, or `process` for the OpenSSL that Node.js uses itself. */
    readonly origin: string
    /** What calls it. */
    readonly ffi: ForeignFunctions['name']
  }

/** OPENSSL_INIT_LOAD_CRYPTO_STRINGS of crypto.h and OPENSSL_INIT_LOAD_SSL_STRINGS of ssl.h: the texts of errors. */
const LOAD_STRINGS = 0x2 | 0x20_0000

/**
 * Binds all functions of one OpenSSL.
 *
 * The functions of libcrypto are looked up through libssl as well. dlsym(3) finds those in the libcrypto that this libssl
 * uses, which need not be the one that a search by name would find.
 *
 * @param path of libssl; null for the OpenSSL of the process.
 * @throws if it cannot be loaded, is not version 3, lacks a function, or cannot be initialized.
 */
export function bindOpenSSL(ffi: ForeignFunctions, path: string | null): OpenSSL {
  const library = ffi.open(path)
  requireVersion3(library)
  const bound: Record<string, unknown> = {}
  for (const [name, signature] of Object.entries(functions)) bound[name] = library.bind(name, signature)
  const { OPENSSL_init_ssl, OpenSSL_version } = bound as unknown as OpenSSLFunctions
  // OpenSSL initializes itself when a context is created, but errors may need a text before that.
  if (OPENSSL_init_ssl(LOAD_STRINGS, null) !== 1) throw new Error('It cannot be initialized')
  const { bytesAt, writeAt, callback } = ffi
  const about = { version: OpenSSL_version(OPENSSL_VERSION), origin: path ?? 'process', ffi: ffi.name }
  return Object.freeze({ ...bound, bytesAt, writeAt, callback, ...about }) as unknown as OpenSSL
}

function requireVersion3(library: ForeignLibrary): void {
  const number = library.bind('OpenSSL_version_num', functions.OpenSSL_version_num) as () => number
  // 0xMNN00PP0: the major version is in the upper four bits.
  if (number() >>> 28 === 3) return
  const text = library.bind('OpenSSL_version', functions.OpenSSL_version) as (what: number) => string
  throw new Error(`It is ${text(OPENSSL_VERSION)}, but version 3 of OpenSSL is required`)
}
