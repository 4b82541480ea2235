/*
 * What the program (main.ts) and the four stations (station.ts), each a process of its own, tell each other.
 */
import type { CRLUpdateReport } from 'renegotiation-duplex'

export interface Orders {
  readonly role: 'controlling' | 'controlled'
  readonly credentials: { readonly key: string; readonly cert: string }
  readonly ca: string
  /** The revocation list at the beginning. */
  readonly crl: string
  /** For the controlling station: the controlled stations. */
  readonly stations?: readonly { readonly name: string; readonly port: number }[]
}

export type ToStation =
  | { readonly type: 'begin'; readonly orders: Orders }
  /** To the controlling station: a new revocation list. */
  | { readonly type: 'revocation list'; readonly crl: string }
  /** Make no more telegrams. Say `quiet` when all are sent and acknowledged. */
  | { readonly type: 'quiet' }
  /** To the controlling station: stop the transfer of data, and end the connections. */
  | { readonly type: 'end' }

export type FromStation =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'revocation list taken'; readonly report: CRLUpdateReport; readonly ms: number }
  | { readonly type: 'quiet' }
  | { readonly type: 'over'; readonly links: readonly LinkResult[] }

/** What has become of one end of a link. */
export interface LinkResult {
  /** The controlled station at one end of it. */
  readonly name: string
  readonly sent: number
  readonly received: number
  /** The first telegram that was not the expected one. */
  readonly wrong: string | undefined
  readonly tests: number
  /** Renegotiations: all, those that the other end began, and for how long one held writes at most. */
  readonly renegotiations: number
  readonly byPeer: number
  readonly failed: number
  readonly longestHoldMs: number
  /** The code, or else the message, of the error that ended the link. */
  readonly error: string | undefined
}
