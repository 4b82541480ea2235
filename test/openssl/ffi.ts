import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { foreignFunctions } from '../../src/openssl/ffi.ts'
import { koffiFunctions } from '../../src/openssl/ffi-koffi.ts'
import { type NodeFFI, nodeFunctions } from '../../src/openssl/ffi-node.ts'
import { nodeValues } from '../../src/openssl/ffi-node-values.ts'
import type { ForeignFunctions, ForeignLibrary, NativeFunction, Signature } from '../../src/openssl/ffi-types.ts'
import { memoryBy } from '../../src/openssl/memory.ts'
import { everyFFI, nodeFFI } from '../fixtures/foreign-functions.ts'

t.test('koffi is preferred to node:ffi', async (t) => {
  const [[, koffi], [, node]] = everyFFI as [[string, ForeignFunctions], [string, ForeignFunctions]]
  t.equal(foreignFunctions().name, 'koffi')
  t.equal(
    foreignFunctions(
      () => koffi,
      () => node,
    ),
    koffi,
  )
  t.equal(
    foreignFunctions(
      () => koffiFunctions(missing),
      () => node,
    ),
    node,
  )
})

t.test('without koffi 3 and node:ffi the error says what to install', async (t) => {
  const noModule = () => nodeFunctions(() => undefined)
  t.throws(() => foreignFunctions(() => koffiFunctions(missing), noModule), {
    name: 'RenegotiationError',
    code: 'ERR_RENEGOTIATION_UNSUPPORTED',
    message: /npm install koffi.* Tried koffi: Cannot find module 'koffi'; node:ffi: this Node.js does not have it.$/,
    cause: { errors: [{ cause: { code: 'MODULE_NOT_FOUND' } }, Error] },
  })
  const old = () => koffiFunctions(() => ({ version: '2.16.2' }))
  t.throws(() => foreignFunctions(old, noModule), { message: /koffi: version 3 or later is required, this is 2.16.2/ })
})

function missing(): never {
  throw Object.assign(new Error("Cannot find module 'koffi'\nRequire stack:\n- main.js"), { code: 'MODULE_NOT_FOUND' })
}

/** Calls functions of the OpenSSL inside Node and of the C library. */
function binder(ffi: ForeignFunctions) {
  const library = ffi.open(null)
  return <const S extends Signature>(name: string, signature: S) =>
    library.bind(name, signature) as unknown as NativeFunction<S>
}

