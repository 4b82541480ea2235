import { inspect } from 'node:util'
import { invalidType, invalidValue, RenegotiationError } from '../core/errors.ts'
import { bindOpenSSL, type OpenSSL } from './binding.ts'
import { foreignFunctions } from './ffi.ts'
import type { ForeignFunctions } from './ffi-types.ts'
import { firstWorking } from './first-working.ts'

export type { OpenSSL } from './binding.ts'

/** Which OpenSSL to use. */
export interface OpenSSLOptions {
  /**
   * The file name of libssl, version 3. A name without a slash is searched for as the system does it.
   *
   * Default: the environment variable `RENEGOTIATION_LIBSSL`; if it is not set, the OpenSSL that Node.js uses itself; if
   * Node.js does not export its functions, the OpenSSL of the system.
   */
  path?: string | undefined
}

/** What was bound, by the path that was asked for. */
const loaded = new Map<string | undefined, OpenSSL>()

/**
 * Loads OpenSSL. Each path is loaded once and never unloaded.
 *
 * @throws {@link RenegotiationError} `ERR_RENEGOTIATION_UNSUPPORTED` if there is no OpenSSL that can be used, or nothing
 * to call it with. The message says what to install.
 * @throws TypeError `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE` if `path` is not a string, or an empty one.
 */
export function loadOpenSSL(options: OpenSSLOptions = {}): OpenSSL {
  const path = pathIn(options)
  const known = loaded.get(path)
  if (known !== undefined) return known
  const openssl = findOpenSSL(path, foreignFunctions())
  loaded.set(path, openssl)
  return openssl
}

/** Whether {@link loadOpenSSL} succeeds with these options. Never throws. */
export function isAvailable(options?: OpenSSLOptions): boolean {
  try {
    loadOpenSSL(options)
    return true
  } catch {
    return false
  }
}

/** @internal The search of {@link loadOpenSSL} with a given FFI library. */
export function findOpenSSL(
  path: string | undefined,
  ffi: ForeignFunctions,
  platform: NodeJS.Platform = process.platform,
): OpenSSL {
  const candidates = path === undefined ? [null, ...(systemNames[platform] ?? ['libssl.so.3'])] : [path]
  try {
    return firstWorking(candidates.map((candidate) => [candidate ?? 'Node.js', () => bindOpenSSL(ffi, candidate)]))
  } catch (error) {
    const tried = (error as Error).message
    throw new RenegotiationError(
      'ERR_RENEGOTIATION_UNSUPPORTED',
      path === undefined
        ? 'OpenSSL 3 was not found. Install it (the package libssl3 of Debian and Ubuntu, openssl@3 of Homebrew), or set ' +
            `RENEGOTIATION_LIBSSL to the file name of its libssl. Tried ${tried}.`
        : `OpenSSL cannot be used. The path must be the file name of the libssl of OpenSSL 3. Tried ${tried}.`,
      error,
    )
  }
}

/** Names of libssl. GetProcAddress of Windows does not find the functions of libcrypto through libssl, so there is none. */
const systemNames: Partial<Record<NodeJS.Platform, readonly string[]>> = {
  darwin: [
    'libssl.3.dylib',
    '/opt/homebrew/opt/openssl@3/lib/libssl.3.dylib',
    '/usr/local/opt/openssl@3/lib/libssl.3.dylib',
  ],
  win32: [],
}

function pathIn({ path }: OpenSSLOptions): string | undefined {
  if (path !== undefined && typeof path !== 'string') {
    throw invalidType(`The option path must be a string. Received ${inspect(path)}`)
  }
  if (path === '') throw invalidValue('The option path must be the file name of libssl. Received an empty string')
  return path ?? (process.env['RENEGOTIATION_LIBSSL']?.trim() || undefined)
}
