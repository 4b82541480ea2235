/* What TLS 1.3 has in place of renegotiation: key updates, and requests for a certificate after the handshake. */
import { RenegotiationError } from '../core/errors.ts'
import type { PostHandshakeCounts } from '../transports/post-handshake-messages.ts'
import type { Connection } from './connection.ts'
import { SSL_KEY_UPDATE_NONE, SSL_KEY_UPDATE_NOT_REQUESTED, SSL_KEY_UPDATE_REQUESTED } from './constants.ts'
import { verifyPeer } from './engine-options.ts'
import { type Message, type MessageListener, sslCallbacks } from './ssl-callbacks.ts'
import { acceptEveryCertificate } from './verify.ts'

class Counts implements PostHandshakeCounts {
  sent = 0
  answered = 0
  byPeer = 0
}

/**
 * The messages of a connection after the first handshake of TLS 1.3 (RFC 8446, section 4.6).
 *
 * OpenSSL reports each of them through its info callback. It answers a request for a key update only with the next
 * SSL_write(), which may be never, so {@link settle} sends the answer earlier.
 */
export class PostHandshake implements MessageListener {
  readonly keyUpdates: PostHandshakeCounts
  readonly authentications: PostHandshakeCounts
  readonly #connection: Connection
  readonly #keyUpdates = new Counts()
  readonly #authentications = new Counts()
  /** A KeyUpdate was read. Whether it was a request or an answer is not known yet. */
  #keyUpdateRead = false
  /** The Finished of the peer was read. */
  #finishedRead = false
  /**
   * How many more answers may come than there are requests. Of several requests without an answer, a peer may answer
   * each, as OpenSSL does, or all at once (RFC 8446, section 4.6.3), or with a request of its own.
   */
  #surplus = 0
  /** The peer has requested a key update, and may not have its answer yet. */
  #owesAnswer = false
  /** A key update was requested while the peer was authenticating itself. It waits for the end of that. */
  #requestDue = false

  constructor(connection: Connection) {
    this.#connection = connection
    this.keyUpdates = this.#keyUpdates
    this.authentications = this.#authentications
    const { openssl, ssl } = connection
    const { info, listeners } = sslCallbacks(openssl)
    listeners.set(ssl, this)
    openssl.SSL_set_info_callback(ssl, info)
  }

  /** Called by OpenSSL, from inside a call into it. */
  message(message: Message): void {
    if (message === 'key-update') this.#keyUpdateRead = true
    else if (message === 'finished-read') this.#finishedRead = true
    else this.#authentications.byPeer++
  }

  /** Looks at what the record has changed that was just read. Returns whether the peer has authenticated itself. */
  recordRead(): boolean {
    if (this.#keyUpdateRead) this.#countKeyUpdate()
    if (this.#requestDue) this.requestKeyUpdate()
    if (!this.#finishedRead) return false
    this.#finishedRead = false
    this.#authentications.answered = this.#authentications.sent
    return true
  }

  /**
   * Sends a KeyUpdate that requests one of the peer. While the peer authenticates itself, OpenSSL cannot, so it is sent
   * at the end of that.
   */
  requestKeyUpdate(): void {
    this.#requestDue = this.isAuthenticating
    if (this.#requestDue) return
    // Otherwise one message would do for both, and the peer would not take a request for an answer.
    this.settle()
    this.#sendKeyUpdate(SSL_KEY_UPDATE_REQUESTED)
    this.#keyUpdates.sent++
  }

  /**
   * On a server: requests a certificate of the client.
   *
   * @throws RenegotiationError if the client has not offered this. The connection goes on.
   */
  requestCertificate(): void {
    const { openssl, ssl } = this.#connection
    // While it owes an answer to a key update, SSL_do_handshake() sends only that.
    this.settle()
    const mode = openssl.SSL_get_verify_mode(ssl)
    verifyPeer(this.#connection, true)
    try {
      this.#connection.require((ssl) => openssl.SSL_verify_client_post_handshake(ssl))
    } catch (error) {
      openssl.SSL_set_verify(ssl, mode, acceptEveryCertificate(openssl))
      if ((error as NodeJS.ErrnoException).code !== 'ERR_SSL_EXTENSION_NOT_RECEIVED') throw error
      const message = 'The client did not offer post-handshake authentication'
      throw new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', message, error)
    }
    this.#connection.call((ssl) => openssl.SSL_do_handshake(ssl))
    this.#authentications.sent++
  }

  /** Answers a request of the peer for a key update, if there is one. */
  settle(): void {
    if (!this.#owesAnswer || this.isAuthenticating) return
    this.#owesAnswer = false
    const { openssl, ssl } = this.#connection
    // OpenSSL may have sent it by itself, with data or before it has read another handshake message.
    if (openssl.SSL_get_key_update_type(ssl) === SSL_KEY_UPDATE_NONE) return
    this.#sendKeyUpdate(SSL_KEY_UPDATE_NOT_REQUESTED)
  }

  /**
   * Before OpenSSL reads a handshake message, it sends the answer that it owes. So what it owes now is for this one.
   *
   * A request that meets ours counts as an answer too, because both ends have new keys then. A peer may send no other
   * one: in OpenSSL, SSL_key_update() replaces an answer that was not sent yet.
   */
  #countKeyUpdate(): void {
    this.#keyUpdateRead = false
    const { openssl, ssl } = this.#connection
    const isRequest = openssl.SSL_get_key_update_type(ssl) === SSL_KEY_UPDATE_NOT_REQUESTED
    this.#owesAnswer ||= isRequest
    const unanswered = this.#keyUpdates.sent - this.#keyUpdates.answered
    const isLate = !isRequest && unanswered === 0 && this.#surplus > 0
    if (isLate) this.#surplus--
    else if (isRequest || unanswered === 0) this.#keyUpdates.byPeer++
    if (unanswered === 0) return
    this.#surplus += isRequest ? unanswered : unanswered - 1
    this.#keyUpdates.answered = this.#keyUpdates.sent
  }

  #sendKeyUpdate(type: number): void {
    const { openssl } = this.#connection
    this.#connection.require((ssl) => openssl.SSL_key_update(ssl, type))
    this.#connection.call((ssl) => openssl.SSL_do_handshake(ssl))
  }

  /** Between the Certificate and the Finished of the peer. */
  get isAuthenticating(): boolean {
    const { openssl, ssl } = this.#connection
    return openssl.SSL_in_init(ssl) === 1
  }
}
