import type { RenegotiationEvents } from './renegotiation-stream.ts'
import type { Origin, RenegotiationReport } from './report.ts'

/** What the gate needs from the stream that the application sees. Every Duplex has these members. */
export interface Face {
  push(chunk: Buffer | null): boolean
  read(size: 0): unknown
  destroy(error?: Error): unknown
  cork(): void
  uncork(): void
  on(event: 'error', listener: (error: Error) => void): unknown
  emit(event: keyof RenegotiationEvents, detail: { origin: Origin } | RenegotiationReport | Error): boolean
  once(event: 'end', listener: () => void): unknown
  listenerCount(event: 'readable'): number
  readonly readableLength: number
  readonly readableHighWaterMark: number
  /** What the Readable holds. Public, but not in the types of a Duplex. */
  readonly readableBuffer: { readonly length: number }
  readonly writableLength: number
  readonly writableEnded: boolean
  readonly errored: Error | null
  /** Of the peer, if the stream is over TCP. */
  readonly remoteAddress?: string | undefined
  readonly remotePort?: number | undefined
  /** What the Writable has queued. Public, but not in the types of a Duplex. */
  readonly writableBuffer: readonly { chunk: Buffer }[]
}
