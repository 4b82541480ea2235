/*
 * Makes the certificate with which the two ends of a soak recognize each other in TLS 1.3.
 */
import { generateKeyPairSync, sign } from 'node:crypto'

/** A private key, and a certificate that it has signed itself. Both in PEM. */
export interface Identity {
  readonly key: string
  readonly cert: string
}

const SEQUENCE = 0x30
const SET = 0x31
/** ecdsa-with-SHA256, 1.2.840.10045.4.3.2. */
const ECDSA_WITH_SHA256 = Buffer.from('06082a8648ce3d040302', 'hex')
/** id-at-commonName, 2.5.4.3. */
const COMMON_NAME = Buffer.from('0603550403', 'hex')

/** Makes a new key and a certificate for it that does not expire (RFC 5280, 4.1). Trust that very certificate. */
export function selfSigned(commonName: string): Identity {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const algorithm = der(SEQUENCE, ECDSA_WITH_SHA256)
  const name = der(SEQUENCE, der(SET, der(SEQUENCE, COMMON_NAME, der(0x0c, Buffer.from(commonName)))))
  const validity = der(SEQUENCE, der(0x17, Buffer.from('000101000000Z')), der(0x18, Buffer.from('99991231235959Z')))
  const serialNumber = der(0x02, Buffer.of(1))
  const subjectPublicKey = publicKey.export({ type: 'spki', format: 'der' })
  const body = der(SEQUENCE, serialNumber, algorithm, name, validity, name, subjectPublicKey)
  const signature = der(0x03, Buffer.of(0), sign('sha256', body, privateKey))
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    cert: `-----BEGIN CERTIFICATE-----\n${der(SEQUENCE, body, algorithm, signature).toString('base64')}\n-----END CERTIFICATE-----\n`,
  }
}

function der(tag: number, ...contents: readonly Buffer[]): Buffer {
  const content = Buffer.concat(contents)
  const { length } = content
  // The long form has the number of the bytes of the length in front of it. No certificate here needs more than two.
  const size = length < 0x80 ? [length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.of(tag, ...size), content])
}
