/*
 * What the processes of a benchmark tell each other: main.ts asks a runner for
 * one piece of work at a time; the runner asks its peer by a line on the
 * connection.
 */

/** What a runner puts between itself and the socket; 'tcp' is a socket without TLS. */
export type Contender = 'plain' | 'again' | 'ours' | 'duplexify' | 'streamx' | 'openssl' | 'tcp' | 'slow'

/** The version of TLS. */
export type Version = 'TLSv1.2' | 'TLSv1.3'

/** What a reader knows them as. */
export const NAMES: Readonly<Record<Contender, string>> = {
  plain: 'plain tls.TLSSocket',
  again: 'a second plain one',
  ours: 'renegotiation-duplex',
  duplexify: 'duplexify',
  streamx: 'streamx',
  openssl: 'renegotiation-duplex/openssl',
  tcp: 'raw TCP on loopback',
  slow: 'slow on purpose',
}

export type Work =
  /** Sends so many bytes in chunks of that size, until the peer has all of them. */
  | { readonly what: 'send'; readonly bytes: number; readonly chunk: number }
  /** Receives so many bytes, which the peer sends in chunks of that size. */
  | { readonly what: 'read'; readonly bytes: number; readonly chunk: number }
  /** Sends 64 bytes and waits for them to come back, so many times. */
  | { readonly what: 'ping'; readonly times: number }
  /** Sends that many bytes with a single write. */
  | { readonly what: 'one write'; readonly bytes: number }
  /** Makes so many connections, and lets them be. */
  | { readonly what: 'idle'; readonly connections: number }
  /** Sends for so long, and renegotiates every so many milliseconds; 0: never. */
  | { readonly what: 'renegotiate'; readonly milliseconds: number; readonly every: number }
  /** Sends for so long, and measures how long it takes to arrive. */
  | { readonly what: 'transit'; readonly milliseconds: number }
  /** Renegotiates so many times, while nothing is sent. */
  | { readonly what: 'handshakes'; readonly times: number }

export interface Result {
  /** Milliseconds. */
  readonly time: number
  /** Milliseconds of CPU, the runner's. */
  readonly cpu: number
  readonly bytes: number
  /** Milliseconds: round trips, holds or handshakes, one by one. */
  readonly each?: readonly number[]
  /** Of heap and of resident memory, what the work has added. */
  readonly heapBytes?: number
  readonly rssBytes?: number
}

/** What the peer is to do on a connection, its first line. */
export type Ask =
  /** Takes that many bytes, and answers with one. */
  | { readonly ask: 'sink'; readonly bytes: number }
  | { readonly ask: 'source'; readonly bytes: number; readonly chunk: number }
  | { readonly ask: 'echo' }
  /** Takes all that comes, and answers with one for every so many bytes. */
  | { readonly ask: 'marks'; readonly every: number }
  /** Takes all that comes, and can renegotiate. */
  | { readonly ask: 'guarded' }
