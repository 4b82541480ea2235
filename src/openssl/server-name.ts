/* The server name that a client requests (SNI, RFC 6066, section 3). */
import { createHash } from 'node:crypto'
import type { OpenSSL } from './binding.ts'
import { TLSEXT_NAMETYPE_host_name, TLSEXT_TYPE_server_name } from './constants.ts'
import { addressIn } from './encoded.ts'
import type { Pointer } from './ffi-types.ts'
import { attempt } from './succeed.ts'

/** What comes before the name: the length of a list, which has one element, the type of the name, and its length. */
const HEADER_BYTES = 5
/** Longer names are refused by OpenSSL, and no application should have to compare them. */
const MAX_NAME_BYTES = 255

/**
 * The server name in the ClientHello, '' if it has none or a malformed one. OpenSSL refuses a malformed one later, except in a
 * handshake of TLS 1.2 that resumes a session. To be called only where SSL_CTX_set_client_hello_cb(3) calls.
 * SSL_get_servername(3) would not know the name yet.
 */
export function serverNameIn(openssl: OpenSSL, ssl: Pointer): string {
  const address = new BigUint64Array(1)
  const length = new BigUint64Array(1)
  if (openssl.SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, address, length) !== 1) return ''
  const bytes = Number(length[0])
  if (bytes > HEADER_BYTES + MAX_NAME_BYTES) return ''
  const extension = openssl.bytesAt(addressIn(address) as Pointer, bytes)
  const name = extension.subarray(HEADER_BYTES)
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt16BE(name.length + 3, 0)
  header[2] = TLSEXT_NAMETYPE_host_name
  header.writeUInt16BE(name.length, 3)
  const isValid = extension.subarray(0, HEADER_BYTES).equals(header) && !name.includes(0)
  // One character for each byte, as in Node.
  return isValid ? name.toString('latin1') : ''
}

/**
 * Binds the sessions of a server's connection to a server name: only a client that requests it can resume them. For
 * another name, other authorities may be in force (RFC 6066, section 3). OpenSSL does not compare the names.
 *
 * @param sessionIdContext the option of the server.
 */
export function bindSessions(openssl: OpenSSL, ssl: Pointer, sessionIdContext: string, servername: string): void {
  const bound = createHash('sha256')
    .update(JSON.stringify([sessionIdContext, servername]))
    .digest()
  attempt(openssl, () => openssl.SSL_set_session_id_context(ssl, bound, bound.length))
}
