import type { Connection } from './connection.ts'
import { SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION } from './constants.ts'
import { verifyPeer } from './engine-options.ts'

/** Requests a renegotiation of TLS 1.2. The next SSL_read() begins it. */
export function beginRenegotiation(connection: Connection, isServer: boolean, requestCert: boolean): void {
  const { openssl, ssl } = connection
  if (isServer) {
    // When a session is resumed, nobody is asked for a certificate.
    const set = requestCert ? openssl.SSL_set_options : openssl.SSL_clear_options
    set(ssl, SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION)
    verifyPeer(connection, requestCert)
  }
  connection.require((ssl) => openssl.SSL_renegotiate(ssl))
}