for (const [name, ffi] of everyFFI) {
  t.test(name, async (t) => {
    const bind = binder(ffi)
    const malloc = bind('CRYPTO_malloc', ['pointer', 'size', 'string', 'int'])
    const free = bind('CRYPTO_free', ['void', 'pointer', 'string', 'int'])

    t.test('converts arguments and results', async (t) => {
      t.equal(bind('OpenSSL_version_num', ['ulong'])() >>> 28, 3)
      t.match(bind('OpenSSL_version', ['string', 'int'])(0), /^OpenSSL 3/)
      t.equal(bind('ERR_lib_error_string', ['string', 'ulong'])(0), null, 'NULL is null for a string')
      const bio = bind('BIO_new', ['pointer', 'pointer'])(bind('BIO_s_mem', ['pointer'])())
      t.type(bio, 'bigint')
      t.equal(bind('BIO_next', ['pointer', 'pointer'])(bio), null, 'NULL is null for a pointer')
      t.equal(bind('BIO_write', ['int', 'pointer', 'bytes', 'int'])(bio, Buffer.from('abc'), 3), 3)
      t.equal(bind('BIO_ctrl_pending', ['size', 'pointer'])(bio), 3)
      t.equal(bind('BIO_ctrl', ['long', 'pointer', 'int', 'long', 'address'])(bio, 10, 0, null), 3)
      t.equal(bind('BIO_number_written', ['uint64', 'pointer'])(bio), 3)
      t.equal(bind('BIO_free', ['int', 'pointer'])(bio), 1)
      t.equal(bind('ERR_clear_error', ['void'])(), undefined)
      t.equal(bind('labs', ['long', 'long'])(-5), 5)
      t.equal(bind('OPENSSL_strnlen', ['size', 'string', 'size'])('Zürich', 100), 7, 'strings are UTF-8')
    })

    t.test('passes bytes by address', async (t) => {
      const read = bind('BIO_read', ['int', 'pointer', 'bytes', 'int'])
      // V8 keeps the memory of a short Uint8Array on its heap, where it can move, until somebody needs its address.
      const bytes = new Uint8Array([1, 2, 3])
      const bio = bind('BIO_new_mem_buf', ['pointer', 'bytes', 'int'])(bytes, 3)
      const held = Array.from({ length: 1_000 }, () => new Uint8Array(32))
      await setImmediate()
      bytes.fill(9)
      const pool = Buffer.alloc(8)
      t.equal(read(bio, pool.subarray(2), 3), 3)
      t.strictSame([...pool], [0, 0, 9, 9, 9, 0, 0, 0])
      t.equal(held.length, 1_000)
      const pointers = new BigUint64Array(1)
      const stack = bind('OPENSSL_sk_new_null', ['pointer'])()
      bind('OPENSSL_sk_push', ['int', 'pointer', 'address'])(stack, pointers)
      const address = bind('OPENSSL_sk_value', ['pointer', 'pointer', 'int'])(stack, 0) as bigint
      pointers[0] = 0x0102030405060708n
      t.equal(ffi.bytesAt(address, 8).readBigUInt64LE(), 0x0102030405060708n)
      bind('OPENSSL_sk_free', ['void', 'pointer'])(stack)
      bind('BIO_free', ['int', 'pointer'])(bio)
    })

    t.test('reads and writes memory', async (t) => {
      const pointer = malloc(8, null, 0) as bigint
      ffi.writeAt(pointer, Buffer.from('12345678'))
      ffi.writeAt(pointer + 2n, new Uint8Array([0x61, 0x62]))
      const copy = ffi.bytesAt(pointer, 8)
      t.equal(copy.toString(), '12ab5678')
      ffi.writeAt(pointer, Buffer.from('x'))
      t.equal(copy.toString(), '12ab5678', 'what was read is a copy')
      t.equal(ffi.bytesAt(pointer, 0).length, 0)
      ffi.writeAt(pointer, new Uint8Array(0))
      free(pointer, null, 0)
    })

    t.test('calls back', async (t) => {
      const unexpected = (error: unknown) => void t.error(error)
      const printed: unknown[][] = []
      const print = ffi.callback(
        ['int', 'string', 'size', 'pointer'],
        (text, length, arg) => {
          printed.push([text?.length === length, arg])
          return 1
        },
        unexpected,
      )
      bind('SSL_CTX_new', ['pointer', 'pointer'])(null)
      bind('ERR_print_errors_cb', ['void', 'callback', 'pointer'])(print, null)
      t.strictSame(printed, [[true, null]])

      const stack = bind('OPENSSL_sk_new_null', ['pointer'])()
      const push = bind('OPENSSL_sk_push', ['int', 'pointer', 'pointer'])
      for (const value of [1n, 2n]) push(stack, value)
      const double = ffi.callback(['pointer', 'pointer'], (value) => (value as bigint) * 2n, unexpected)
      const freed: unknown[] = []
      const release = ffi.callback(['void', 'pointer'], (value) => void freed.push(value), unexpected)
      const deepCopy = bind('OPENSSL_sk_deep_copy', ['pointer', 'pointer', 'callback', 'callback'])
      const copy = deepCopy(stack, double, release)
      bind('OPENSSL_sk_pop_free', ['void', 'pointer', 'callback'])(copy, release)
      t.strictSame(freed, [2n, 4n])
      // NULL is a failure to copy. What was copied before is freed.
      freed.length = 0
      const half = ffi.callback(['pointer', 'pointer'], (value) => (value === 1n ? 7n : null), unexpected)
      t.equal(deepCopy(stack, half, release), null)
      t.strictSame(freed, [7n])
    })

    t.test('keeps an exception of a callback from C', async (t) => {
      const errors: unknown[] = []
      const error = new Error('inside')
      const fail = () => {
        throw error
      }
      const onError = (caught: unknown) => void errors.push(caught)
      const stack = bind('OPENSSL_sk_new_null', ['pointer'])()
      bind('OPENSSL_sk_push', ['int', 'pointer', 'pointer'])(stack, 1n)
      const deepCopy = bind('OPENSSL_sk_deep_copy', ['pointer', 'pointer', 'callback', 'callback'])
      const release = ffi.callback(['void', 'pointer'], fail, onError)
      t.equal(deepCopy(stack, ffi.callback(['pointer', 'pointer'], fail, onError), release), null)
      bind('SSL_CTX_new', ['pointer', 'pointer'])(null)
      // 0 ends the printing.
      bind('ERR_print_errors_cb', ['void', 'callback', 'pointer'])(
        ffi.callback(['int', 'string', 'size', 'pointer'], fail, onError),
        null,
      )
      t.equal(errors.length, 2)
      bind('OPENSSL_sk_pop_free', ['void', 'pointer', 'callback'])(stack, release)
      t.strictSame(errors, [error, error, error])
      const alsoFails = ffi.callback(['pointer', 'pointer'], fail, fail)
      const second = bind('OPENSSL_sk_new_null', ['pointer'])()
      bind('OPENSSL_sk_push', ['int', 'pointer', 'pointer'])(second, 1n)
      t.equal(deepCopy(second, alsoFails, release), null, 'nor does one of onError get there')
      bind('OPENSSL_sk_free', ['void', 'pointer'])(second)
    })

    t.test('throws for a library or a function that does not exist', async (t) => {
      t.throws(() => ffi.open('/nowhere/libssl.so.3'))
      t.throws(() => bind('SSL_nothing', ['void']), { message: /SSL_nothing/ })
    })
  })
}

