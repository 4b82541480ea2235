import t from 'tap'
import { bindOpenSSL } from '../../src/openssl/binding.ts'
import type { ForeignFunctions } from '../../src/openssl/ffi-types.ts'
import { functions } from '../../src/openssl/functions.ts'
import { findOpenSSL, isAvailable, loadOpenSSL, type OpenSSLOptions } from '../../src/openssl/library.ts'
import { everyFFI } from '../fixtures/foreign-functions.ts'
import { everyLibSSL } from '../fixtures/libssl.ts'

const [{ skip: notExported }, { skip: noSystemLibrary }] = everyLibSSL as [
  (typeof everyLibSSL)[0],
  (typeof everyLibSSL)[0],
]
const unsupported = { name: 'RenegotiationError', code: 'ERR_RENEGOTIATION_UNSUPPORTED' }

t.test('by default it is the OpenSSL of Node', { skip: notExported }, async (t) => {
  const openssl = loadOpenSSL()
  t.match(openssl, { origin: 'process', ffi: 'koffi' })
  t.ok(openssl.version.startsWith(`OpenSSL ${process.versions.openssl?.replace(/\+.*/, '')}`), openssl.version)
  t.equal(loadOpenSSL({}), openssl, 'it is loaded once')
  t.equal(loadOpenSSL({ path: undefined }), openssl)
  t.equal(isAvailable(), true)
})

for (const [name, ffi] of everyFFI) {
  t.test(`${name} binds the OpenSSL of Node`, { skip: notExported }, async (t) => {
    const openssl = findOpenSSL(undefined, ffi)
    t.match(openssl, { origin: 'process', ffi: ffi.name, version: /^OpenSSL 3/ })
    for (const name of Object.keys(functions)) t.type(openssl[name as keyof typeof functions], 'function', name)
  })

  t.test(`${name} binds the OpenSSL of the system, with its own libcrypto`, { skip: noSystemLibrary }, async (t) => {
    const openssl = findOpenSSL('libssl.so.3', ffi)
    t.match(openssl, { origin: 'libssl.so.3', ffi: ffi.name, version: /^OpenSSL 3/ })
    // libcrypto has the text for an error of libssl only if this libssl has given it one.
    t.equal(openssl.ERR_reason_error_string(0x0a0000b9), 'no cipher match')
    const context = openssl.SSL_CTX_new(openssl.TLS_method())
    t.not(context, null)
    if (notExported) return
    const ours = bindOpenSSL(ffi, null)
    t.not(ours.TLS_method(), openssl.TLS_method(), 'it is another one than that of Node')
    t.equal(openssl.SSL_CTX_set_cipher_list(context, 'none'), 0)
    t.equal(ours.ERR_peek_error(), 0, 'with another queue of errors')
    t.equal(openssl.ERR_get_error(), 0x0a0000b9)
    openssl.SSL_CTX_free(context)
  })
}

t.test('RENEGOTIATION_LIBSSL sets the path', async (t) => {
  t.teardown(() => delete process.env['RENEGOTIATION_LIBSSL'])
  process.env['RENEGOTIATION_LIBSSL'] = '/nowhere/libssl.so.3'
  t.throws(() => loadOpenSSL(), { ...unsupported, message: /^OpenSSL cannot be used.* Tried \/nowhere\/libssl.so.3: / })
  t.equal(isAvailable(), false)
  process.env['RENEGOTIATION_LIBSSL'] = ' '
  t.equal(isAvailable(), notExported === false || noSystemLibrary === false, 'an empty one is unset')
})

t.test('a path that cannot be loaded is an error, and nothing else is tried', async (t) => {
  const path = '/nowhere/libssl.so.3'
  t.throws(() => loadOpenSSL({ path }), {
    ...unsupported,
    message: /file name .* Tried \/nowhere\/libssl.so.3: [^;]*$/,
  })
  t.equal(isAvailable({ path }), false)
})

t.test('a bad path is a TypeError', async (t) => {
  const options = { path: 3 } as unknown as OpenSSLOptions
  t.throws(() => loadOpenSSL(options), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE', message: /path.* 3$/ })
  t.throws(() => loadOpenSSL({ path: '' }), { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE', message: /path/ })
  t.equal(isAvailable(options), false)
})

/** An FFI library with made-up OpenSSLs, by path; null is that of the process. Remembers what it was asked to open. */
function fakeFFI(libraries: Record<string, Record<string, unknown>>) {
  const opened: (string | null)[] = []
  const ffi = {
    name: 'koffi',
    open(path: string | null) {
      opened.push(path)
      const library = libraries[String(path)]
      if (library === undefined) throw new Error('there is no such file')
      return {
        bind(name: string) {
          if (name in library) return () => library[name]
          if ('every' in library) return () => 0
          throw new Error(`there is no function ${name}`)
        },
      }
    },
  } as unknown as ForeignFunctions
  return { ffi, opened }
}

const version3 = { OpenSSL_version_num: 0x30000020, OpenSSL_version: 'OpenSSL 3.0.2', OPENSSL_init_ssl: 1, every: true }

t.test('the OpenSSL of the system is used if Node does not export its own', async (t) => {
  for (const [platform, name] of [
    ['linux', 'libssl.so.3'],
    ['freebsd', 'libssl.so.3'],
    ['darwin', 'libssl.3.dylib'],
  ] as const) {
    const { ffi, opened } = fakeFFI({ [name]: version3 })
    t.match(findOpenSSL(undefined, ffi, platform), { origin: name, version: 'OpenSSL 3.0.2' })
    t.strictSame(opened, [null, name])
  }
  const { ffi, opened } = fakeFFI({})
  t.throws(() => findOpenSSL(undefined, ffi, 'win32'), {
    ...unsupported,
    message: /^OpenSSL 3 was not found.* Tried Node.js: there is no such file.$/,
    cause: { errors: [{ cause: { message: 'there is no such file' } }] },
  })
  t.strictSame(opened, [null])
  t.throws(() => findOpenSSL(undefined, ffi, 'linux'), {
    ...unsupported,
    message: /RENEGOTIATION_LIBSSL .*Node.js: .*; libssl.so.3: there is no such file.$/,
    cause: { errors: [{ message: /^Node.js/ }, { message: /^libssl.so.3/ }] },
  })
})

t.test('another major version is an error', async (t) => {
  for (const [number, version] of [
    [0x1010117f, 'OpenSSL 1.1.1w'],
    [0x40000000, 'OpenSSL 4.0.0'],
    [0x20000000, 'LibreSSL 4.0.0'],
  ] as const) {
    const { ffi } = fakeFFI({ 'libssl.so': { ...version3, OpenSSL_version_num: number, OpenSSL_version: version } })
    t.throws(() => findOpenSSL('libssl.so', ffi), { ...unsupported, message: new RegExp(`It is ${version}, but`) })
  }
})

t.test('an OpenSSL that cannot be initialized is an error', async (t) => {
  const { ffi } = fakeFFI({ 'libssl.so.3': { ...version3, OPENSSL_init_ssl: 0 } })
  t.throws(() => findOpenSSL('libssl.so.3', ffi), { ...unsupported, message: /It cannot be initialized/ })
})

t.test('a missing function is an error that names it', async (t) => {
  const { every: _, ...few } = version3
  const { ffi } = fakeFFI({ 'libssl.so.3': few })
  t.throws(() => findOpenSSL('libssl.so.3', ffi), { ...unsupported, message: /no function CRYPTO_malloc/ })
})
