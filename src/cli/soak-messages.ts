/*
 * What the program and the processes at the ends of the connection tell each
 * other (child_process: process.send).
 */
import type { Origin, RenegotiationCounters } from '../core/report.ts'
import type { Address, Range } from './parse.ts'

/** What a client shows and checks, in PEM. */
export interface Credentials {
  readonly servername: string | undefined
  readonly ca: string | undefined
  readonly cert: string | undefined
  readonly key: string | undefined
  readonly insecure: boolean
}

/** Whom a process connects to: one of our own, by a key that both have, or a server of the user's. */
export type Peer =
  | { readonly kind: 'own'; readonly key: string; readonly port?: number }
  | ({ readonly kind: 'foreign' } & Address & Credentials)

/** How a process is started: its first argument, as JSON. */
export interface Orders {
  readonly side: Side
  readonly peer: Peer
  readonly seed: number
  readonly everyMs: Range
  readonly chunkBytes: Range
}

export type Side = 'client' | 'server'

export interface Sum {
  readonly bytes: number
  /** SHA-256, hexadecimal. */
  readonly hash: string
}

/** How it goes. */
export interface Status {
  readonly sentBytes: number
  readonly receivedBytes: number
  /** Resident set size. */
  readonly rssBytes: number
  readonly counters: RenegotiationCounters
}

/** One renegotiation, as one end has seen it. */
export interface Mark {
  readonly origin: Origin
  /** Milliseconds for which its writes were held. */
  readonly holdMs: number
}

export type FromEnd =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'connected'; readonly protocol: string; readonly cipher: string }
  | ({ readonly type: 'status' } & Status)
  | ({ readonly type: 'renegotiated' } & Mark)
  /** All that it sends is sent. */
  | { readonly type: 'sent'; readonly sum: Sum }
  /** As many bytes as it was to expect have come. */
  | { readonly type: 'received' }
  /** The connection is closed. `received` is all that ever came. */
  | { readonly type: 'over'; readonly received: Sum; readonly error?: string }

export type ToEnd =
  /** Sends nothing more, and answers `sent`. */
  | { readonly type: 'stop' }
  /** Answers `received` after so many bytes. */
  | { readonly type: 'expect'; readonly bytes: number }
  /** Ends its side, after everything sent. Answers `over` when the other end has closed, too. */
  | { readonly type: 'end' }
  /** Closes the connection at once, and answers `over`. */
  | { readonly type: 'leave' }