t.test('node:ffi opens a library of Linux with RTLD_DEEPBIND', async (t) => {
  for (const [platform, expected] of [
    ['linux', [['dlopen', 'libssl.so.3', 10], ['libssl.so.3']]],
    ['darwin', [['libssl.so.3']]],
  ] as const) {
    const log: unknown[][] = []
    const module = {
      ...nodeFFI,
      DynamicLibrary: class {
        constructor(path: string | null) {
          if (path !== null) log.push([path])
        }

        getFunction(name: string) {
          return (...args: unknown[]) => void log.push([name, ...args])
        }
      },
    } as unknown as NodeFFI
    nodeFunctions(() => module, platform).open('libssl.so.3')
    t.strictSame(log, expected)
  }
})

t.test('memory is accessed by the C library of the platform', async (t) => {
  for (const [platform, path] of [
    ['linux', null],
    ['win32', 'ucrtbase.dll'],
  ] as const) {
    const open = t.captureFn((_path: string | null): ForeignLibrary => ({ bind: () => () => {} }))
    memoryBy(open, platform)
    t.match(open.args(), [[path]])
  }
})

t.test('node:ffi gets the results of callbacks as it requires them, and a long as wide as it is', async (t) => {
  const { int, uint, long, ulong, size } = nodeValues('linux', String)
  t.equal(int.toNative(-1), -1)
  t.equal(uint.toNative(2 ** 32 - 1), 2 ** 32 - 1)
  t.equal(long.toNative(-1), -1n)
  t.equal(ulong.fromNative(1n), 1)
  t.strictSame([long.type, ulong.type, size.type], ['int64', 'uint64', 'uint64'])
  const windows = nodeValues('win32', String)
  t.strictSame([windows.long.type, windows.ulong.type, windows.size.type], ['int32', 'uint32', 'uint64'])
})
