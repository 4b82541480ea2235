import type { Duplex } from 'node:stream'
import { invalidValue } from '../core/errors.ts'
import type { PeerLimit, RenegotiateOptions } from '../core/options.ts'
import type { HandshakeFailure, Session, Transport, TransportEvents, WriteCallback } from '../core/transport.ts'

const wrapped = new WeakSet<Duplex>()

/**
 * The part of a transport that is the same for a TLS socket and for any other Duplex: everything but the renegotiation.
 * It uses only the public API of a Duplex, of Node.js or of readable-stream.
 */
export abstract class StreamTransport<S extends Duplex> implements Transport {
  abstract readonly peerLimit: PeerLimit | false
  readonly allowHalfOpen: boolean
  readonly ended: boolean
  protected readonly stream: S
  protected events!: TransportEvents

  constructor(stream: S) {
    this.stream = stream
    this.ended = stream.writableEnded
    this.allowHalfOpen = stream.allowHalfOpen
  }

  abstract renegotiate(options: RenegotiateOptions): void
  abstract unsupported(): string | undefined
  abstract session(): Session
  abstract failure(error: Error): HandshakeFailure | undefined

  /** Called when this transport has taken over a stream that is not closed. */
  protected abstract attached(): void
  /** Called when the stream has closed. */
  protected abstract detached(): void

  attach(events: TransportEvents): void {
    const { stream } = this
    if (wrapped.has(stream)) throw invalidValue('The socket, or Duplex, is wrapped already')
    wrapped.add(stream)
    this.events = events
    if (stream.closed) {
      this.#ignoreLateError()
      process.nextTick(() => {
        if (stream.errored) events.error(stream.errored)
        events.closed()
      })
      return
    }
    if (stream.readableEnded) process.nextTick(this.#onEnd)
    // If the stream below ended by itself, what is still queued in the stream above would be lost.
    stream.allowHalfOpen = true
    while (stream.writableCorked > 0) stream.uncork()
    stream.pause()
    stream.on('data', this.#onData)
    // Must run before Node's own listener, which destroys a client whose handshake is not complete.
    stream.prependListener('end', this.#onEnd)
    stream.on('error', this.#onError)
    stream.on('close', this.#onClose)
    this.attached()
  }

  /** Ignores the callbacks of a destroyed stream, which may even report success. `error` and `close` are reliable. */
  write(buffer: Uint8Array, done: WriteCallback): void {
    this.stream.write(buffer, (error) => this.stream.destroyed || done(error, buffer.length))
  }

  writev(buffers: readonly Uint8Array[], done: WriteCallback): void {
    const { stream } = this
    const last = buffers.length - 1
    let bytes = 0
    stream.cork()
    buffers.forEach((buffer, index) => {
      bytes += buffer.length
      if (index < last) stream.write(buffer)
      else stream.write(buffer, (error) => stream.destroyed || done(error, bytes))
    })
    stream.uncork()
  }

  end(done: (error?: Error | null) => void): void {
    const { stream } = this
    if (stream.writableFinished) done()
    else stream.end((error?: Error | null) => (error && stream.destroyed) || done(error))
  }

  pause(): void {
    this.stream.pause()
  }

  resume(): void {
    this.stream.resume()
  }

  destroy(): void {
    this.stream.destroy()
  }

  /** Acts as if the stream had emitted `close`, if it has not. */
  protected assumeClosed(): void {
    if (this.stream.listeners('close').includes(this.#onClose)) this.#onClose()
  }

  readonly #onData = (chunk: Buffer): void => this.events.data(chunk)
  readonly #onEnd = (): void => this.events.end()
  /** The stream above then destroys this one. A TLS socket, for example, stays open after an error of TLS. */
  readonly #onError = (error: Error): void => this.events.error(error)

  readonly #onClose = (): void => {
    const { stream } = this
    stream.off('data', this.#onData)
    stream.off('end', this.#onEnd)
    stream.off('error', this.#onError)
    stream.off('close', this.#onClose)
    this.#ignoreLateError()
    this.detached()
    this.events.closed()
  }

  /** A TLS socket on a Duplex in JavaScript emits `error` after `close`, when nobody else listens. */
  #ignoreLateError(): void {
    const { stream } = this
    stream.on('error', ignore)
    setImmediate(() => stream.off('error', ignore))
  }
}

function ignore(): void {}
