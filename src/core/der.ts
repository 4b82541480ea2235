/* Splits DER, the encoding of certificates, revocation lists and sessions, into its elements (X.690). */

export interface Element {
  readonly tag: number
  readonly content: Buffer
  /** The tag, the length and the content. */
  readonly whole: Buffer
}

export const BOOLEAN = 0x01
export const INTEGER = 0x02
export const BIT_STRING = 0x03
export const OCTET_STRING = 0x04
export const OBJECT_IDENTIFIER = 0x06
export const UTC_TIME = 0x17
export const GENERALIZED_TIME = 0x18
export const SEQUENCE = 0x30

/** Splits `der` into its DER elements. Returns undefined if it is truncated or malformed. */
export function elements(der: Buffer): Element[] | undefined {
  const found: Element[] = []
  for (let at = 0; at < der.length; ) {
    const start = at
    const tag = der[at++] as number
    let length = der[at++] ?? 0
    if (length >= 0x80) {
      const bytes = length & 0x7f
      if (bytes === 0 || bytes > 4 || at + bytes > der.length) return undefined
      length = der.readUIntBE(at, bytes)
      at += bytes
    }
    if (at + length > der.length) return undefined
    found.push({ tag, content: der.subarray(at, at + length), whole: der.subarray(start, at + length) })
    at += length
  }
  return found
}
