import type { TLSSocket } from 'node:tls'
import { keepTimeout, suspendNagle } from './node-internals.ts'

/** The settings of a socket that a handshake must not change, or that would make it slow. */
export class KeptSettings {
  readonly #socket: TLSSocket
  /** Whether Node sets the socket's timeout to 0 with every handshake. */
  readonly #restoresTimeout: boolean
  /** The socket's timeout in milliseconds when the handshake began. */
  #timeout: number | undefined
  #handshaking = false

  constructor(socket: TLSSocket) {
    this.#socket = socket
    this.#restoresTimeout = !keepTimeout(socket)
  }

  /** A handshake begins. */
  begin(): void {
    this.#handshaking = true
    this.#timeout = this.#socket.timeout
    suspendNagle(this.#socket, true)
  }

  /** The handshake is over. */
  restore(): void {
    this.#handshaking = false
    if (this.#restoresTimeout && this.#timeout) this.#socket.setTimeout(this.#timeout)
    // The last messages of the handshake are written after this, and must not be delayed either.
    setImmediate(() => {
      if (!this.#handshaking) suspendNagle(this.#socket, false)
    })
  }
}
