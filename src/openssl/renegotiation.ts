import type { Connection } from './connection.ts'
import { SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION } from './constants.ts'
import { verifyPeer } from './engine-options.ts'

/** Begins the renegotiations of a connection with TLS 1.2. */
export class Renegotiation {
  readonly #connection: Connection
  readonly #isServer: boolean
  #mayResume: boolean | undefined

  constructor(connection: Connection, isServer: boolean) {
    this.#connection = connection
    this.#isServer = isServer
  }

  /** On a server: whether they may resume the session. Default: those that request no certificate may. */
  allowResumption(allowed: boolean): void {
    this.#mayResume = allowed
    this.#setResumption(allowed)
  }

  /** Requests a renegotiation. The next SSL_read() begins it. `full`: it must not resume the session. */
  begin(requestCert: boolean, full: boolean): void {
    if (this.#isServer) {
      // When a session is resumed, nobody is asked for a certificate.
      this.#setResumption(!full && (this.#mayResume ?? !requestCert))
      verifyPeer(this.#connection, requestCert)
    }
    this.#connection.require((ssl) => this.#connection.openssl.SSL_renegotiate(ssl))
  }

  #setResumption(allowed: boolean): void {
    const { openssl, ssl } = this.#connection
    const set = allowed ? openssl.SSL_clear_options : openssl.SSL_set_options
    set(ssl, SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION)
  }
}
