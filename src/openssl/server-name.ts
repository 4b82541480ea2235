/* The server name that a client requests (SNI, RFC 6066, section 3), and the sessions from under it. */
import { createHash } from 'node:crypto'
import type { OpenSSL } from './binding.ts'
import { TLSEXT_TYPE_server_name } from './constants.ts'
import { addressIn } from './encoded.ts'
import type { Pointer } from './ffi-types.ts'
import { attempt } from './succeed.ts'

/** What comes before the name: the length of a list, which has one element, the type of the name, and its length. */
const HEADER_BYTES = 5

/**
 * The server name in the ClientHello, '' if it has none. To be called only where SSL_CTX_set_client_hello_cb(3) calls.
 * SSL_get_servername(3) would not know it if the client resumes a session of TLS 1.2.
 *
 * OpenSSL has not checked the extension yet. It refuses a malformed one later.
 */
export function serverNameIn(openssl: OpenSSL, ssl: Pointer): string {
  const address = new BigUint64Array(1)
  const length = new BigUint64Array(1)
  if (openssl.SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, address, length) !== 1) return ''
  // One character for each byte, as in Node.
  return openssl.bytesAt(addressIn(address) as Pointer, Number(length[0])).toString('latin1', HEADER_BYTES)
}

/**
 * Binds the sessions of a server's connection to a server name. They can be resumed only by a client that requests the
 * same, because other authorities may be in force for another (RFC 6066, section 3). OpenSSL does not see to that.
 *
 * @param sessionIdContext the option of the server.
 */
export function bindSessions(openssl: OpenSSL, ssl: Pointer, sessionIdContext: string, servername: string): void {
  const bound = createHash('sha256')
    .update(JSON.stringify([sessionIdContext, servername]))
    .digest()
  attempt(openssl, () => openssl.SSL_set_session_id_context(ssl, bound, bound.length))
}
