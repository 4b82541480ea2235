import type { Signature } from './ffi-types.ts'

/** A callback of which nothing is known but that it is one. */
type Callback = (...args: unknown[]) => unknown

/**
 * A function like `run` that never throws. Native code cannot handle an exception of JavaScript: with koffi it would
 * surface later in an unrelated call, with node:ffi it would abort the process.
 *
 * After an exception the result is 0, or NULL, which OpenSSL takes for a failure in nearly all of its callbacks.
 */
export function guardedCallback(
  [result]: Signature,
  run: (...args: never[]) => unknown,
  onError: (error: unknown) => void,
): Callback {
  const none = { void: undefined, pointer: null, callback: null } as Record<string, unknown>
  const failed = result in none ? none[result] : 0
  return (...args) => {
    try {
      return (run as Callback)(...args)
    } catch (error) {
      try {
        onError(error)
      } catch {
        // There is nobody left to tell.
      }
      return failed
    }
  }
}
