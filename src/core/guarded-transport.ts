import { invalidType } from './errors.ts'
import { type PeerLimit, quote, type RenegotiateOptions } from './options.ts'
import type { CertificatePolicy, HandshakeFailure, Session, Transport, WriteCallback } from './transport.ts'

/** What the guard needs of the stream. */
export interface GuardHost {
  /** The transport has thrown `error`: destroys the stream with it. */
  transportThrew(error: Error): void
  /** `error` is one that a listener or callback of the application threw, and the transport let pass. */
  isOfApplication(error: unknown): boolean
}

/**
 * The way of every call into a transport. What the transport throws destroys the
 * stream with that error, and with it everything settles: held writes,
 * renegotiations, `close`. The call then returns what lets its caller go on.
 *
 * A transport may call the stream before it returns, and so the application.
 * What a listener or callback of the application throws is not the transport's,
 * and passes: it is an uncaught exception, as with any stream.
 */
export class GuardedTransport {
  readonly #transport: Transport
  readonly #host: GuardHost

  constructor(transport: Transport, host: GuardHost) {
    this.#transport = transport
    this.#host = host
  }

  write(buffer: Uint8Array, done: WriteCallback): void {
    try {
      this.#transport.write(buffer, done)
    } catch (error) {
      this.#threw(error)
    }
  }

  /** The transport takes several buffers at once. */
  get gathers(): boolean {
    return this.#call((transport) => typeof transport.writev === 'function') ?? false
  }

  writev(buffers: readonly Uint8Array[], done: WriteCallback): void {
    try {
      this.#transport.writev?.(buffers, done)
    } catch (error) {
      this.#threw(error)
    }
  }

  end(done: (error?: Error | null) => void): void {
    this.#call((transport) => transport.end(done))
  }

  pause(): void {
    this.#call((transport) => transport.pause())
  }

  resume(): void {
    this.#call((transport) => transport.resume())
  }

  /** Returns whether the transport will call `closed`: false where it threw, and nothing more can be expected of it. */
  destroy(): boolean {
    return (
      this.#call((transport) => {
        transport.destroy()
        return true
      }) ?? false
    )
  }

  /** @throws what the transport throws: it could not begin. */
  renegotiate(options: RenegotiateOptions): void {
    this.#transport.renegotiate(options)
  }

  takeBack(): boolean {
    return this.#call((transport) => transport.takeBack?.()) ?? false
  }

  accepted(session: Session): void {
    this.#call((transport) => transport.accepted?.(session))
  }

  get peerAnswered(): boolean {
    return this.#call((transport) => transport.peerAnswered) ?? false
  }

  unsupported(): string | undefined {
    return this.#call((transport) => transport.unsupported())
  }

  session(): Session {
    return this.#call((transport) => checkedSession(transport.session())) ?? {}
  }

  failure(error: Error): HandshakeFailure | undefined {
    return this.#call((transport) => transport.failure?.(error))
  }

  get certificatePolicy(): CertificatePolicy | undefined {
    return this.#call((transport) => transport.certificatePolicy)
  }

  get peerLimit(): PeerLimit | false {
    return this.#call((transport) => transport.peerLimit) ?? false
  }

  #call<T>(call: (transport: Transport) => T): T | undefined {
    try {
      return call(this.#transport)
    } catch (error) {
      this.#threw(error)
      return undefined
    }
  }

  #threw(error: unknown): void {
    if (this.#host.isOfApplication(error)) throw error
    this.#host.transportThrew(error instanceof Error ? error : new Error(`The transport threw ${String(error)}`))
  }
}

/** @throws TypeError where what is compared before and after a handshake is no bytes. */
export function checkedSession(session: Session): Session {
  for (const name of ['keys', 'identity', 'pskIdentity'] as const) {
    const value: unknown = session[name]
    if (value !== undefined && !(value instanceof Uint8Array)) {
      throw invalidType(`session().${name} must be a Uint8Array, got ${quote(value)}`)
    }
  }
  return session
}
