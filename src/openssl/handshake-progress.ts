import type { Session } from '../core/transport.ts'
import type { Connection } from './connection.ts'
import { TLS1_3_VERSION } from './constants.ts'
import { readEngineSession } from './engine-session.ts'
import { PostHandshake } from './post-handshake.ts'

/** How far the handshakes of a connection are. */
export class HandshakeProgress {
  /** A handshake is due or in progress. In TLS 1.3, only the first one counts. */
  handshaking = true
  /** What is known since the last handshake that was completed. Undefined before the first one. */
  session: Session | undefined
  /** Undefined in TLS 1.2, and before the first handshake is complete. */
  postHandshake: PostHandshake | undefined
  /** The last messages of the first handshake have not been sent. */
  isFlightDue = false
  readonly #connection: Connection

  constructor(connection: Connection) {
    this.#connection = connection
  }

  /** Known once the first handshake is complete. */
  get isTLS13(): boolean {
    return this.postHandshake !== undefined
  }

  /** Looks at what a record without data has changed. */
  recordRead(): void {
    if (this.postHandshake === undefined) this.#handshakeRead()
    else if (this.postHandshake.recordRead()) this.#readSession()
  }

  #handshakeRead(): void {
    const { openssl, ssl } = this.#connection
    const wasHandshaking = this.handshaking
    this.handshaking = openssl.SSL_in_init(ssl) === 1 || openssl.SSL_renegotiate_pending(ssl) === 1
    if (!wasHandshaking || this.handshaking) return
    if (this.session === undefined) this.isFlightDue = this.#connection.outputBytes > 0
    this.#readSession()
    if (openssl.SSL_version(ssl) === TLS1_3_VERSION) this.postHandshake = new PostHandshake(this.#connection)
  }

  #readSession(): void {
    this.session = readEngineSession(this.#connection)
  }
}
