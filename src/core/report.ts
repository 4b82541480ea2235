/** Who began a handshake. */
export type Origin = 'local' | 'peer'

/** What a completed renegotiation was like. */
export interface RenegotiationReport {
  /** Who began the handshake. A peer's that ran when ours was due stands for ours. */
  origin: Origin
  /** Milliseconds from our turn until the last write in flight was finished; 0 where the peer began. */
  drainMs: number
  /** Milliseconds from the beginning of the handshake to its end. */
  handshakeMs: number
  /** Bytes of the application that waited when the handshake was over. */
  heldBytes: number
  /** Bytes of application data that came in meanwhile. */
  inboundBytes: number
  /** The keys are proven to have changed. False only where the transport can't tell. */
  verified: boolean
  /** The handshake was an abbreviated one. Over TLS always there. */
  resumed?: boolean
  /** The peer's certificate was verified. */
  authorized?: boolean
  /** Why it was not. */
  authorizationError?: Error | string
  /** The peer's certificate is another than before, or its first. */
  peerCertificateChanged?: boolean
  /** The new session has the extended master secret (RFC 7627). Over TLS always there. */
  extendedMasterSecret?: boolean
}

/** What has happened on a stream so far, and how it is now. A copy: it does not change any more. */
export interface RenegotiationCounters {
  /** Completed renegotiations, whoever began them. */
  renegotiations: number
  /** Those of them that the peer began. */
  byPeer: number
  /** Renegotiations asked for here that ended in an error. */
  failed: number
  /** Handshakes that the peer began and that came to nothing. */
  failedByPeer: number
  /** How long writes were held, each time that they were. */
  hold: {
    count: number
    /** Milliseconds; 0 where they never were, as the others. */
    minMs: number
    meanMs: number
    maxMs: number
  }
  /** Bytes taken from the application and not yet given to the transport. */
  heldBytes: number
  /** What the keys of now were used for, both ways together. */
  keys: {
    /** Bytes of application data. */
    bytes: number
    /** Records, as the option `rekey` counts them. */
    records: number
    /** Milliseconds since the last handshake, or since the stream was made. */
    ageMs: number
  }
}
