import {
  BIO_C_SET_BUF_MEM_EOF_RETURN,
  SSL_CTRL_MODE,
  SSL_ERROR_SSL,
  SSL_ERROR_SYSCALL,
  SSL_ERROR_WANT_READ,
  SSL_ERROR_ZERO_RETURN,
  SSL_MODE_RELEASE_BUFFERS,
} from './constants.ts'
import type { Pointer } from './ffi-types.ts'
import type { OpenSSL } from './library.ts'
import { connectionError, opensslError } from './openssl-error.ts'
import { RunReader } from './run-reader.ts'
import { sslCallbacks } from './ssl-callbacks.ts'
import { attempt, mustSucceed } from './succeed.ts'

/** What became of a run of records. */
export interface RunResult {
  /** As of {@link Connection.call}. */
  readonly result: number | 'want-read'
  /** How many bytes of the run OpenSSL has not read. */
  readonly unreadBytes: number
  /** The peer's close_notify came behind the data. */
  readonly hasEnd: boolean
}

/**
 * An SSL object of OpenSSL with a memory BIO on each side (BIO_s_mem(3)). A memory BIO takes all that is written to it,
 * so SSL_write() never stops in the middle of a record.
 *
 * It is freed exactly once, also if {@link free} is called from inside a callback of OpenSSL. After that, each call
 * throws and does not touch the memory.
 */
export class Connection {
  readonly openssl: OpenSSL
  /** The first fatal error. OpenSSL does not say again what it was. */
  failure: Error | undefined
  /** A callback has stopped the handshake until its answer is there. Called again, OpenSSL would take that for the answer. */
  isStopped = false
  /** On a server: the server name in the last ClientHello (SNI), '' for none. Undefined if it is not known. */
  requestedName: string | undefined
  readonly #ssl: Pointer
  readonly #input: Pointer
  readonly #output: Pointer
  /** Made when it is first needed, because its buffers take 8 KiB. */
  #runReader: RunReader | undefined
  /** Calls of OpenSSL that have not returned. */
  #depth = 0
  /** How many bytes the output has. Undefined if that has to be asked for. */
  #outputBytes: number | undefined
  /** After {@link free}: what is still to be sent. */
  #rest: Buffer = Buffer.alloc(0)
  #state: 'open' | 'released' | 'freed' = 'open'

  /** @param context an SSL_CTX. The connection holds a reference of its own. */
  constructor(openssl: OpenSSL, context: Pointer) {
    this.openssl = openssl
    openssl.ERR_clear_error()
    const ssl = openssl.SSL_new(context)
    const input = openssl.BIO_new(openssl.BIO_s_mem())
    const output = openssl.BIO_new(openssl.BIO_s_mem())
    if (ssl === null || input === null || output === null) {
      openssl.SSL_free(ssl)
      openssl.BIO_free(input)
      openssl.BIO_free(output)
      throw opensslError(openssl)
    }
    this.#ssl = ssl
    this.#input = input
    this.#output = output
    // An empty BIO is one that gets more later, not the end.
    openssl.BIO_ctrl(input, BIO_C_SET_BUF_MEM_EOF_RETURN, -1, null)
    openssl.BIO_ctrl(output, BIO_C_SET_BUF_MEM_EOF_RETURN, -1, null)
    openssl.SSL_set_bio(ssl, input, output)
    // As in Node.js: while nothing is sent or received, OpenSSL keeps no memory for records.
    openssl.SSL_ctrl(ssl, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS, null)
  }

  /** The SSL. Throws after {@link free}. */
  get ssl(): Pointer {
    this.#mustBeOpen()
    return this.#ssl
  }

  get freed(): boolean {
    return this.#state !== 'open'
  }

  /**
   * Calls a function of OpenSSL that returns 1 or more for success, and asks SSL_get_error(3) otherwise. 0: the peer has
   * closed its side.
   *
   * @throws the error of OpenSSL if the connection has failed. It must not be called again then.
   */
  call(run: (ssl: Pointer) => number): number | 'want-read' {
    const { openssl, ssl } = this
    clearErrors(openssl)
    this.#outputBytes = undefined
    this.isStopped = false
    this.#depth++
    try {
      const result = run(ssl)
      return result > 0 ? result : this.#outcome(openssl.SSL_get_error(ssl, result))
    } finally {
      // Also what was asked for inside a callback of OpenSSL, which may have written more since.
      this.#outputBytes = undefined
      this.#depth--
      this.#freeIfDue()
    }
  }

  /** SSL_read(3), as with {@link call}. A record of data makes OpenSSL write nothing. */
  read(into: Uint8Array): number | 'want-read' {
    const outputBytes = this.#outputBytes
    const result = this.call((ssl) => this.openssl.SSL_read(ssl, into, into.length))
    if (typeof result === 'number' && result > 0) this.#outputBytes = outputBytes
    return result
  }

