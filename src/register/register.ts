import { isRegistered, setRegistered } from '../tls/plain.ts'
import { Choice } from './choose.ts'
import { countRenegotiations, type GuardCounts, newCounts } from './counts.ts'
import { guard } from './guard.ts'
import * as late from './late.ts'
import type { RegisterOptions } from './options.ts'

/**
 * Guards `node:tls` for the whole process: from now on, `tls.connect()`, each `tls.Server`, `https` and everything
 * built on them use the streams of this package. `import 'renegotiation-duplex/register'` does the same with options
 * from the environment.
 *
 * Connections that cannot renegotiate keep the socket of Node.js: those that may use HTTP/2, and those that are known to
 * use TLS 1.3. A program that stored a reference to `tls.connect()` before is warned (`RENEGOTIATION_REGISTERED_LATE`),
 * and so is one in which the rest of the package cannot be loaded (`RENEGOTIATION_NOT_LOADED`).
 *
 * @returns the counts, which are kept up to date.
 * @throws TypeError (`ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`) or RangeError (`ERR_OUT_OF_RANGE`) for a bad
 *   option.
 * @throws Error if `node:tls` is guarded already, or this Node.js was told not to `require()` ES modules.
 * @example
 * ```js
 * register({ hosts: ['*.plant.example'], renegotiation: { rekey: { everyMs: [600_000, 900_000] } } })
 * ```
 */
export function register(options?: RegisterOptions): GuardCounts {
  if (options !== undefined) late.options().check(options)
  if (isRegistered()) throw new Error('node:tls is guarded already')
  late.mustRequireModules()
  setRegistered()
  const { mode = 'guard', hosts, report = false, renegotiation } = options ?? {}
  const counts = newCounts()
  guard({ mode, choice: new Choice(hosts), renegotiation, counts })
  countRenegotiations(counts)
  if (report) process.on('exit', () => late.report().writeReport(counts, mode))
  return counts
}
