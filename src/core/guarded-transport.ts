import { invalidType, invalidValue } from './errors.ts'
import { type PeerLimit, refuseHoldFrom, type Settings } from './options.ts'
import type { PeerCertificates } from './peer-certificates.ts'
import type {
  CertificatePolicy,
  HandshakeFailure,
  HandshakeOptions,
  Session,
  Transport,
  WriteCallback,
} from './transport.ts'
import { quote } from './values.ts'

/** What the guard needs from the stream. */
export interface GuardHost {
  /** Destroys the stream with `error`, which the transport has thrown. */
  transportThrew(error: Error): void
  /** Whether a listener or callback of the application threw `error`, so that it only passed through the transport. */
  isOfApplication(error: unknown): boolean
}

/**
 * Makes every call into a transport, and handles what the transport throws: the stream is destroyed with that error,
 * which settles held writes, renegotiations and `close`. The call then returns a value with which its caller can go on.
 *
 * A transport may call the stream, and so the application, before it returns. An exception of the application is not an
 * error of the transport. It is thrown on, and is an uncaught exception, as with any stream.
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

  /** Whether the transport accepts several buffers at once. */
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

  /** Returns whether the transport will call `closed`. False if it threw: it may never call anything then. */
  destroy(): boolean {
    return (
      this.#call((transport) => {
        transport.destroy()
        return true
      }) ?? false
    )
  }

  /** @throws what the transport throws, because the renegotiation could not begin. */
  renegotiate(options: HandshakeOptions): void {
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

  get awaitsAnswer(): boolean {
    return this.#call((transport) => transport.awaitsAnswer) ?? false
  }

  get hasKeyUpdates(): boolean {
    return this.#call((transport) => transport.hasKeyUpdates) ?? false
  }

  get recordLimit(): number {
    return this.#call((transport) => transport.recordLimit) ?? Infinity
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

  get peerCertificates(): PeerCertificates | undefined {
    return this.#call((transport) => transport.peerCertificates)
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

/**
 * Tells a transport of the options that it carries out itself. Called before anything is touched.
 *
 * @throws TypeError for an option that the transport does not have.
 */
export function applyOptions(transport: Transport, { resumption, holdFrom }: Settings): void {
  if (holdFrom === 'answer' && transport.awaitsAnswer === undefined) refuseHoldFrom()
  if (resumption === undefined) return
  if (transport.allowResumption === undefined) throw invalidValue('resumption is not an option of this transport')
  transport.allowResumption(resumption)
}

/**
 * Checks the properties that are compared before and after a handshake.
 *
 * @throws TypeError if one is not a Uint8Array.
 */
export function checkedSession(session: Session): Session {
  for (const name of ['keys', 'identity', 'pskIdentity'] as const) {
    const value: unknown = session[name]
    if (value !== undefined && !(value instanceof Uint8Array)) {
      throw invalidType(`session().${name} must be a Uint8Array, got ${quote(value)}`)
    }
  }
  return session
}
