/* What OpenSSL encodes or returns by way of pointers, as buffers. */

import type { OpenSSL } from './binding.ts'
import type { Pointer } from './ffi-types.ts'

/** The address that OpenSSL has written into `out`, null for NULL. */
export function addressIn(out: BigUint64Array): Pointer | null {
  return out[0] || null
}

/**
 * Calls one of the i2d functions of OpenSSL, which encode something in DER. It allocates memory, which is freed again.
 *
 * @returns undefined if it fails.
 */
export function encoded(openssl: OpenSSL, encode: (out: BigUint64Array) => number): Buffer | undefined {
  const out = new BigUint64Array(1)
  const length = encode(out)
  const address = addressIn(out)
  if (address === null) return undefined
  const bytes = openssl.bytesAt(address, length)
  openssl.CRYPTO_free(address, null, 0)
  return bytes
}

/** The elements of a stack of OpenSSL. They belong to the stack. */
export function elementsOf(openssl: OpenSSL, stack: Pointer | null): Pointer[] {
  // Of no stack at all, the number is -1.
  const length = Math.max(openssl.OPENSSL_sk_num(stack), 0)
  return Array.from({ length }, (_, i) => openssl.OPENSSL_sk_value(stack, i) as Pointer)
}
