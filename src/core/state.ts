/* The state machine of a stream: its states, its triggers and the transitions between them. */
/** What a stream is doing, as `stream.state` shows it. */
export type State =
  /** Data flows in both directions. */
  | 'open'
  /** A renegotiation waits for the write in flight. New writes are held. */
  | 'draining'
  /** A handshake is in progress, driven by reading only. New writes are held, unless `holdFrom` lets them go on. */
  | 'handshaking'
  /** The handshake is over, or was given up before it began. Held writes are about to be sent. */
  | 'flushing'
  /** The stream is destroyed. */
  | 'closed'

/** What can happen to a stream. A trigger is named for what happened, not for what is to be done. */
export type Trigger =
  /** A renegotiation that this end requested has its turn. */
  | 'requested'
  /** The transport has finished the write in flight, and the handshake of this end begins. */
  | 'drained'
  /** A renegotiation was given up before its handshake began, or was taken back before the peer answered. */
  | 'givenUp'
  /** The transport reported that a handshake began: one of the peer, or the next step of one of this end. */
  | 'handshakeStarted'
  /** The transport reported that the handshake is complete. */
  | 'handshakeDone'
  /** The transport has sent a key update or a certificate request (TLS 1.3), and data flows on. */
  | 'requestSent'
  /** Everything received was read once more, and no new handshake has begun: writes may be sent. */
  | 'flushed'
  /** The stream was destroyed. */
  | 'destroyed'

type Transitions = Readonly<Record<State, Readonly<Partial<Record<Trigger, State>>>>>

/**
 * The whole state machine of a stream. A transition that is not listed is illegal.
 *
 * A handshake that the peer begins takes every state but `closed` to `handshaking`. From there, only success and the
 * end of the stream lead out, because a TLS handshake that has begun cannot be taken back. There are two exceptions: a
 * server's HelloRequest, if the client closes the connection without an answer (`givenUp`), and the messages of TLS 1.3,
 * which need no answer before data is sent (`requestSent`).
 */
export const transitions: Transitions = {
  open: { requested: 'draining', handshakeStarted: 'handshaking', destroyed: 'closed' },
  draining: { drained: 'handshaking', givenUp: 'flushing', handshakeStarted: 'handshaking', destroyed: 'closed' },
  handshaking: {
    givenUp: 'flushing',
    handshakeStarted: 'handshaking',
    handshakeDone: 'flushing',
    requestSent: 'flushing',
    destroyed: 'closed',
  },
  flushing: { flushed: 'open', handshakeStarted: 'handshaking', destroyed: 'closed' },
  closed: { destroyed: 'closed' },
}

/**
 * Returns the state after `trigger` in `state`.
 *
 * @throws Error if the transition is illegal: a bug in this package, or in a transport that breaks its contract.
 */
export function next(state: State, trigger: Trigger): State {
  const to = transitions[state][trigger]
  if (to === undefined) throw new Error(`Illegal transition: '${trigger}' in state '${state}'`)
  return to
}
