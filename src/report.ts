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
}

/** What has happened on a stream so far. */
export interface RenegotiationCounters {
  /** Completed renegotiations, whoever began them. */
  renegotiations: number
  /** Those of them that the peer began. */
  byPeer: number
  /** Renegotiations asked for here that ended in an error. */
  failed: number
}
