import type { X509Certificate } from 'node:crypto'
import type { CipherNameAndProtocol, DetailedPeerCertificate, EphemeralKeyInfo, PeerCertificate } from 'node:tls'
import { withCode } from '../core/errors.ts'
import { mustBeBytes, mustBeInteger, mustBeString } from './argument.ts'
import type { OpenSSL } from './binding.ts'
import { detailedObject, legacyObject, parsed, parsedChain, peerChain } from './certificates.ts'
import * as c from './constants.ts'
import { addressIn } from './encoded.ts'
import { ephemeralKeyInfo, type GroupInfo } from './ephemeral-key.ts'
import type { Pointer } from './ffi-types.ts'
import { bytesOf } from './pem.ts'
import { encodeSession } from './session-state.ts'
import { sharedSigalgs } from './shared-sigalgs.ts'
import { attempt } from './succeed.ts'

/** More than the longest hash. */
const FINISHED_BYTES = 64

/**
 * What a connection tells of its session: the methods of a `tls.TLSSocket`, with the same results.
 *
 * They read from the SSL, so it must not be freed yet. During a handshake, they may already show what the peer claims
 * without a proof.
 */
export class SessionFacts {
  readonly #openssl: OpenSSL
  readonly #ssl: Pointer

  constructor(openssl: OpenSSL, ssl: Pointer) {
    this.#openssl = openssl
    this.#ssl = ssl
  }

  /** The application protocol (ALPN), false if none was negotiated. */
  get alpnProtocol(): string | false {
    const address = new BigUint64Array(1)
    const length = new Uint32Array(1)
    this.#openssl.SSL_get0_alpn_selected(this.#ssl, address, length)
    const pointer = addressIn(address)
    // One character for each byte, as in Node.
    return pointer === null ? false : this.#openssl.bytesAt(pointer, length[0] as number).toString('latin1')
  }

  /** The server name (SNI) of the client, false if there is none. */
  get servername(): string | false {
    return this.#openssl.SSL_get_servername(this.#ssl, c.TLSEXT_NAMETYPE_host_name) ?? false
  }

  /** The certificate of the peer, with its issuers if `detailed`. An empty object if it has none. */
  getPeerCertificate(detailed: true): DetailedPeerCertificate | object
  getPeerCertificate(detailed?: boolean): PeerCertificate | object
  getPeerCertificate(detailed?: boolean): PeerCertificate | object {
    const chain = peerChain(this.#openssl, this.#ssl)
    if (chain[0] === undefined) return {}
    return detailed === true ? detailedObject(this.#openssl, this.#ssl, chain) : legacyObject(this.#openssl, chain[0])
  }

  /** The certificate of the peer. On each call a new object; the method of Node 20 to 24 works only once on a client. */
  getPeerX509Certificate(): X509Certificate | undefined {
    return parsedChain(this.#openssl, peerChain(this.#openssl, this.#ssl))
  }

  /** The certificate of this end. An empty object if it has none. */
  getCertificate(): PeerCertificate | object {
    const certificate = this.#openssl.SSL_get_certificate(this.#ssl)
    return certificate === null ? {} : legacyObject(this.#openssl, certificate)
  }

  /** The certificate of this end. */
  getX509Certificate(): X509Certificate | undefined {
    const certificate = this.#openssl.SSL_get_certificate(this.#ssl)
    return certificate === null ? undefined : parsed(this.#openssl, certificate)
  }

  /** The cipher suite. Undefined before the first handshake. */
  getCipher(): CipherNameAndProtocol | undefined {
    const cipher = this.#openssl.SSL_get_current_cipher(this.#ssl)
    if (cipher === null) return undefined
    return {
      name: this.#openssl.SSL_CIPHER_get_name(cipher) as string,
      standardName: this.#openssl.SSL_CIPHER_standard_name(cipher) as string,
      version: this.#openssl.SSL_CIPHER_get_version(cipher) as string,
    }
  }

  /** The server's part in an ephemeral key exchange. Null on a server. */
  getEphemeralKeyInfo(): EphemeralKeyInfo | GroupInfo | object | null {
    return ephemeralKeyInfo(this.#openssl, this.#ssl)
  }

  /** The version of TLS, for example `TLSv1.3`. */
  getProtocol(): string {
    return this.#openssl.SSL_get_version(this.#ssl) as string
  }

  /** The last Finished message that this end has sent. */
  getFinished(): Buffer | undefined {
    return this.#finished(this.#openssl.SSL_get_finished)
  }

  /** The last Finished message of the peer. */
  getPeerFinished(): Buffer | undefined {
    return this.#finished(this.#openssl.SSL_get_peer_finished)
  }

  /** The session in the encoding of OpenSSL, with which a client can resume it in another connection. */
  getSession(): Buffer | undefined {
    const session = this.#openssl.SSL_get_session(this.#ssl)
    return session === null ? undefined : encodeSession(this.#openssl, session)
  }

  /** The ticket of the session on a client. */
  getTLSTicket(): Buffer | undefined {
    const session = this.#openssl.SSL_get_session(this.#ssl)
    if (session === null) return undefined
    const address = new BigUint64Array(1)
    const length = new BigUint64Array(1)
    this.#openssl.SSL_SESSION_get0_ticket(session, address, length)
    const ticket = addressIn(address)
    return ticket === null ? undefined : this.#openssl.bytesAt(ticket, Number(length[0]))
  }

  isSessionReused(): boolean {
    return this.#openssl.SSL_session_reused(this.#ssl) === 1
  }

  /** The signature algorithms that both ends have, in the order of preference. */
  getSharedSigalgs(): string[] {
    return sharedSigalgs(this.#openssl, this.#ssl)
  }

  /**
   * Keying material out of the keys of the session (RFC 5705).
   *
   * @throws Error with the code ERR_TLS_INVALID_STATE during a handshake.
   */
  exportKeyingMaterial(length: number, label: string, context?: NodeJS.ArrayBufferView): Buffer {
    mustBeInteger('length', length, 1, 2 ** 32 - 1)
    mustBeString('label', label)
    if (context !== undefined) mustBeBytes('context', context)
    const openssl = this.#openssl
    if (openssl.SSL_in_init(this.#ssl) === 1) {
      const message = 'TLS socket connection must be securely established'
      throw withCode(new Error(message), 'ERR_TLS_INVALID_STATE')
    }
    const material = Buffer.alloc(length)
    const [name, use] = [Buffer.from(label), context === undefined ? null : bytesOf(context)]
    const [nameLength, useLength, hasUse] = [name.length, use?.length ?? 0, use === null ? 0 : 1]
    const { SSL_export_keying_material: run } = openssl
    attempt(openssl, () => run(this.#ssl, material, length, name, nameLength, use, useLength, hasUse))
    return material
  }

  #finished(read: OpenSSL['SSL_get_finished']): Buffer | undefined {
    const message = Buffer.alloc(FINISHED_BYTES)
    const length = read(this.#ssl, message, message.length)
    return length === 0 ? undefined : message.subarray(0, length)
  }
}
