/*
 * What the program (main.ts) and the two ends of the link (end.ts), each a
 * process of its own, tell each other.
 */

export type Role = 'client' | 'server'

/** What an end is to do: JSON on its command line. */
export interface Orders {
  role: Role
  wrapped: boolean
  /** The file to send. */
  file: string
  /** For the moments at which it renegotiates. */
  seed: number
}

export type ToEnd =
  /** Where the server listens; to the client. */
  | { type: 'connect'; port: number }
  /** Begin no more renegotiations; say `quiet` when the last is over. */
  | { type: 'stop' }
  /** Both ends are quiet: end after the copy that is being sent. */
  | { type: 'finish' }

export type FromEnd =
  | { type: 'listening'; port: number }
  /** Ten times a second, and once more at the end. */
  | { type: 'status'; status: Status }
  | { type: 'quiet' }
  | { type: 'over'; outcome: Outcome }

export interface Status {
  sentBytes: number
  receivedBytes: number
  /** Since the connection was made. */
  seconds: number
  /** Completed ones, and those of them that this end began. */
  renegotiations: number
  ownRenegotiations: number
  /** For how many milliseconds each completed renegotiation, whoever began it, held this end's writes. */
  holds: number[]
}

export interface Outcome {
  /** SHA-256 of all that was sent and received. */
  sentHash: string
  receivedHash: string
  /** Why it did not get through. */
  error: string | undefined
}
