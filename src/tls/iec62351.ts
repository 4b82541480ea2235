/* Options for TLS 1.2 as IEC 62351-3 profiles it. docs/iec-62351.md goes through its requirements. */
import type { CommonConnectionOptions, SecureContextOptions } from 'node:tls'
import { invalidType, invalidValue, outOfRange } from '../core/errors.ts'
import type { RenegotiationOptions } from '../core/options.ts'
import { timeWindow } from '../core/rekey-options.ts'
import { flag, mustBeObject, number, quote } from '../core/values.ts'
import { marked, type Profile } from '../transports/tls-profile.ts'

/** The options of {@link iec62351}: the intervals, the certificates, and the trust anchors. */
export interface IEC62351Options extends Pick<SecureContextOptions, 'cert' | 'key' | 'pfx' | 'passphrase'> {
  /**
   * Milliseconds from one full handshake to the next, in which both ends check certificates again. `[min, max]` is a
   * random value between the two, chosen anew each time. From 600,000 (10 min) to 86,400,000 (24 h); the standard
   * suggests 12 h, and an interval that fits the one in which new revocation lists are issued.
   */
  renegotiateEveryMs: number | readonly [min: number, max: number]
  /**
   * On a server: milliseconds from one handshake to the next, if abbreviated handshakes (session resumption) are to
   * renew the keys between two full ones. More than 0 and less than `renegotiateEveryMs`. On a client, it is a TypeError:
   * a client takes part when the server begins one, and cannot begin one itself.
   * @default none: each handshake of this end is a full one
   */
  resumeEveryMs?: number | readonly [min: number, max: number] | undefined
  /**
   * How many milliseconds a full handshake may be late. After that, the stream is destroyed with
   * `ERR_RENEGOTIATION_KEYS_EXPIRED`. From 1 to 86,400,000.
   * @default 120_000 (2 min)
   */
  graceMs?: number | undefined
  /** The trust anchors, in PEM: one or several. Required: otherwise Node.js would trust the authorities of the Web. */
  ca: NonNullable<SecureContextOptions['ca']>
  /**
   * The cipher suites, by their names in OpenSSL, in the order of preference. Each must be one of
   * {@link IEC62351Cipher}.
   * @default those with forward secrecy: all but `AES128-SHA256`
   */
  ciphers?: readonly IEC62351Cipher[] | undefined
  /**
   * Allows `renegotiateEveryMs` from 1 ms on. The standard does not allow that in operation; a test may want to see many
   * renegotiations.
   * @default false
   */
  allowShortIntervalsForTests?: boolean | undefined
}

/**
 * The cipher suites of TLS 1.2 that {@link iec62351} accepts. No suite without encryption, with SHA-1, or with a block
 * cipher other than AES is among them.
 */
export type IEC62351Cipher = (typeof CIPHERS)[number]

/** What {@link iec62351} returns: options for `connect()` and `createServer()`. */
export interface IEC62351Settings
  extends Pick<SecureContextOptions, 'cert' | 'key' | 'pfx' | 'passphrase' | 'sessionTimeout' | 'dhparam'>,
    Required<Pick<CommonConnectionOptions, 'requestCert' | 'rejectUnauthorized'>> {
  ca: NonNullable<SecureContextOptions['ca']>
  ciphers: string
  minVersion: 'TLSv1.2'
  maxVersion: 'TLSv1.2'
  renegotiation: RenegotiationOptions
}

const MINUTE = 60_000
const DAY = 24 * 60 * MINUTE
const SHORTEST = 10 * MINUTE
/** The most octets of a certificate that every implementation must accept. */
const LARGEST_CERTIFICATE = 8192

/**
 * The last has no forward secrecy. It is for peers that have only what IEC 62351-4:2018 makes mandatory, according to
 * the sources of lib60870.
 */
const CIPHERS = [
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'DHE-RSA-AES256-GCM-SHA384',
  'DHE-RSA-AES128-GCM-SHA256',
  'AES128-SHA256',
] as const

const NAMES = [
  'renegotiateEveryMs',
  'resumeEveryMs',
  'graceMs',
  'ca',
  'cert',
  'key',
  'pfx',
  'passphrase',
  'ciphers',
  'allowShortIntervalsForTests',
]

/**
 * Returns the options of a connection or a server that follows IEC 62351-3, for TLS 1.2. Spread them into the other
 * options of {@link connect} or {@link createServer}.
 *
 * - Both ends must show a certificate that verifies. Both check it again at least every `renegotiateEveryMs`, in a full
 *   handshake. If there is none in time, the stream ends.
 * - Only TLS 1.2, with the cipher suites above. Keys of RSA have at least 2,048 bits, and no signature uses SHA-1
 *   (OpenSSL's security level 2).
 * - The extended master secret (RFC 7627) is required from the first handshake on. OpenSSL renegotiates only as RFC 5746
 *   says; a peer that cannot do that is refused by a client at once, and by a server at the first renegotiation.
 * - A connection that resumed a session at the start renegotiates at once, because nobody has checked a certificate.
 *
 * Give revocation lists to `server.updateCRL()` and `stream.updateCRL()`. Node's option `crl` is no option here, but may
 * stand beside: with it, OpenSSL refuses every peer once a list has expired, which the standard does not want.
 *
 * `connect()` and `createServer()` check that none of these options was replaced, whatever is spread before or after
 * them. `wrapTLSSocket()` cannot check the TLS options of a socket that exists already, and `server.addContext()` is not
 * checked.
 *
 * @throws TypeError (`ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`) or RangeError (`ERR_OUT_OF_RANGE`) that names the
 *   option and quotes the value, for values outside the standard.
 * @example
 * ```js
 * const [key, cert, ca, crl] = ['key', 'cert', 'ca', 'crl'].map((name) => readFileSync(`${name}.pem`))
 * const profile = iec62351({ renegotiateEveryMs: 12 * 3_600_000, key, cert, ca })
 * const stream = connect({ host: 'plant.example', port: 19998, ...profile })
 * stream.on('error', (error) => console.error(error.code, error.message))
 * await stream.updateCRL(crl)
 * ```
 */
