import type { NativeType, Pointer } from './ffi-types.ts'

/** A type of node:ffi, and what its values are in JavaScript. */
export interface NodeValue {
  /** The name of the type. */
  type: string
  /** From the result of a function, or the argument of a callback. */
  fromNative: Conversion
  /** To the result of a callback. Node.js aborts the process if that is not a value of exactly its type. */
  toNative: Conversion
}

type Conversion = (value: unknown) => unknown

export const unchanged: Conversion = (value) => value

/**
 * How each type is written for node:ffi, and how its values are converted. There, integers of 64 bits and pointers are
 * bigints, and a string is a pointer as well.
 */
export function nodeValues(
  platform: NodeJS.Platform,
  stringAt: (pointer: Pointer) => string,
): Readonly<Record<NativeType, NodeValue>> {
  const int: NodeValue = { type: 'int32', fromNative: unchanged, toNative: (value) => Number(value) | 0 }
  const uint: NodeValue = { type: 'uint32', fromNative: unchanged, toNative: (value) => Number(value) >>> 0 }
  const wide = (type: string): NodeValue => ({
    type,
    fromNative: Number,
    toNative: (value) => BigInt(value as number),
  })
  const pointer: NodeValue = {
    type: 'pointer',
    fromNative: (value) => (value === 0n ? null : value),
    toNative: (value) => value ?? 0n,
  }
  // The long of Windows has 32 bits.
  const isLongWide = platform !== 'win32'
  return {
    void: { type: 'void', fromNative: unchanged, toNative: () => undefined },
    int,
    uint,
    long: isLongWide ? wide('int64') : int,
    ulong: isLongWide ? wide('uint64') : uint,
    size: wide('uint64'),
    uint64: wide('uint64'),
    pointer,
    bytes: pointer,
    address: pointer,
    callback: pointer,
    string: { ...pointer, fromNative: (value) => (value === 0n ? null : stringAt(value as Pointer)) },
  }
}