  /**
   * SSL_read(3) for the many records in `run`, as with {@link call}. It stops after a message that is not data. If the
   * connection fails after some data, this returns the data, and {@link failure} is set. The input must be empty, and
   * `into` larger than the data.
   */
  readRun(run: Uint8Array, into: Uint8Array): RunResult {
    let unreadBytes = 0
    let hasEnd = false
    this.#runReader ??= new RunReader(this.openssl, this.ssl, this.#input)
    const reader = this.#runReader
    const result = this.call((ssl) => {
      const { openssl } = this
      const bytes = Math.max(0, reader.read(run, into))
      unreadBytes = reader.unreadBytes
      let reason = openssl.SSL_get_error(ssl, -1)
      if (reason === SSL_ERROR_WANT_READ) {
        // The record of that message may have another one. There is no more input, so this reads no further.
        const rest = openssl.SSL_read(ssl, into.subarray(bytes), into.length - bytes)
        reason = openssl.SSL_get_error(ssl, rest)
      }
      if (bytes > 0) hasEnd = this.#isEnd(reason)
      return bytes > 0 ? bytes : -1
    })
    return { result, unreadBytes, hasEnd }
  }

  /** Whether OpenSSL has data of the record that was read last. */
  get hasData(): boolean {
    return !this.freed && this.openssl.SSL_pending(this.#ssl) > 0
  }

  /** Whether OpenSSL has read all that was given to it by {@link feed}. */
  get hasReadAll(): boolean {
    return this.openssl.BIO_ctrl_pending(this.#input) === 0
  }

  /**
   * Calls a function of OpenSSL that returns 1 for success. The connection survives the failure.
   *
   * @throws the error of OpenSSL.
   */
  require(run: (ssl: Pointer) => number): void {
    const { ssl } = this
    attempt(this.openssl, () => run(ssl))
  }

  /** Gives OpenSSL received bytes. It fails only without memory. Called for each record, so it makes no other call. */
  feed(bytes: Uint8Array): void {
    void this.ssl
    const { openssl } = this
    mustSucceed(openssl, Number(openssl.BIO_write(this.#input, bytes, bytes.length) === bytes.length))
  }

  /** How many encrypted bytes wait to be sent. */
  get outputBytes(): number {
    if (this.freed) return this.#rest.length
    this.#outputBytes ??= this.openssl.BIO_ctrl_pending(this.#output)
    return this.#outputBytes
  }

  /** Fills `into` with encrypted bytes. Returns how many; 0: there are none. */
  take(into: Uint8Array): number {
    const { outputBytes } = this
    if (outputBytes === 0) return 0
    if (this.freed) {
      const part = this.#rest.subarray(0, into.length)
      into.set(part)
      this.#rest = this.#rest.subarray(part.length)
      return part.length
    }
    const taken = this.openssl.BIO_read(this.#output, into, into.length)
    this.#outputBytes = outputBytes - taken
    return taken
  }

  /**
   * Frees it, now or when the calls that run have returned. Further calls do nothing. `keepsOutput`: what waits to be
   * sent can still be taken.
   */
  free(keepsOutput = false): void {
    if (this.#state !== 'open') return
    if (keepsOutput) {
      const rest = Buffer.alloc(this.outputBytes)
      this.take(rest)
      this.#rest = rest
    }
    this.#state = 'released'
    this.#freeIfDue()
  }

  #freeIfDue(): void {
    if (this.#state !== 'released' || this.#depth > 0) return
    this.#state = 'freed'
    sslCallbacks(this.openssl).listeners.delete(this.#ssl)
    this.#runReader?.free()
    // The BIOs are the SSL's.
    this.openssl.SSL_free(this.#ssl)
  }

  #outcome(reason: number): 0 | 'want-read' {
    switch (reason) {
      case SSL_ERROR_ZERO_RETURN:
        return 0
      case SSL_ERROR_SSL:
      case SSL_ERROR_SYSCALL:
        this.failure = connectionError(this.openssl)
        throw this.failure
      default:
        // WANT_READ, because a memory BIO is never full. Or a callback has stopped the handshake until its answer is there.
        this.isStopped = reason !== SSL_ERROR_WANT_READ
        return 'want-read'
    }
  }

  #isEnd(reason: number): boolean {
    try {
      return this.#outcome(reason) === 0
    } catch {
      // It is in `failure`. The data comes first.
      return false
    }
  }

  #mustBeOpen(): void {
    if (this.#state === 'open') return
    throw Object.assign(new Error('The TLS engine was destroyed'), { code: 'ERR_STREAM_DESTROYED' })
  }
}

/** SSL_get_error(3) takes an old error for one of the connection. To look for one is quicker than to clear them. */
function clearErrors(openssl: OpenSSL): void {
  if (openssl.ERR_peek_error() !== 0) openssl.ERR_clear_error()
}
