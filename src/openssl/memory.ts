import type { ForeignLibrary, Memory, Pointer } from './ffi-types.ts'

/**
 * Access to memory by the memmove() of the C library. That takes about a tenth of the time of the views that FFI
 * libraries make of foreign memory, and leaves no work to the garbage collector.
 *
 * @param platform for tests.
 */
export function memoryBy(
  open: (path: string | null) => ForeignLibrary,
  platform: NodeJS.Platform = process.platform,
): Pick<Memory, 'bytesAt' | 'writeAt'> {
  // node.exe exports no functions of the C library.
  const library = open(platform === 'win32' ? 'ucrtbase.dll' : null)
  const move = library.bind('memmove', ['void', 'address', 'address', 'size']) as (
    to: Pointer | Uint8Array,
    from: Pointer | Uint8Array,
    length: number,
  ) => void
  return {
    bytesAt(pointer, length) {
      const copy = Buffer.allocUnsafe(length)
      move(copy, pointer, length)
      return copy
    },
    writeAt: (pointer, bytes) => move(pointer, bytes, bytes.length),
  }
}
