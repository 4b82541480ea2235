/* Reads from an SSL what is known of its session. */
import type { Session } from '../core/transport.ts'
import { inDER } from './certificates.ts'
import type { Connection } from './connection.ts'
import { SSL_CTRL_GET_EXTMS_SUPPORT, TLS1_2_VERSION, X509_V_OK } from './constants.ts'
import { verifyErrorCode } from './verify.ts'

/** RFC 5705, section 4: labels for private use begin with this word. */
const LABEL = Buffer.from('EXPERIMENTAL-renegotiation-duplex')

/**
 * Reads the session of a completed handshake. In the middle of one, OpenSSL mixes the new session with the old one.
 *
 * `keys` is exported keying material (RFC 5705): it changes with each handshake of TLS 1.2, but not with a key update of
 * TLS 1.3. `identity` is the certificate of the peer in DER.
 */
export function readEngineSession(connection: Connection): Session {
  const { openssl, ssl } = connection
  const certificate = openssl.SSL_get0_peer_certificate(ssl)
  // Without a certificate, the result is X509_V_OK.
  const result = openssl.SSL_get_verify_result(ssl)
  return {
    keys: exportKeys(connection),
    resumed: openssl.SSL_session_reused(ssl) === 1,
    identity: certificate === null ? undefined : inDER(openssl, certificate),
    authorized: certificate !== null && result === X509_V_OK,
    authorizationError: result === X509_V_OK ? undefined : verifyErrorCode(result),
    ...(openssl.SSL_version(ssl) === TLS1_2_VERSION && {
      extendedMasterSecret: openssl.SSL_ctrl(ssl, SSL_CTRL_GET_EXTMS_SUPPORT, 0, null) === 1,
    }),
    servername: connection.requestedName,
  }
}

function exportKeys(connection: Connection): Buffer {
  const keys = Buffer.alloc(32)
  const { SSL_export_keying_material } = connection.openssl
  connection.require((ssl) => SSL_export_keying_material(ssl, keys, keys.length, LABEL, LABEL.length, null, 0, 0))
  return keys
}
