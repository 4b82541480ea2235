/*
 * The types of C functions, as far as OpenSSL needs them, and what they are in JavaScript. ffi-koffi.ts and ffi-node.ts
 * make both FFI libraries behave like this.
 */

/** An address in memory. */
export type Pointer = bigint

/** A function that C code can call: its address. Made by {@link Memory.callback}. */
export type CallbackPointer = Pointer

/**
 * The type of a result or argument.
 *
 * | type | C | JavaScript |
 * |---|---|---|
 * | `int`, `uint`, `long`, `ulong`, `size`, `uint64` | the integers | a number. Nothing in OpenSSL comes near 2 ** 53. |
 * | `pointer` | a pointer to something of OpenSSL | a bigint, or null for NULL |
 * | `bytes` | a pointer to memory of JavaScript | a view of an ArrayBuffer, which is not copied, or null |
 * | `address` | either of these two | either of these two |
 * | `string` | a NUL-terminated string | a string, copied, or null for NULL |
 * | `callback` | a pointer to a function | a {@link CallbackPointer}, or null |
 *
 * An argument of an unsigned type must not be negative. `bytes` and `address` are for arguments only, `string` is not for
 * the result of a callback. If OpenSSL keeps the address of some `bytes`, as BIO_new_mem_buf(3) does, the caller must
 * keep a reference to them: the garbage collector does not know of OpenSSL.
 */
export type NativeType = keyof ArgumentTypes

interface ArgumentTypes {
  void: undefined
  int: number
  uint: number
  long: number
  ulong: number
  size: number
  uint64: number
  pointer: Pointer | null
  bytes: NodeJS.ArrayBufferView | null
  address: Pointer | NodeJS.ArrayBufferView | null
  string: string | null
  callback: CallbackPointer | null
}

interface ResultTypes extends Omit<ArgumentTypes, 'bytes' | 'address'> {
  bytes: never
  address: never
}

/** The type of the result, then the types of the arguments. */
export type Signature = readonly [result: NativeType, ...args: NativeType[]]

/** The JavaScript function for a C function of this signature. */
export type NativeFunction<S extends readonly NativeType[]> = S extends readonly [
  infer R extends NativeType,
  ...infer A extends readonly NativeType[],
]
  ? (...args: { [I in keyof A]: ArgumentTypes[A[I]] }) => ResultTypes[R]
  : never

/** The JavaScript function for a callback of this signature. */
export type CallbackFunction<S extends readonly NativeType[]> = S extends readonly [
  infer R extends NativeType,
  ...infer A extends readonly NativeType[],
]
  ? (...args: { [I in keyof A]: ResultTypes[A[I]] }) => R extends 'void' ? void : ArgumentTypes[R]
  : never

/** Access to memory that is not JavaScript's, and callbacks. */
export interface Memory {
  /** A copy of `length` bytes at an address. */
  bytesAt(pointer: Pointer, length: number): Buffer

  /** Copies bytes to an address. */
  writeAt(pointer: Pointer, bytes: Uint8Array): void

  /**
   * Makes a function that C code can call at any time, in the thread of JavaScript, until the process ends. There is
   * no way to free it, so make one for each purpose, not one for each connection.
   *
   * An exception in `run` does not reach the C code: the result is then 0 or null, and `onError` gets the exception.
   */
  callback<const S extends Signature>(
    signature: S,
    run: CallbackFunction<S>,
    onError: (error: unknown) => void,
  ): CallbackPointer
}

/** One shared library. */
export interface ForeignLibrary {
  /** @throws if the library has no function of this name. */
  bind(name: string, signature: Signature): (...args: never[]) => unknown
}

/** An FFI library: calls functions of C. */
export interface ForeignFunctions extends Memory {
  readonly name: 'koffi' | 'node:ffi'

  /**
   * Opens a shared library. Its own dependencies come before what the process exports.
   *
   * @param path null: what the process exports itself.
   * @throws if there is none.
   */
  open(path: string | null): ForeignLibrary
}
