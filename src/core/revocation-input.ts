/* Reads what is given to `updateCRL()`, and the certificates of authorities. */
import { X509Certificate } from 'node:crypto'
import { invalidType, invalidValue, listError } from './errors.ts'
import { RevocationList } from './revocation-list.ts'
import { quote } from './values.ts'

/** A revocation list in PEM, of which a text may hold several, or in DER. */
export type CRL = string | NodeJS.ArrayBufferView | readonly (string | NodeJS.ArrayBufferView)[]

/** What `updateCRL()` has got. */
export interface RevocationInput {
  readonly lists: readonly RevocationList[]
  /** The certificates that stand beside the lists in PEM. */
  readonly certificates: readonly X509Certificate[]
}

const PEM_BLOCK = /-----BEGIN (X509 CRL|(?:TRUSTED |X509 )?CERTIFICATE)-----([^-]*)-----END \1-----/g

/**
 * @throws TypeError with the code ERR_INVALID_ARG_TYPE or ERR_INVALID_ARG_VALUE if `crl` is not what it must be.
 * @throws Error with the code ERR_CRL_UNREADABLE if a list cannot be read.
 */
export function readRevocationInput(crl: unknown): RevocationInput {
  const lists: RevocationList[] = []
  const certificates: X509Certificate[] = []
  const texts: readonly unknown[] = Array.isArray(crl) ? crl : [crl]
  for (const text of texts) {
    const before = lists.length
    const bytes = bytesOf(text)
    if (bytes[0] === DER_SEQUENCE) {
      lists.push(new RevocationList(bytes))
      continue
    }
    for (const [pem, label, base64] of bytes.toString('latin1').matchAll(PEM_BLOCK)) {
      if (label === 'X509 CRL') lists.push(new RevocationList(Buffer.from(base64 as string, 'base64')))
      else certificates.push(certificateOf(pem))
    }
    if (lists.length === before) {
      throw listError('ERR_CRL_UNREADABLE', 'crl has no certificate revocation list, in PEM or DER')
    }
  }
  if (lists.length === 0) throw invalidValue('crl must have at least one revocation list, got []')
  return { lists, certificates }
}

/** The certificates in an option of Node like `ca`: PEM texts or DER. What cannot be read is left out, as Node does. */
export function readCertificates(option: unknown): X509Certificate[] {
  const texts: readonly unknown[] = Array.isArray(option) ? option.flat() : [option]
  return texts.flatMap((text) => {
    if (typeof text !== 'string' && !ArrayBuffer.isView(text)) return []
    const blocks = bytesOf(text).toString('latin1').matchAll(PEM_BLOCK)
    return [...blocks].flatMap(([pem, label]) => (label === 'X509 CRL' ? [] : readable(pem)))
  })
}

/** The first byte of a list in DER. */
const DER_SEQUENCE = 0x30

function bytesOf(text: unknown): Buffer {
  if (typeof text === 'string') return Buffer.from(text)
  if (ArrayBuffer.isView(text)) return Buffer.from(text.buffer, text.byteOffset, text.byteLength)
  throw invalidType(`crl must be a string, a Buffer or an array of these, got ${quote(text)}`)
}

function certificateOf(pem: string): X509Certificate {
  const [certificate] = readable(pem)
  if (certificate === undefined) throw listError('ERR_CRL_UNREADABLE', 'A certificate beside the list cannot be read')
  return certificate
}

function readable(pem: string): X509Certificate[] {
  try {
    return [new X509Certificate(pem)]
  } catch {
    return []
  }
}
