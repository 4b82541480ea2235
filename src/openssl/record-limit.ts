import type { OpenSSL } from './binding.ts'
import type { Pointer } from './ffi-types.ts'

/** RFC 8446, section 5.5. */
const GCM_RECORDS = Math.floor(2 ** 24.5)
/** RFC 9147, section 4.5.3, for DTLS 1.3. TLS 1.3 itself says nothing of these ciphers. */
const CCM_RECORDS = 2 ** 23

/** How many records the cipher of a connection with TLS 1.3 allows with one key. Infinity if it needs no limit. */
export function recordLimit(openssl: OpenSSL, ssl: Pointer): number {
  const name = String(openssl.SSL_CIPHER_get_name(openssl.SSL_get_current_cipher(ssl)))
  if (/GCM/.test(name)) return GCM_RECORDS
  return /CCM/.test(name) ? CCM_RECORDS : Infinity
}
