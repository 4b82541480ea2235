import { inspect } from 'node:util'
import { invalidType, invalidValue } from '../core/errors.ts'
import { parseOptions as parseStreamOptions, type RenegotiationOptions } from '../core/options.ts'

/** The options of `register()`. */
export interface RegisterOptions {
  /**
   * `guard`: connections get a stream of this package. `watch`: they do not; their renegotiations are only counted.
   *
   * @default 'guard'
   */
  mode?: 'guard' | 'watch' | undefined
  /**
   * The servers to which connections are guarded: the host as the program gives it, which may be an address, or the
   * server name (SNI). `*` stands for any characters. Connections that a server in this process accepts are always
   * guarded.
   *
   * @default all
   */
  hosts?: readonly string[] | undefined
  /**
   * Whether one line with the counts is written to stderr when the process exits.
   *
   * @default false
   */
  report?: boolean | undefined
  /** The options of each stream. The option `renegotiation` of `tls.connect()` takes precedence for its connection. */
  renegotiation?: RenegotiationOptions | undefined
}

const names = ['hosts', 'mode', 'renegotiation', 'report']

/** @throws TypeError or RangeError for a bad option, or one that does not exist. */
export function check(options: RegisterOptions): void {
  if (typeof options !== 'object' || options === null) {
    throw invalidType(`options must be an object, got ${inspect(options)}`)
  }
  const unknown = Object.keys(options).find((name) => !names.includes(name))
  if (unknown !== undefined) throw invalidValue(`There is no option '${unknown}'. There are ${names.join(', ')}`)
  const { mode, hosts, report, renegotiation } = options
  if (mode !== undefined && mode !== 'guard' && mode !== 'watch') {
    throw invalidValue(`mode must be 'guard' or 'watch', got ${inspect(mode)}`)
  }
  if (hosts !== undefined) checkHosts(hosts)
  if (report !== undefined && typeof report !== 'boolean') {
    throw invalidType(`report must be a boolean, got ${inspect(report)}`)
  }
  parseStreamOptions(renegotiation)
}

function checkHosts(hosts: readonly string[]): void {
  if (!(Array.isArray(hosts) && hosts.every((host) => typeof host === 'string'))) {
    throw invalidType(`hosts must be an array of names, got ${inspect(hosts)}`)
  }
  const reason = reasonAgainstHosts(hosts)
  if (reason !== undefined) throw invalidValue(`hosts is ${inspect(hosts)}. ${reason}`)
}

/** Why these cannot be the option `hosts`, as a sentence. Undefined if they can. */
export function reasonAgainstHosts(hosts: readonly string[]): string | undefined {
  if (hosts.length === 0 || hosts.includes('')) return 'It must have one name or more, and none that is empty.'
  // An IPv6 address has more than one colon.
  const isOther = (host: string) => /[/[\]\s]/.test(host) || /^[^:]*:[^:]*$/.test(host)
  return hosts.some(isOther) ? 'It must have no ports, schemes, paths, brackets or spaces.' : undefined
}
