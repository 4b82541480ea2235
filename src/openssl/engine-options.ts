import { Connection } from './connection.ts'
import {
  SSL_CTRL_SET_TLSEXT_HOSTNAME,
  SSL_OP_ALLOW_CLIENT_RENEGOTIATION,
  SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
  SSL_VERIFY_NONE,
  SSL_VERIFY_PEER,
  TLSEXT_NAMETYPE_host_name,
} from './constants.ts'
import type { Pointer } from './ffi-types.ts'
import type { OpenSSL } from './library.ts'
import { acceptEveryCertificate } from './verify.ts'

/** Options of OpenSSLEngine. */
export interface OpenSSLEngineOptions {
  /** An SSL_CTX. The engine holds a reference of its own, so it can be freed afterwards. */
  readonly context: Pointer
  readonly isServer: boolean
  /** On a client: the server name to request (SNI). Default: none. */
  readonly servername?: string | undefined
  /** On a client: an SSL_SESSION to resume. */
  readonly session?: Pointer | undefined
  /** On a server: request a certificate of the client. Default: false. */
  readonly requestCert?: boolean | undefined
  /**
   * On a server with `requestCert`: the first handshake fails if the client has no certificate. A certificate that does
   * not verify is accepted by the engine: see `session().authorized`. Default: true.
   */
  readonly rejectUnauthorized?: boolean | undefined
  /** While more than so many encrypted bytes wait to be sent, write() takes nothing. Default: 65_536. */
  readonly maxOutputBytes?: number | undefined
}

/** Makes the connection of an engine. */
export function openConnection(openssl: OpenSSL, options: OpenSSLEngineOptions): Connection {
  const connection = new Connection(openssl, options.context)
  try {
    if (options.isServer) beServer(connection, options)
    else beClient(connection, options)
    return connection
  } catch (error) {
    connection.free()
    throw error
  }
}

/**
 * Sets whether the certificate of the peer is requested. It is verified, but accepted in any case, so that its errors
 * are those of Node.js and can be judged after the handshake. `required`: the handshake fails if there is none.
 */
export function verifyPeer(connection: Connection, requested: boolean, required = false): void {
  const { openssl, ssl } = connection
  const mode = SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0)
  openssl.SSL_set_verify(ssl, requested ? mode : SSL_VERIFY_NONE, acceptEveryCertificate(openssl))
}

function beServer(connection: Connection, options: OpenSSLEngineOptions): void {
  const { openssl, ssl } = connection
  const { requestCert = false, rejectUnauthorized = true } = options
  openssl.SSL_set_accept_state(ssl)
  // Since version 3.0, OpenSSL forbids it by default: SSL_CTX_set_options(3).
  openssl.SSL_set_options(ssl, SSL_OP_ALLOW_CLIENT_RENEGOTIATION)
  verifyPeer(connection, requestCert, rejectUnauthorized)
}

function beClient(connection: Connection, { servername, session }: OpenSSLEngineOptions): void {
  const { openssl, ssl } = connection
  openssl.SSL_set_connect_state(ssl)
  verifyPeer(connection, true)
  if (servername !== undefined) {
    const name = Buffer.from(`${servername}\0`)
    connection.require((ssl) => openssl.SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name))
  }
  if (session !== undefined) connection.require((ssl) => openssl.SSL_set_session(ssl, session))
}
