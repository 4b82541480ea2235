import type { Duplex } from 'node:stream'
import { invalidValue } from '../core/errors.ts'
import type { PeerLimit, RenegotiateOptions } from '../core/options.ts'
import type { HandshakeFailure, Session, Transport, TransportEvents, WriteCallback } from '../core/transport.ts'

const wrapped = new WeakSet<Duplex>()

/**
 * What every transport over a stream has in common: all but the renegotiation.
 * It takes any Duplex of bytes, core's or readable-stream's, by its public face.
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

  /** The stream is ours, and not closed yet. */
  protected abstract attached(): void
  /** The stream has closed. */
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
    // With one write in flight at a time, the rest is queued above: ending by itself, the stream would lose it.
    stream.allowHalfOpen = true
    while (stream.writableCorked > 0) stream.uncork()
    stream.pause()
    stream.on('data', this.#onData)
    // Before Node's own listener, which destroys a client that is not secure yet: the end came first.
    stream.prependListener('end', this.#onEnd)
    stream.on('error', this.#onError)
    stream.on('close', this.#onClose)
    this.attached()
  }

  /** A destroyed stream says all kinds of things of its writes, even success; what is true comes by `error` and `close`. */
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

  /** The stream will not emit `close` any more, if it has not yet. */
  protected assumeClosed(): void {
    if (this.stream.listeners('close').includes(this.#onClose)) this.#onClose()
  }

  readonly #onData = (chunk: Buffer): void => this.events.data(chunk)
  readonly #onEnd = (): void => this.events.end()
  /** Some leave it at that, a TLS socket after an error of its TLS for one; who is told destroys the stream. */
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

  /** A TLS socket on a Duplex in JavaScript emits `error` after `close`; nobody else would listen. */
  #ignoreLateError(): void {
    const { stream } = this
    stream.on('error', ignore)
    setImmediate(() => stream.off('error', ignore))
  }
}

function ignore(): void {}