export function iec62351(options: IEC62351Options): IEC62351Settings {
  mustBeObject('options', options)
  // With a misspelt name, an interval would be missing, and nobody would notice.
  const unknown = Object.keys(options).find((name) => !NAMES.includes(name))
  if (unknown !== undefined) throw invalidValue(`iec62351() has the options ${NAMES.join(', ')}, got ${quote(unknown)}`)
  const full = interval(options)
  const resumption = resumptionInterval(options, full)
  const graceMs = number('graceMs', options.graceMs, 1, DAY) ?? 2 * MINUTE
  const ciphers = `${cipherList(options.ciphers).join(':')}:@SECLEVEL=2`
  const credentials = credentialsOf(options)
  // Frozen, because checkProfile() compares the object and not what is in it.
  const rekey = Object.freeze({
    fullEveryMs: full,
    hardLimit: Object.freeze({ fullMs: full[1] + graceMs }),
    ...(resumption !== undefined && { everyMs: resumption }),
  })
  const stream = { rekey, requireExtendedMasterSecret: 'always', ...(resumption !== undefined && { resumption: true }) }
  const tls = {
    ...credentials,
    ciphers,
    minVersion: 'TLSv1.2',
    maxVersion: 'TLSv1.2',
    requestCert: true,
    rejectUnauthorized: true,
    dhparam: 'auto',
    // Tickets must last until the next full handshake, which issues a new one.
    ...(resumption !== undefined && { sessionTimeout: Math.ceil((full[1] + graceMs) / 1000) }),
  } as const
  const profile: Profile = {
    name: 'iec62351()',
    tls,
    renegotiation: stream,
    notForClients:
      resumption === undefined
        ? undefined
        : `resumeEveryMs is for a server, because a client cannot begin an abbreviated handshake, got ${quote(options.resumeEveryMs)}`,
  }
  return marked({ ...tls, renegotiation: stream as RenegotiationOptions }, profile)
}

type Interval = readonly [min: number, max: number]

function interval({ renegotiateEveryMs: value, ...options }: IEC62351Options): Interval {
  const isTest = flag(options, 'allowShortIntervalsForTests') ?? false
  const [min, max] =
    timeWindow('renegotiateEveryMs', value) ?? missing('renegotiateEveryMs', value, 'it has no default')
  if (min >= (isTest ? 1 : SHORTEST) && max <= DAY) return Object.freeze([min, max] as const)
  const range = isTest ? `1 to ${DAY} (24 h)` : `${SHORTEST} (10 min) to ${DAY} (24 h)`
  throw outOfRange(`renegotiateEveryMs must be from ${range}, got ${quote(value)}`)
}

function resumptionInterval({ resumeEveryMs: value }: IEC62351Options, full: Interval): Interval | undefined {
  const window = timeWindow('resumeEveryMs', value)
  if (window === undefined || window[1] < full[0]) return Object.freeze(window)
  throw outOfRange(`resumeEveryMs must be less than renegotiateEveryMs (${full[0]}), got ${quote(value)}`)
}

function cipherList(ciphers: IEC62351Options['ciphers']): readonly string[] {
  if (ciphers === undefined) return CIPHERS.slice(0, -1)
  if (!Array.isArray(ciphers)) throw invalidType(`ciphers must be an array of names, got ${quote(ciphers)}`)
  const known: readonly unknown[] = CIPHERS
  if (ciphers.length > 0 && ciphers.every((name) => known.includes(name))) return [...ciphers]
  throw invalidValue(`ciphers must be names of ${CIPHERS.join(', ')}, got ${quote(ciphers)}`)
}

/** The options of the certificates that are given. */
function credentialsOf({ ca, cert, key, pfx, passphrase }: IEC62351Options) {
  if (!isGiven(ca)) missing('ca', ca, 'otherwise Node.js would trust the authorities of the Web')
  if (!isGiven(pfx)) {
    if (!isGiven(cert)) missing('cert', cert, 'both ends must show a certificate')
    if (!isGiven(key)) missing('key', key, 'both ends must show a certificate')
  }
  for (const octets of [cert].flat().flatMap(certificateSizes)) {
    if (octets <= LARGEST_CERTIFICATE) continue
    throw outOfRange(`cert must have certificates of at most ${LARGEST_CERTIFICATE} octets, got one of ${octets}`)
  }
  const all = { ca, cert, key, pfx, passphrase }
  const given = Object.entries(all).filter(([, value]) => value !== undefined)
  return Object.fromEntries(given) as typeof all
}

function isGiven(value: unknown): boolean {
  return Array.isArray(value) ? value.some(isGiven) : Boolean(value)
}

/** How many octets each certificate in PEM has. */
function certificateSizes(pem: unknown): number[] {
  const blocks = /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----([^-]*)-----END/g
  return [...`${pem}`.matchAll(blocks)].map(([, base64 = '']) => Buffer.from(base64, 'base64').length)
}

/** `value` is empty, so it is no secret. */
function missing(name: string, value: unknown, why: string): never {
  throw invalidValue(`${name} is required, because ${why}. Got ${quote(value)}`)
}
