import { type Element, elements, INTEGER, SEQUENCE } from '../core/der.ts'

/** Facts about a session that Node has no getter for. They are read from the session's DER form. */
export interface SessionFacts {
  /** Whether the session has the extended master secret (RFC 7627). Undefined if the DER cannot be read. */
  readonly extendedMasterSecret?: boolean
  /** The identity that belongs to the pre-shared key, if one was used. */
  readonly pskIdentity?: Buffer
  /** The certificate of the peer in DER. A session that was resumed has it, too. */
  readonly peerCertificate?: Buffer
}

/** Context-specific, constructed tags of SSL_SESSION_ASN1 (OpenSSL, ssl/ssl_asn1.c): [3], [8] and [13]. */
const PEER = 0xa3
const PSK_IDENTITY = 0xa8
const FLAGS = 0xad
/** SSL_SESS_FLAG_EXTMS */
const EXTENDED_MASTER_SECRET = 1

/**
 * Reads the facts from `session`, which is what `tls.TLSSocket#getSession()` returns. Never throws: what cannot be read
 * is left out.
 */
export function readSessionDER(session: Buffer | null | undefined): SessionFacts {
  const fields = session && fieldsOf(session)
  if (!fields) return {}
  let flags = 0
  let pskIdentity: Buffer | undefined
  let peerCertificate: Buffer | undefined
  for (const { tag, content } of fields) {
    if (tag === PEER) peerCertificate = content
    const value = tag === FLAGS || tag === PSK_IDENTITY ? elements(content)?.[0]?.content : undefined
    if (value === undefined) continue
    if (tag === FLAGS) flags = value[value.length - 1] ?? 0
    else pskIdentity = value
  }
  return {
    extendedMasterSecret: (flags & EXTENDED_MASTER_SECRET) !== 0,
    ...(pskIdentity !== undefined && { pskIdentity }),
    ...(peerCertificate !== undefined && { peerCertificate }),
  }
}

/**
 * Returns the fields of SSL_SESSION_ASN1, a sequence at the end of the buffer. On a client, newer releases of Node put
 * a header with the server name before it ("nodejs:tls:session:1").
 */
function fieldsOf(session: Buffer): Element[] | undefined {
  for (let start = session.indexOf(SEQUENCE); start !== -1; start = session.indexOf(SEQUENCE, start + 1)) {
    const [sequence, more] = elements(session.subarray(start)) ?? []
    const fields = sequence && more === undefined ? elements(sequence.content) : undefined
    // Its first field is the version of the structure, an integer.
    if (fields?.[0]?.tag === INTEGER) return fields
  }
  return undefined
}
