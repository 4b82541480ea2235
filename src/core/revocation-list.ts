/*
 * One certificate revocation list (RFC 5280, section 5).
 *
 * It is read here and not by a library: those that exist make several objects of each element, and by default refuse a list
 * with a hundred thousand entries. OpenSSL could check the lists by itself, but refuses every peer when a list has expired, or
 * when one authority of a chain has none.
 */
import { constants, verify, type X509Certificate } from 'node:crypto'
import {
  BIT_STRING,
  BOOLEAN,
  type Element,
  elements,
  GENERALIZED_TIME,
  INTEGER,
  OBJECT_IDENTIFIER,
  OCTET_STRING,
  SEQUENCE,
  UTC_TIME,
} from './der.ts'
import { listError } from './errors.ts'

/** What a list says about itself and about others. */
export class RevocationList {
  /** The name of the authority in DER. */
  readonly issuer: Buffer
  /** Grows with each list of the authority. Undefined if the list has no number. */
  readonly number: bigint | undefined
  /** When the list was made, in milliseconds. */
  readonly thisUpdate: number
  /** When there is a newer list at the latest, in milliseconds. Infinity if the list does not say. */
  readonly nextUpdate: number
  /** Which certificates of the authority the list is for: its issuing distribution point. Empty for all. */
  readonly scope: string
  readonly #signed: Buffer
  readonly #signature: Buffer
  readonly #algorithm: Algorithm
  /** The serial numbers of the revoked certificates. */
  readonly #serials = new Set<string>()

  /**
   * @throws Error with the code ERR_CRL_UNREADABLE if `der` is no revocation list, or has parts that are not supported: it
   *   lists only changes (a delta list), or certificates of other authorities (an indirect list), or has an unknown critical
   *   extension.
   */
  constructor(der: Buffer) {
    const [list, more] = elements(der) ?? []
    if (more !== undefined) throw unreadable()
    const [signed, algorithm, signature] = inside(list && must(list, SEQUENCE), 3)
    const fields = inside(signed)
    this.#signed = must(signed).whole
    this.#algorithm = algorithmOf(must(algorithm))
    const bits = contentOf(signature, BIT_STRING)
    // How many bits of the last byte are not used.
    if (bits[0] !== 0) throw unreadable()
    this.#signature = bits.subarray(1)

    if (fields[0]?.tag === INTEGER) fields.shift()
    const [again, issuer, thisUpdate] = fields.splice(0, 3)
    if (!again?.whole.equals(must(algorithm).whole)) throw unreadable()
    this.issuer = must(issuer, SEQUENCE).whole
    this.thisUpdate = timeOf(must(thisUpdate))
    const hasNext = fields[0]?.tag === UTC_TIME || fields[0]?.tag === GENERALIZED_TIME
    this.nextUpdate = hasNext ? timeOf(must(fields.shift())) : Infinity
    if (fields[0]?.tag === SEQUENCE) for (const entry of inside(fields.shift())) this.#serials.add(revokedIn(entry))
    const { number, scope } = fields[0]?.tag === EXTENSIONS ? extensionsIn(must(fields.shift())) : noExtensions
    if (fields.length > 0) throw unreadable()
    this.number = number
    this.scope = scope
  }

  /** How many certificates are revoked. */
  get size(): number {
    return this.#serials.size
  }

  has({ serialNumber }: Pick<X509Certificate, 'serialNumber'>): boolean {
    return this.#serials.has(serialNumber.toLowerCase().replace(/^(-?)0+/, '$1'))
  }

