import { setFlagsFromString } from 'node:v8'
import { nodeValues, unchanged } from './ffi-node-values.ts'
import type { ForeignFunctions, ForeignLibrary, Pointer, Signature } from './ffi-types.ts'
import { guardedCallback } from './guarded-callback.ts'
import { memoryBy } from './memory.ts'

/** What is used here of node:ffi, as it is in Node.js 26. */
export interface NodeFFI {
  DynamicLibrary: new (path: string | null) => NodeLibrary
  toString(pointer: Pointer): string
}

export interface NodeLibrary {
  getFunction(name: string, signature: NodeSignature): NativeCall
  registerCallback(signature: NodeSignature, run: NativeCall): Pointer
}

export interface NodeSignature {
  return: string
  arguments: string[]
}

type NativeCall = (...args: unknown[]) => unknown

// Arguments of dlopen(3) on Linux.
const RTLD_NOW = 2
const RTLD_DEEPBIND = 8

/**
 * Foreign functions by the module node:ffi. When it is loaded, Node.js prints an ExperimentalWarning.
 *
 * It turns V8's fast API calls off in the whole process, because Node.js 26 crashes with those of node:ffi: when a thread
 * or the process ends, Node.js frees the descriptions of the functions, which V8 may still read while it compiles code
 * in the background.
 *
 * @param getBuiltinModule for tests.
 * @param platform for tests.
 * @throws if this Node.js does not have the module, or the permission model denies its use.
 */
export function nodeFunctions(
  getBuiltinModule: (id: string) => unknown = process.getBuiltinModule,
  platform: NodeJS.Platform = process.platform,
): ForeignFunctions {
  const ffi = getBuiltinModule('node:ffi') as NodeFFI | undefined
  if (ffi === undefined) throw new Error('this Node.js does not have it')
  setFlagsFromString('--no-turbo-fast-api-calls')

  const values = nodeValues(platform, ffi.toString)
  const convert = ([result, ...args]: Signature): NodeSignature => ({
    return: values[result].type,
    arguments: args.map((type) => values[type].type),
  })

  const ofProcess = new ffi.DynamicLibrary(null)
  // The search for symbols in a library that is loaded already begins where the first dlopen() has said.
  const openDeep =
    platform === 'linux'
      ? ofProcess.getFunction('dlopen', { return: 'pointer', arguments: ['string', 'int32'] })
      : () => undefined
  const open = (path: string | null): ForeignLibrary => {
    if (path !== null) openDeep(path, RTLD_NOW | RTLD_DEEPBIND)
    // One object for each, because an object binds a function to one signature only.
    const library = new ffi.DynamicLibrary(path)
    return {
      bind(name, signature) {
        const call = library.getFunction(name, convert(signature))
        const { fromNative } = values[signature[0]]
        return fromNative === unchanged ? call : (...args: unknown[]) => fromNative(call(...args))
      },
    }
  }
  return {
    name: 'node:ffi',
    open,
    ...memoryBy(open),
    callback(signature, run, onError) {
      const guarded = guardedCallback(signature, run, onError)
      const { toNative } = values[signature[0]]
      const args = signature.slice(1).map((type) => values[type].fromNative)
      return ofProcess.registerCallback(convert(signature), (...natives) =>
        toNative(guarded(...args.map((fromNative, index) => fromNative(natives[index])))),
      )
    },
  }
}
