/** What a stream is doing. Public as `stream.state`. */
export type State =
  /** Data flows both ways. */
  | 'open'
  /** A renegotiation waits for the write in flight; new writes are held. */
  | 'draining'
  /** A handshake is on its way; only reading drives it, new writes are held. */
  | 'handshaking'
  /** The handshake is over (or was given up before it began); held writes are about to go. */
  | 'flushing'
  /** Destroyed. */
  | 'closed'

/** What can happen to a stream. Each is named for what happened, not for what to do. */
export type Trigger =
  /** A renegotiation of our own takes its turn. */
  | 'requested'
  /** The transport has taken all that it was given; our handshake begins. */
  | 'drained'
  /** A renegotiation was given up before its handshake began, or taken back before the peer answered. */
  | 'givenUp'
  /** The transport saw a handshake begin: the peer's, or the next step of ours. */
  | 'handshakeStarted'
  /** The transport saw the handshake finish. */
  | 'handshakeDone'
  /** Inbound was looked at once more, no new handshake began: writes may go. */
  | 'flushed'
  /** The stream was destroyed. */
  | 'destroyed'

type Transitions = Readonly<Record<State, Readonly<Partial<Record<Trigger, State>>>>>

/**
 * The whole state machine. What is not listed is illegal.
 *
 * A peer's handshake takes every live state straight to `handshaking`. Once
 * there, the only ways out are success and the end of the stream: a TLS
 * handshake that has begun can't be taken back. What can is a server's request
 * for one, when the client has ended without an answer: it is allowed to give
 * none.
 */
export const transitions: Transitions = {
  open: { requested: 'draining', handshakeStarted: 'handshaking', destroyed: 'closed' },
  draining: { drained: 'handshaking', givenUp: 'flushing', handshakeStarted: 'handshaking', destroyed: 'closed' },
  handshaking: {
    givenUp: 'flushing',
    handshakeStarted: 'handshaking',
    handshakeDone: 'flushing',
    destroyed: 'closed',
  },
  flushing: { flushed: 'open', handshakeStarted: 'handshaking', destroyed: 'closed' },
  closed: { destroyed: 'closed' },
}

/**
 * The state after `trigger` in `state`.
 *
 * @throws Error where the transition is illegal: a bug in this library or in a
 *   transport that breaks its contract. Nothing has changed then.
 */
export function next(state: State, trigger: Trigger): State {
  const to = transitions[state][trigger]
  if (to === undefined) throw new Error(`Illegal transition: '${trigger}' in state '${state}'`)
  return to
}
