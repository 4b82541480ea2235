/* What the package reports about renegotiations: the report of one, and the counters of a stream. */
/** Which end began a handshake: `'local'` for this end, `'peer'` for the other. */
export type Origin = 'local' | 'peer'

/**
 * What took place: a renegotiation (TLS 1.2 and lower), or what TLS 1.3 has in its place: new keys that are derived from
 * those before, or a certificate request after the handshake.
 */
export type RenegotiationKind = 'renegotiation' | PostHandshakeKind

/** What TLS 1.3 has in place of a renegotiation. */
export type PostHandshakeKind = 'key-update' | 'post-handshake-auth'

/** The report of a completed renegotiation. `renegotiate()` resolves with it, and `renegotiated` carries it. */
export interface RenegotiationReport {
  /**
   * Which end began the handshake. If a handshake of the peer completed while a request of this end waited, that
   * handshake counts for the request: its origin is `'peer'`.
   */
  origin: Origin
  kind: RenegotiationKind
  /**
   * Whether the keys come from a new key exchange, so that whoever has the old ones does not know them. False for an
   * abbreviated handshake, for a key update and for a certificate request.
   */
  freshSecret: boolean
  /** Milliseconds from the turn of this renegotiation until the write in flight finished. 0 if the peer began. */
  drainMs: number
  /** Milliseconds from the beginning of the handshake to its end. */
  handshakeMs: number
  /** Bytes of the application that were held when the handshake ended. */
  heldBytes: number
  /** Bytes of application data that were received during the drain and the handshake. */
  inboundBytes: number
  /**
   * Whether the keys are proven to have changed. Always true over TLS 1.2. False if the transport cannot tell, for a
   * certificate request of TLS 1.3, which changes no keys, and for a key update that the peer has not answered within
   * `handshakeTimeout`: a peer that sends nothing may never answer.
   */
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

/** How much the keys of one direction were used since they were new. A part of {@link RenegotiationCounters}. */
export interface DirectionCounters {
  /** Bytes of application data. */
  bytes: number
  /** TLS records, counted as for the option `rekey.everyRecords`. */
  records: number
  /** Milliseconds since the keys were new, or, before the first handshake, since the stream was made. */
  ageMs: number
}

/** How much the current keys were used, in both directions together and in each. */
export interface KeyCounters {
  /** Bytes of application data in both directions. */
  bytes: number
  /** TLS records in both directions, counted as for the option `rekey.everyRecords`. */
  records: number
  /** Milliseconds since the older of the keys were new. */
  ageMs: number
  /** The keys with which this end sends. A key update of this end replaces them. */
  sending: DirectionCounters
  /** The keys with which this end receives. A key update of the peer replaces them. */
  receiving: DirectionCounters
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
  /** How much the current keys were used. */
  keys: KeyCounters
}
