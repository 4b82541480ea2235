/*
 * The messages between the program and its two child processes, one for each end
 * of the connection (process.send() of node:child_process).
 */
import type { Origin, RenegotiationCounters } from '../core/report.ts'
import type { Range } from '../quantities.ts'
import type { Address } from './parse.ts'

/** A client's certificate and key, and how it verifies the server. `ca`, `cert` and `key` are in PEM. */
export interface Credentials {
  readonly servername: string | undefined
  readonly ca: string | undefined
  readonly cert: string | undefined
  readonly key: string | undefined
  readonly insecure: boolean
}

/** The versions of TLS that a soak can use. */
export type TLSVersion = '1.2' | '1.3'

/**
 * What a process is connected to: the other process of the soak, or a server of the user. The two processes share a key:
 * in TLS 1.2 a pre-shared key (hexadecimal), in TLS 1.3 a private key (PEM) with its certificate.
 */
export type Peer =
  | { readonly kind: 'own'; readonly key: string; readonly cert?: string; readonly port?: number }
  | ({ readonly kind: 'foreign' } & Address & Credentials)

/** The first argument of a child process, as JSON. */
export interface Orders {
  readonly side: Side
  readonly peer: Peer
  readonly tls: TLSVersion
  readonly seed: number
  readonly everyMs: Range
  readonly chunkBytes: Range
}

export type Side = 'client' | 'server'

/** Count and hash of all bytes in one direction. */
export interface Sum {
  readonly bytes: number
  /** SHA-256, hexadecimal. */
  readonly hash: string
}

/** What an end reports at regular intervals. */
export interface Status {
  readonly sentBytes: number
  readonly receivedBytes: number
  /** Resident set size, in bytes. */
  readonly rssBytes: number
  readonly counters: RenegotiationCounters
}

/** One renegotiation or key update, as one end saw it. */
export interface Mark {
  readonly origin: Origin
  /** Whether the keys are proven to be new. False for a key update that was not answered in time. */
  readonly verified: boolean
  /** Milliseconds for which this end held its writes. */
  readonly holdMs: number
}

/** A message from a child process. */
export type FromEnd =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'connected'; readonly protocol: string; readonly cipher: string }
  | ({ readonly type: 'status' } & Status)
  | ({ readonly type: 'renegotiated' } & Mark)
  /** All its data was sent. */
  | { readonly type: 'sent'; readonly sum: Sum }
  /** It has received as many bytes as it was told to expect. */
  | { readonly type: 'received' }
  /** The connection is closed. `received` covers all data that ever arrived. */
  | { readonly type: 'over'; readonly received: Sum; readonly error?: string }

/** A message to a child process. */
export type ToEnd =
  /** Send nothing more, and answer `sent`. */
  | { readonly type: 'stop' }
  /** Answer `received` after so many bytes. */
  | { readonly type: 'expect'; readonly bytes: number }
  /** End your side after all data. Answer `over` when the connection has closed. */
  | { readonly type: 'end' }
  /** Close the connection at once, and answer `over`. */
  | { readonly type: 'leave' }
