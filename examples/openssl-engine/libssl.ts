import koffi from 'koffi'

const pointer = 'void *'

/** What the engine calls of OpenSSL 3: the result, then the arguments, as in its headers. No macros: they can't be called. */
const functions = {
  OpenSSL_version: ['str', 'int'],
  ERR_clear_error: ['void'],
  ERR_get_error: ['ulong'],
  ERR_error_string_n: ['void', 'ulong', pointer, 'size_t'],
  ERR_reason_error_string: ['str', 'ulong'],

  BIO_new_mem_buf: [pointer, pointer, 'int'],
  BIO_new_bio_pair: ['int', pointer, 'size_t', pointer, 'size_t'],
  BIO_read: ['int', pointer, pointer, 'int'],
  BIO_write: ['int', pointer, pointer, 'int'],
  BIO_ctrl: ['long', pointer, 'int', 'long', pointer],
  BIO_ctrl_wpending: ['size_t', pointer],
  BIO_ctrl_pending: ['size_t', pointer],
  BIO_free: ['int', pointer],

  PEM_read_bio_X509: [pointer, pointer, pointer, pointer, pointer],
  PEM_read_bio_PrivateKey: [pointer, pointer, pointer, pointer, pointer],
  X509_STORE_add_cert: ['int', pointer, pointer],
  X509_digest: ['int', pointer, pointer, pointer, pointer],
  X509_free: ['void', pointer],
  EVP_PKEY_free: ['void', pointer],
  EVP_sha256: [pointer],

  TLS_method: [pointer],
  SSL_CTX_new: [pointer, pointer],
  SSL_CTX_ctrl: ['long', pointer, 'int', 'long', pointer],
  SSL_CTX_set_options: ['uint64_t', pointer, 'uint64_t'],
  SSL_CTX_set_verify: ['void', pointer, 'int', pointer],
  SSL_CTX_get_cert_store: [pointer, pointer],
  SSL_CTX_use_certificate: ['int', pointer, pointer],
  SSL_CTX_use_PrivateKey: ['int', pointer, pointer],
  SSL_CTX_free: ['void', pointer],

  SSL_new: [pointer, pointer],
  SSL_set1_host: ['int', pointer, 'str'],
  SSL_set_bio: ['void', pointer, pointer, pointer],
  SSL_set_accept_state: ['void', pointer],
  SSL_set_connect_state: ['void', pointer],
  SSL_read: ['int', pointer, pointer, 'int'],
  SSL_write: ['int', pointer, pointer, 'int'],
  SSL_pending: ['int', pointer],
  SSL_get_error: ['int', pointer, 'int'],
  SSL_renegotiate: ['int', pointer],
  SSL_renegotiate_abbreviated: ['int', pointer],
  SSL_renegotiate_pending: ['int', pointer],
  SSL_in_init: ['int', pointer],
  SSL_session_reused: ['int', pointer],
  SSL_get0_peer_certificate: [pointer, pointer],
  SSL_export_keying_material: ['int', pointer, pointer, 'size_t', 'str', 'size_t', pointer, 'size_t', 'int'],
  SSL_shutdown: ['int', pointer],
  SSL_free: ['void', pointer],
} as const

/** An address. */
export type Pointer = bigint
type Result<T> = T extends typeof pointer ? Pointer : T extends 'str' ? string : T extends 'void' ? undefined : number
type Argument<T> = T extends typeof pointer
  ? Pointer | NodeJS.ArrayBufferView | null
  : T extends 'str'
    ? string
    : number
type Native<T extends readonly string[]> = T extends readonly [infer R, ...infer A]
  ? (...args: { [I in keyof A]: Argument<A[I]> }) => Result<R>
  : never

/** OpenSSL's functions under their own names, and `error()`. */
export type LibSSL = { [Name in keyof typeof functions]: Native<(typeof functions)[Name]> } & {
  /** What went wrong: the oldest error that OpenSSL remembers. It forgets them all. */
  error(): NodeJS.ErrnoException
}

/**
 * Loads OpenSSL: with a path, that libssl; with null the one inside Node, which
 * exports the names of its OpenSSL.
 *
 * @throws where there is none, or it lacks one of the functions.
 */
export function loadLibSSL(path: string | null = null): LibSSL {
  // RTLD_DEEPBIND: without it, a second libssl would call the libcrypto inside Node, and crash.
  const library = path === null ? koffi.load(null) : koffi.load(path, { deep: true })
  const bound = Object.entries(functions).map(([name, [result, ...args]]) => [name, library.func(name, result, args)])
  const libssl: LibSSL = Object.fromEntries(bound)
  libssl.error = () => {
    const number = libssl.ERR_get_error()
    const text = Buffer.alloc(256)
    libssl.ERR_error_string_n(number, text, text.length)
    const reason = libssl.ERR_reason_error_string(number) ?? 'unknown'
    libssl.ERR_clear_error()
    const message = text.toString('latin1', 0, text.indexOf(0))
    // The code as Node forms it.
    return Object.assign(new Error(message), { code: `ERR_SSL_${reason.toUpperCase().replaceAll(/\W+/g, '_')}` })
  }
  return libssl
}
