import { createRequire } from 'node:module'
import type { ForeignFunctions, ForeignLibrary, NativeType, Signature } from './ffi-types.ts'
import { guardedCallback } from './guarded-callback.ts'
import { memoryBy } from './memory.ts'

type Koffi = typeof import('koffi').default

const types: Record<NativeType, string> = {
  void: 'void',
  int: 'int',
  uint: 'uint',
  long: 'long',
  ulong: 'ulong',
  size: 'size_t',
  uint64: 'uint64_t',
  pointer: 'void *',
  bytes: 'void *',
  address: 'void *',
  string: 'str',
  callback: 'void *',
}

/**
 * Foreign functions by the package koffi.
 *
 * @param require for tests.
 * @throws if it is not installed, has no binary for this platform, or is older than version 3.
 */
export function koffiFunctions(require: (id: string) => unknown = createRequire(import.meta.url)): ForeignFunctions {
  const koffi = require('koffi') as Koffi
  // Before version 3, a pointer was an object of its own, not a bigint.
  if (Number.parseInt(koffi.version, 10) < 3)
    throw new Error(`version 3 or later is required, this is ${koffi.version}`)
  const convert = ([result, ...args]: Signature): [result: string, args: string[]] => [
    types[result],
    args.map((type) => types[type]),
  ]
  const open = (path: string | null): ForeignLibrary => {
    // `deep` is RTLD_DEEPBIND. Without it, another libssl would call the libcrypto inside Node.js, and crash.
    const library = path === null ? koffi.load(null) : koffi.load(path, { deep: true })
    return { bind: (name, signature) => library.func(name, ...convert(signature)) }
  }
  return {
    name: 'koffi',
    open,
    ...memoryBy(open),
    callback: (signature, run, onError) =>
      koffi.register(guardedCallback(signature, run, onError), koffi.pointer(koffi.proto(...convert(signature)))),
  }
}
