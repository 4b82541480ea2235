/*
 * A certificate authority for the example, with nothing but Node.js: it issues certificates and revocation lists
 * (RFC 5280). For a real one, take a product, or `openssl ca`.
 */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'

/** A certificate and its key, in PEM. */
export interface Credentials {
  readonly key: string
  readonly cert: string
  /** The serial number, for a revocation list. */
  readonly serial: Buffer
}

interface IssueOptions {
  /** The kind of the key. Default: ECDSA with P-256. Otherwise RSA with so many bits. */
  readonly rsaBits?: number
  /** The exact size of the certificate in octets. It is filled up with a comment. */
  readonly octets?: number
  /** When the certificate expires. Default: in a day. */
  readonly notAfter?: Date
}

const HOUR = 3_600_000
const OID = {
  ecdsaWithSHA256: '2a8648ce3d040302',
  commonName: '550403',
  subjectKeyIdentifier: '551d0e',
  keyUsage: '551d0f',
  subjectAltName: '551d11',
  basicConstraints: '551d13',
  crlNumber: '551d14',
  authorityKeyIdentifier: '551d23',
  comment: '6086480186f842010d',
} as const

export class Authority {
  /** The certificate of the authority, in PEM. */
  readonly cert: string
  readonly #name: Buffer
  readonly #key: KeyObject
  readonly #keyId: Buffer
  #lists = 0

  constructor(name: string) {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    this.#name = nameOf(name)
    this.#key = privateKey
    this.#keyId = keyId(publicKey)
    this.cert = this.#certificate(this.#name, publicKey, serialNumber(), new Date(Date.now() + 24 * HOUR), [
      extension(OID.basicConstraints, sequence(der(0x01, Buffer.of(0xff))), true),
      // keyCertSign and cRLSign
      extension(OID.keyUsage, der(0x03, Buffer.of(1, 0x06)), true),
      extension(OID.subjectKeyIdentifier, der(0x04, this.#keyId)),
    ])
  }

  /** Issues a certificate for 127.0.0.1 and localhost. */
  issue(name: string, options: IssueOptions = {}): Credentials {
    const { rsaBits, octets, notAfter = new Date(Date.now() + 24 * HOUR) } = options
    const { privateKey, publicKey } =
      rsaBits === undefined
        ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
        : generateKeyPairSync('rsa', { modulusLength: rsaBits })
    const serial = serialNumber()
    const address = [der(0x82, Buffer.from('localhost')), der(0x87, Buffer.of(127, 0, 0, 1))]
    const make = (comment: number) =>
      this.#certificate(nameOf(name), publicKey, serial, notAfter, [
        extension(OID.subjectAltName, sequence(...address)),
        extension(OID.subjectKeyIdentifier, der(0x04, keyId(publicKey))),
        extension(OID.authorityKeyIdentifier, sequence(der(0x80, this.#keyId))),
        ...(comment > 0 ? [extension(OID.comment, der(0x16, Buffer.alloc(comment, 'x')))] : []),
      ])
    let comment = octets === undefined ? 0 : octets - 600
    let cert = make(comment)
    // The size of a signature varies by a few octets, so this takes more than one attempt.
    while (octets !== undefined && sizeOf(cert) !== octets) {
      comment += octets - sizeOf(cert)
      cert = make(comment)
    }
    return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), cert, serial }
  }

  /** Issues a revocation list, in PEM. */
  revoke(revoked: readonly Credentials[], nextUpdate = new Date(Date.now() + 24 * HOUR)): string {
    const entries = revoked.map(({ serial }) => sequence(der(0x02, serial), time(new Date(Date.now() - HOUR))))
    const extensions = sequence(
      extension(OID.authorityKeyIdentifier, sequence(der(0x80, this.#keyId))),
      extension(OID.crlNumber, der(0x02, Buffer.of(++this.#lists))),
    )
    return this.#signed(
      'X509 CRL',
      der(0x02, Buffer.of(1)),
      ALGORITHM,
      this.#name,
      time(new Date(Date.now() - HOUR)),
      time(nextUpdate),
      ...(entries.length > 0 ? [sequence(...entries)] : []),
      der(0xa0, extensions),
    )
  }

  #certificate(
    subject: Buffer,
    publicKey: KeyObject,
    serial: Buffer,
    notAfter: Date,
    extensions: readonly Buffer[],
  ): string {
    return this.#signed(
      'CERTIFICATE',
      der(0xa0, der(0x02, Buffer.of(2))),
      der(0x02, serial),
      ALGORITHM,
      this.#name,
      sequence(time(new Date(Date.now() - 24 * HOUR)), time(notAfter)),
      subject,
      publicKey.export({ type: 'spki', format: 'der' }),
      der(0xa3, sequence(...extensions)),
    )
  }

  #signed(label: string, ...fields: readonly Buffer[]): string {
    const content = sequence(...fields)
    const signature = der(0x03, Buffer.of(0), sign('sha256', content, this.#key))
    const base64 = sequence(content, ALGORITHM, signature).toString('base64')
    return `-----BEGIN ${label}-----\n${base64.replace(/.{64}/g, '$&\n').trimEnd()}\n-----END ${label}-----\n`
  }
}

const ALGORITHM = sequence(oid(OID.ecdsaWithSHA256))

function der(tag: number, ...contents: readonly Buffer[]): Buffer {
  const content = Buffer.concat(contents)
  const { length } = content
  const size = length < 0x80 ? [length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.of(tag, ...size), content])
}

function sequence(...contents: readonly Buffer[]): Buffer {
  return der(0x30, ...contents)
}

function oid(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, 'hex'))
}

function nameOf(commonName: string): Buffer {
  return sequence(der(0x31, sequence(oid(OID.commonName), der(0x0c, Buffer.from(commonName)))))
}

function time(at: Date): Buffer {
  return der(0x17, Buffer.from(at.toISOString().replace(/^20|[-:T]|\.\d+/g, '')))
}

function extension(id: string, value: Buffer, critical = false): Buffer {
  return sequence(oid(id), ...(critical ? [der(0x01, Buffer.of(0xff))] : []), der(0x04, value))
}

/** Positive, and without a leading zero. */
function serialNumber(): Buffer {
  const serial = randomBytes(16)
  serial[0] = ((serial[0] as number) & 0x3f) | 0x40
  return serial
}

function keyId(publicKey: KeyObject): Buffer {
  return createHash('sha1')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest()
}

function sizeOf(pem: string): number {
  return Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64').length
}
