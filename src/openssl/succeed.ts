/* Checks of what functions of OpenSSL return. */
import type { OpenSSL } from './binding.ts'
import { opensslError } from './openssl-error.ts'

/** Throws the error of OpenSSL if a function, which returns 1 for success, returned something else. */
export function mustSucceed(openssl: OpenSSL, returned: number): void {
  if (returned !== 1) throw opensslError(openssl)
}

/** Returns what a function has made. Throws the error of OpenSSL if it has made nothing. */
export function mustExist<T>(openssl: OpenSSL, made: T | null | undefined): T {
  if (made === null || made === undefined) throw opensslError(openssl)
  return made
}

/**
 * Calls a function that returns 1 for success, and throws the error of OpenSSL if it returns something else. Errors that
 * an earlier call has left in the queue are not taken for its own.
 */
export function attempt(openssl: OpenSSL, run: () => number): void {
  openssl.ERR_clear_error()
  mustSucceed(openssl, run())
}
