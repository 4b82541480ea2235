import { duration, window } from '../quantities.ts'
import { type RegisterOptions, reasonAgainstHosts } from './options.ts'

type Environment = Readonly<Record<string, string | undefined>>

// LIBSSL is not an option here. It is read by src/openssl/library.ts.
const variables = ['MODE', 'REKEY', 'PEER_LIMIT', 'HOSTS', 'REPORT', 'LIBSSL'].map((name) => `RENEGOTIATION_${name}`)

/** Reads the options of `renegotiation-duplex/register` from environment variables. An empty one counts as unset. */
export function optionsFrom(environment: Environment): RegisterOptions {
  const read = <T>(name: string, parse: (text: string) => T): T | undefined => {
    const text = environment[name]?.trim()
    if (!text) return undefined
    try {
      return parse(text)
    } catch (error) {
      throw new TypeError(`The environment variable ${name} is '${text}'. ${(error as Error).message}`)
    }
  }
  const unknown = Object.keys(environment).find(
    (name) => name.startsWith('RENEGOTIATION_') && !variables.includes(name),
  )
  if (unknown !== undefined) {
    throw new TypeError(`The environment variable ${unknown} is unknown. There are ${variables.join(', ')}.`)
  }
  const everyMs = read('RENEGOTIATION_REKEY', (text) => withUnits(text, window))
  const peerLimit = read('RENEGOTIATION_PEER_LIMIT', limit)
  return {
    mode: read('RENEGOTIATION_MODE', (text) => oneOf(text, { guard: 'guard', watch: 'watch' } as const)),
    hosts: read('RENEGOTIATION_HOSTS', names),
    report: read('RENEGOTIATION_REPORT', (text) => oneOf(text, { 0: false, 1: true })),
    renegotiation:
      everyMs === undefined && peerLimit === undefined
        ? undefined
        : { ...(everyMs && { rekey: { everyMs: [...everyMs] } }), ...(peerLimit !== undefined && { peerLimit }) },
  }
}

function oneOf<T>(text: string, values: Readonly<Record<string, T>>): T {
  if (!Object.hasOwn(values, text)) throw new Error(`It must be ${Object.keys(values).join(' or ')}.`)
  return values[text] as T
}

function names(text: string): string[] {
  const all = text.split(',').map((name) => name.trim())
  const reason = reasonAgainstHosts(all)
  if (reason !== undefined) throw new Error(reason)
  return all
}

/** Parses times, each of which must have a unit: `10-15m` would otherwise be 10 seconds to 15 minutes. */
function withUnits<T>(text: string, parse: (text: string) => T): T {
  if (/\d\s*(-|$)/.test(text)) throw new Error('Each time must have one of the units ms, s, m, h, d.')
  return parse(text)
}

/** `off`, a number such as `5`, or a number in a time such as `5/10m`. */
function limit(text: string): { max: number; windowMs?: number } | false {
  if (text === 'off') return false
  const [, max, time] = /^(\d{1,9})(?:\/(.+))?$/.exec(text) ?? []
  if (max === undefined) throw new Error("It must be 'off', a number such as 5, or a number in a time such as 5/10m.")
  return { max: Number(max), ...(time !== undefined && { windowMs: withUnits(time, duration) }) }
}
