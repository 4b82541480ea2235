/*
 * A profile is a set of TLS options that belong together, such as those of iec62351(). It leaves a mark in its options,
 * which `{ ...options }` and Object.assign() copy. connect() and createServer() look for the mark, and refuse options in
 * which a value of the profile was replaced: otherwise `{ ...profile, rejectUnauthorized: false }`, or the same in
 * another order, would be a connection without the profile, and nobody would notice.
 */
import { constants } from 'node:crypto'
import { invalidValue } from '../core/errors.ts'
import { quote } from '../core/values.ts'

/** What a profile requires of the options of a connection. */
export interface Profile {
  /** The function that made the options. For messages. */
  readonly name: string
  /** The options of `node:tls` that must be exactly these. */
  readonly tls: Readonly<Record<string, unknown>>
  /** The options of the stream that must be exactly these. */
  readonly renegotiation: Readonly<Record<string, unknown>>
  /** Why a client cannot have these options. */
  readonly notForClients?: string | undefined
}

/** Options that would replace the context or the checks of the profile. */
const REPLACING = ['secureContext', 'SNICallback', 'pskCallback', 'secureProtocol'] as const

/** The bits of `secureOptions` that weaken a renegotiation or prevent it. Node has no name for the last two in all releases. */
const WEAKENING = {
  SSL_OP_LEGACY_SERVER_CONNECT: constants.SSL_OP_LEGACY_SERVER_CONNECT,
  SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION: constants.SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION,
  SSL_OP_NO_RENEGOTIATION: 0x4000_0000,
  SSL_OP_NO_EXTENDED_MASTER_SECRET: 0x1,
} as const

/** Options that are never quoted in a message. */
const SECRET: ReadonlySet<string> = new Set(['key', 'pfx', 'passphrase', 'cert', 'ca'])

const MARK = Symbol('renegotiation-duplex.profile')

type Marked = { readonly [MARK]?: Profile }

/** Leaves the mark of a profile in its options, and in the options of the stream among them. */
export function marked<Options extends { renegotiation: object }>(options: Options, profile: Profile): Options {
  return { ...options, [MARK]: profile, renegotiation: { ...options.renegotiation, [MARK]: profile } }
}

/** Whether the options are those of a profile. */
export function hasProfile(options: object): boolean {
  return profileOf(options) !== undefined
}

/**
 * Checks options that have the mark of a profile. Does nothing for others.
 *
 * @throws TypeError (`ERR_INVALID_ARG_VALUE`) that names an option which is not as the profile requires.
 */
export function checkProfile(role: 'client' | 'server', options: object): void {
  const profile = profileOf(options)
  if (profile === undefined) return
  const { name, notForClients } = profile
  if (role === 'client' && notForClients !== undefined) throw invalidValue(notForClients)
  // Only their own properties: Node copies the options, and would not see inherited ones.
  const given: Record<string, unknown> = { ...options }
  mustBeAsMade(name, '', profile.tls, given)
  const stream: Record<string, unknown> = { ...(given['renegotiation'] as object | undefined) }
  mustBeAsMade(name, 'renegotiation.', profile.renegotiation, stream)
  // A peer that stops in the middle of a handshake would keep a connection whose certificates are not checked again.
  if (stream['handshakeTimeout'] === 0) throw notAllowed(name, 'renegotiation.handshakeTimeout: 0')
  for (const option of REPLACING) if (given[option]) throw notAllowed(name, option)
  const bits = Number(given['secureOptions'] ?? 0)
  for (const [constant, bit] of Object.entries(WEAKENING)) {
    if ((bits & bit) !== 0) throw notAllowed(name, `secureOptions with ${constant}`)
  }
}

/**
 * Checks the options of `setSecureContext()` on a server that was made with a profile.
 *
 * @throws as {@link checkProfile} does, and for options without a profile.
 */
export function mustHaveProfile(options: object): void {
  if (!hasProfile(options)) {
    throw invalidValue(
      'setSecureContext() of a server with a profile, such as iec62351(), needs options with one as well',
    )
  }
  checkProfile('server', options)
}

function profileOf(options: object): Profile | undefined {
  const { renegotiation } = options as { renegotiation?: Marked | null }
  return (options as Marked)[MARK] ?? renegotiation?.[MARK]
}

function mustBeAsMade(
  name: string,
  prefix: string,
  required: Readonly<Record<string, unknown>>,
  given: Readonly<Record<string, unknown>>,
): void {
  for (const [option, value] of Object.entries(required)) {
    if (Object.is(given[option], value)) continue
    const got = SECRET.has(option) ? 'another value' : quote(given[option])
    throw invalidValue(
      `${prefix}${option} must be as ${name} has set it, got ${got}. Spread all that ${name} returns, after your own options`,
    )
  }
}

function notAllowed(name: string, what: string): TypeError {
  return invalidValue(`With the options of ${name}, ${what} is not allowed: it would replace or weaken them`)
}
