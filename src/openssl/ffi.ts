import { RenegotiationError } from '../core/errors.ts'
import { koffiFunctions } from './ffi-koffi.ts'
import { nodeFunctions } from './ffi-node.ts'
import type { ForeignFunctions } from './ffi-types.ts'
import { firstWorking } from './first-working.ts'

/**
 * The FFI library to call OpenSSL with: the package koffi if it is installed, otherwise the node:ffi of Node.js. koffi
 * comes first because its calls take about half the time.
 *
 * @param koffi for tests.
 * @param node for tests.
 * @throws {@link RenegotiationError} `ERR_RENEGOTIATION_UNSUPPORTED` if neither can be used.
 */
export function foreignFunctions(koffi = koffiFunctions, node = nodeFunctions): ForeignFunctions {
  try {
    return firstWorking([
      ['koffi', () => koffi()],
      ['node:ffi', () => node()],
    ])
  } catch (error) {
    throw new RenegotiationError(
      'ERR_RENEGOTIATION_UNSUPPORTED',
      'OpenSSL cannot be called. Install the package koffi, version 3 or later (npm install koffi), or use a Node.js ' +
        `that has node:ffi. Tried ${(error as Error).message}.`,
      error,
    )
  }
}
