import {
  BIO_C_SET_BUF_MEM_EOF_RETURN,
  BIO_C_SET_SSL,
  BIO_FLAGS_READ,
  BIO_FLAGS_SHOULD_RETRY,
  BIO_NOCLOSE,
  SSL_CTRL_CLEAR_MODE,
  SSL_CTRL_MODE,
  SSL_MODE_AUTO_RETRY,
} from './constants.ts'
import type { Pointer } from './ffi-types.ts'
import type { OpenSSL } from './library.ts'
import { opensslError } from './openssl-error.ts'

/**
 * Reads many records with one call. BIO_f_ssl(3) makes a BIO of an SSL, and BIO_f_buffer(3) before it reads until its
 * memory is full or SSL_read() returns no more. If that memory is larger than its own buffer of 4 KiB, it reads into it
 * directly. So it never has data of its own, and SSL_read() can be called in between.
 */
export class RunReader {
  readonly #openssl: OpenSSL
  readonly #ssl: Pointer
  readonly #input: Pointer
  readonly #chain: Pointer
  #unreadBytes = 0

  /** @param input the memory BIO that `ssl` reads from. */
  constructor(openssl: OpenSSL, ssl: Pointer, input: Pointer) {
    const records = openssl.BIO_new(openssl.BIO_f_ssl())
    const loop = openssl.BIO_new(openssl.BIO_f_buffer())
    if (records === null || loop === null) {
      openssl.BIO_free(records)
      openssl.BIO_free(loop)
      throw opensslError(openssl)
    }
    openssl.BIO_ctrl(records, BIO_C_SET_SSL, BIO_NOCLOSE, ssl)
    openssl.BIO_push(loop, records)
    this.#openssl = openssl
    this.#ssl = ssl
    this.#input = input
    this.#chain = loop
  }

  /** How many bytes the last read has left of the run: it has stopped after a message that is not data. */
  get unreadBytes(): number {
    return this.#unreadBytes
  }

  /**
   * Reads the records in `run` into `into`, which must have more than 4 KiB, without a copy of `run`. The input must be
   * empty.
   *
   * @returns how many bytes were read; 0 or less: SSL_get_error(3) says why.
   */
  read(run: Uint8Array, into: Uint8Array): number {
    const openssl = this.#openssl
    const ssl = this.#ssl
    const source = openssl.BIO_new_mem_buf(run, run.length)
    if (source === null) throw opensslError(openssl)
    openssl.BIO_ctrl(source, BIO_C_SET_BUF_MEM_EOF_RETURN, -1, null)
    openssl.BIO_up_ref(this.#input)
    openssl.SSL_set0_rbio(ssl, source)
    openssl.SSL_ctrl(ssl, SSL_CTRL_CLEAR_MODE, SSL_MODE_AUTO_RETRY, null)
    const bytes = openssl.BIO_read(this.#chain, into, into.length)
    this.#unreadBytes = openssl.BIO_ctrl_pending(source)
    openssl.SSL_ctrl(ssl, SSL_CTRL_MODE, SSL_MODE_AUTO_RETRY, null)
    openssl.SSL_set0_rbio(ssl, this.#input)
    // SSL_get_error() asks the BIO whether SSL_read() may be called again.
    openssl.BIO_set_flags(this.#input, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY)
    return bytes
  }

  /** To be called before the SSL is freed. BIO_f_ssl calls SSL_shutdown(), which must not count: nobody has closed. */
  free(): void {
    const openssl = this.#openssl
    const shutdown = openssl.SSL_get_shutdown(this.#ssl)
    openssl.BIO_free_all(this.#chain)
    openssl.SSL_set_shutdown(this.#ssl, shutdown)
    openssl.ERR_clear_error()
  }
}
