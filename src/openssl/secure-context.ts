import { invalidValue } from '../core/errors.ts'
import type { OpenSSL } from './binding.ts'
import type { Pointer } from './ffi-types.ts'

/** What is left of a context that was collected: its memory. */
interface Remains {
  readonly openssl: OpenSSL
  readonly pointer: Pointer
}

const forgotten = new FinalizationRegistry<Remains>(({ openssl, pointer }) => openssl.SSL_CTX_free(pointer))

/**
 * The settings of TLS connections: certificates, keys, trusted authorities, ciphers. An SSL_CTX of OpenSSL.
 *
 * It has one owner, who calls {@link free} once no new connection needs it. Connections that exist keep what they need:
 * each SSL has its own reference to the SSL_CTX. A context that nobody frees is freed when it is garbage collected.
 */
export class SecureContext {
  readonly openssl: OpenSSL
  /** The secret of session tickets, 48 bytes as in the option `ticketKeys` of Node. Set by the module. */
  ticketKeys: Buffer | undefined
  /** As in the options of Node. Set by the module. */
  sessionIdContext = ''
  #pointer: Pointer | undefined

  /** Takes over the SSL_CTX at `pointer`, and the only reference to it. */
  constructor(openssl: OpenSSL, pointer: Pointer) {
    this.openssl = openssl
    this.#pointer = pointer
    forgotten.register(this, { openssl, pointer }, this)
  }

  /**
   * The address of the SSL_CTX.
   *
   * @throws Error after {@link free}.
   */
  get pointer(): Pointer {
    if (this.#pointer === undefined) throw new Error('The secure context was freed')
    return this.#pointer
  }

  /**
   * The same for a connection by `openssl`. Another OpenSSL would crash with it.
   *
   * @throws TypeError with the code ERR_INVALID_ARG_VALUE if this context was made by another OpenSSL.
   */
  pointerFor(openssl: OpenSSL): Pointer {
    if (this.openssl === openssl) return this.pointer
    throw invalidValue('The secure context must be made with the same OpenSSL as the connection')
  }

  /** Frees the SSL_CTX. Further calls have no effect. */
  free(): void {
    if (this.#pointer === undefined) return
    forgotten.unregister(this)
    this.openssl.SSL_CTX_free(this.#pointer)
    this.#pointer = undefined
  }

  [Symbol.dispose](): void {
    this.free()
  }
}
