/* What the package reports about renegotiations: the report of one, and the counters of a stream. */
/** Which end began a handshake: `'local'` for this end, `'peer'` for the other. */
export type Origin = 'local' | 'peer'

/** The report of a completed renegotiation. `renegotiate()` resolves with it, and `renegotiated` carries it. */
export interface RenegotiationReport {
  /**
   * Which end began the handshake. If a handshake of the peer completed while a request of this end waited, that
   * handshake counts for the request: its origin is `'peer'`.
   */
  origin: Origin
  /** Milliseconds from the turn of this renegotiation until the write in flight finished. 0 if the peer began. */
  drainMs: number
  /** Milliseconds from the beginning of the handshake to its end. */
  handshakeMs: number
  /** Bytes of the application that were held when the handshake ended. */
  heldBytes: number
  /** Bytes of application data that were received during the drain and the handshake. */
  inboundBytes: number
  /** Whether the keys are proven to have changed. False only if the transport cannot tell. Always true over TLS. */
  verified: boolean
  /** Whether the handshake was abbreviated, so that it resumed the session. Always present over a TLS socket. */
  resumed?: boolean
  /** Whether the peer's certificate was verified. */
  authorized?: boolean
  /** Why the peer's certificate was not verified. */
  authorizationError?: Error | string
  /** Whether the peer's certificate is different from the one before, or its first. */
  peerCertificateChanged?: boolean
  /** Whether the new session has the extended master secret (RFC 7627). Always present over a TLS socket. */
  extendedMasterSecret?: boolean
}

/** The counters of a stream, returned by `stream.counters`. This is a copy; it does not change any more. */
export interface RenegotiationCounters {
  /** Completed renegotiations, whichever end began them. */
  renegotiations: number
  /** How many of these the peer began. */
  byPeer: number
  /** Renegotiations requested at this end that ended in an error. */
  failed: number
  /** Handshakes that the peer began and that failed. */
  failedByPeer: number
  /** How often writes were held, and for how long. */
  hold: {
    /** How often writes were held. */
    count: number
    /** The shortest time, in milliseconds. 0 if writes were never held. */
    minMs: number
    /** The mean time, in milliseconds. 0 if writes were never held. */
    meanMs: number
    /** The longest time, in milliseconds. 0 if writes were never held. */
    maxMs: number
  }
  /** Bytes that the application has written and that were not yet given to the transport. */
  heldBytes: number
  /** How much the current keys were used, in both directions together. */
  keys: {
    /** Bytes of application data. */
    bytes: number
    /** TLS records, counted as for the option `rekey.everyRecords`. */
    records: number
    /** Milliseconds since the last handshake, or, before the first, since the stream was made. */
    ageMs: number
  }
}