  /** Whether the key of `authority` has signed the list. */
  isSignedBy({ publicKey }: Pick<X509Certificate, 'publicKey'>): boolean {
    const { hash, ...form } = this.#algorithm
    try {
      return verify(hash, this.#signed, { key: publicKey, ...form }, this.#signature)
    } catch {
      // A key of another kind.
      return false
    }
  }

  /** Whether `other`, of the same authority, was made earlier. */
  isNewerThan(other: RevocationList): boolean {
    if (this.number !== undefined && other.number !== undefined && this.number !== other.number) {
      return this.number > other.number
    }
    return this.thisUpdate > other.thisUpdate
  }
}

/** The tag of `crlExtensions`: [0], explicit. */
const EXTENSIONS = 0xa0

/** Object identifiers, in hexadecimal. Those of extensions are all below 2.5.29. */
const CRL_NUMBER = '551d14'
const DELTA_LIST = '551d1b'
const DISTRIBUTION_POINT = '551d1c'
/** issuerAltName, authorityKeyIdentifier, freshestCRL, authorityInfoAccess: they do not change what the list says. */
const harmless = new Set(['551d12', '551d23', '551d2e', '2b06010505070101'])
/** The tag of `indirectCRL` in a distribution point: [4]. */
const INDIRECT = 0x84

interface Extensions {
  readonly number: bigint | undefined
  readonly scope: string
}

const noExtensions: Extensions = { number: undefined, scope: '' }

function extensionsIn(field: Element): Extensions {
  let { number, scope } = noExtensions
  for (const extension of inside(inside(field, 1)[0])) {
    const { id, isCritical, value } = extensionOf(extension)
    if (id === CRL_NUMBER) {
      number = BigInt(`0x${contentOf(elements(value)?.[0], INTEGER).toString('hex')}`)
    } else if (id === DISTRIBUTION_POINT) {
      if (inside(elements(value)?.[0]).some(({ tag }) => tag === INDIRECT)) throw unsupported('is indirect')
      scope = value.toString('hex')
    } else if (id === DELTA_LIST) {
      throw unsupported('has only the changes since another list')
    } else if (isCritical && !harmless.has(id)) {
      throw unsupported('has a critical extension that this package does not know')
    }
  }
  return { number, scope }
}

function extensionOf(extension: Element): { id: string; isCritical: boolean; value: Buffer } {
  const [id, ...others] = inside(extension)
  const isCritical = others.length === 2 && contentOf(others.shift(), BOOLEAN)[0] !== 0
  return { id: contentOf(id, OBJECT_IDENTIFIER).toString('hex'), isCritical, value: contentOf(others[0], OCTET_STRING) }
}

/** The serial number of an entry. The reason does not matter: a certificate on hold is revoked, too, as in OpenSSL. */
function revokedIn(entry: Element): string {
  const [serial, , extensions] = inside(entry)
  if (extensions !== undefined && inside(extensions).some((extension) => extensionOf(extension).isCritical)) {
    throw unsupported('has entries with critical extensions')
  }
  return serialOf(contentOf(serial, INTEGER))
}

/** As `X509Certificate#serialNumber` has it, without leading zeros and in small letters. */
function serialOf(bytes: Buffer): string {
  const hex = bytes.toString('hex')
  if ((bytes[0] as number) < 0x80) return hex.replace(/^0+/, '')
  return `-${(-BigInt.asIntN(8 * bytes.length, BigInt(`0x${hex}`))).toString(16)}`
}

/** How a list is signed: the arguments of `crypto.verify()`. */
interface Algorithm {
  readonly hash: string | null
  readonly padding?: number
  readonly saltLength?: number
}

/** By object identifier. MD5 and SHA-1 are not here, because others can make signatures with them. */
const algorithms: Readonly<Record<string, Algorithm>> = {
  '2a864886f70d01010b': { hash: 'sha256' },
  '2a864886f70d01010c': { hash: 'sha384' },
  '2a864886f70d01010d': { hash: 'sha512' },
  '2a8648ce3d040302': { hash: 'sha256' },
  '2a8648ce3d040303': { hash: 'sha384' },
  '2a8648ce3d040304': { hash: 'sha512' },
  '2b6570': { hash: null },
  '2b6571': { hash: null },
}
const RSA_PSS = '2a864886f70d01010a'
const hashes: Readonly<Record<string, string>> = {
  '608648016503040201': 'sha256',
  '608648016503040202': 'sha384',
  '608648016503040203': 'sha512',
}

function algorithmOf(identifier: Element): Algorithm {
  const [oid, parameters] = inside(identifier)
  const id = contentOf(oid, OBJECT_IDENTIFIER).toString('hex')
  const algorithm = id === RSA_PSS && parameters !== undefined ? pssOf(parameters) : algorithms[id]
  if (algorithm === undefined) throw unsupported('is signed by an algorithm that this package does not accept')
  return algorithm
}

/** RFC 4055, 3.1: [0] is the hash. OpenSSL takes the length of the salt from the signature itself. */
function pssOf(parameters: Element): Algorithm | undefined {
  const field = inside(parameters).find(({ tag }) => tag === EXTENSIONS)
  const oid = field && inside(inside(field)[0])[0]
  const hash = oid && hashes[oid.content.toString('hex')]
  const { RSA_PKCS1_PSS_PADDING: padding, RSA_PSS_SALTLEN_AUTO: saltLength } = constants
  return hash === undefined ? undefined : { hash, padding, saltLength }
}

/** UTCTime has two digits of the year, for 1950 to 2049. */
function timeOf({ tag, content }: Element): number {
  const text = content.toString('latin1')
  const digits = tag === UTC_TIME ? `${text < '5' ? '20' : '19'}${text}` : text
  const parts = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(digits)
  if (parts === null || (tag !== UTC_TIME && tag !== GENERALIZED_TIME)) throw unreadable()
  const [year, month, day, hour, minute, second] = parts.slice(1).map(Number) as [number, ...number[]]
  return Date.UTC(year, (month as number) - 1, day, hour, minute, second)
}

/** The elements in a sequence, exactly `count` of them if it is given. */
function inside(element: Element | undefined, count?: number): Element[] {
  const found = element && elements(element.content)
  if (found === undefined || (count !== undefined && found.length !== count)) throw unreadable()
  return found
}

function contentOf(element: Element | undefined, tag: number): Buffer {
  const { content } = must(element, tag)
  if (content.length === 0) throw unreadable()
  return content
}

function must(element: Element | undefined, tag = element?.tag): Element {
  if (element === undefined || element.tag !== tag) throw unreadable()
  return element
}

function unreadable(): Error {
  return listError('ERR_CRL_UNREADABLE', 'crl is not a certificate revocation list, in PEM or DER')
}

function unsupported(what: string): Error {
  return listError('ERR_CRL_UNREADABLE', `The revocation list ${what}, which is not supported`)
}
