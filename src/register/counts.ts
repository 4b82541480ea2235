import { subscribe } from 'node:diagnostics_channel'
import type { RenegotiationTrace } from '../core/diagnostics.ts'

/** Why a socket was left alone. */
export type LeftAloneReason = 'HTTP/2' | 'TLS 1.3' | 'host' | 'onread' | 'captured' | 'not loaded'

/** What was guarded, or watched, in this process, and how the renegotiations ended. The numbers are kept up to date. */
export interface GuardCounts {
  /** Sockets that have a stream, or that are watched. */
  guarded: number
  /**
   * Sockets that were left alone, by reason. `HTTP/2` and `TLS 1.3` have no renegotiation; `host` is not among the
   * option `hosts`; a socket with the option `onread` emits no data; `captured` was made by a reference to
   * `tls.connect()` that is older than the guard, or by the program itself; `not loaded`: this package could not be
   * loaded when the connection was made.
   */
  readonly leftAlone: Partial<Record<LeftAloneReason, number>>
  /** Renegotiations that succeeded, whoever began them. */
  renegotiations: number
  /** Renegotiations that failed, or that were in progress when the connection closed. */
  failed: number
}

export function newCounts(): GuardCounts {
  return { guarded: 0, leftAlone: {}, renegotiations: 0, failed: 0 }
}

export function leaveAlone(counts: GuardCounts, reason: LeftAloneReason): void {
  counts.leftAlone[reason] = (counts.leftAlone[reason] ?? 0) + 1
}

/** Counts the renegotiations of all streams of this package, by its tracing channel. */
export function countRenegotiations(counts: GuardCounts): void {
  subscribe('tracing:renegotiation-duplex:renegotiate:asyncEnd', (message) => {
    const { origin, result, error } = message as RenegotiationTrace
    if (error !== undefined) counts.failed++
    // A handshake of the peer that counted for a request of this end has a message of its own.
    else if (result?.origin === origin) counts.renegotiations++
  })
}
