/* Checks the streams that are live when a new revocation list comes into force. */
import { setImmediate as turnOfEventLoop } from 'node:timers/promises'
import type { RenegotiationError } from './errors.ts'
import { CONCURRENCY, rekeyTurns, type Turn } from './rekey-turns.ts'
import { MAX_TIMEOUT } from './values.ts'

/** The result of `updateCRL()`: what has become of the streams that were live. */
export interface CRLUpdateReport {
  /** How many there were. */
  checked: number
  /** How many of these ended with `ERR_RENEGOTIATION_REVOKED`. */
  revoked: number
  /** How many ended otherwise before they were judged, for example because the peer refused the handshake. */
  failed: number
  /**
   * How many were judged by the certificates of their last handshake and go on, because there could be no other: those with
   * TLS 1.3, those that cannot renegotiate, and those without a certificate that could be requested again.
   */
  notRenegotiated: number
}

/** What the check needs of a stream. */
export interface RevocationMember {
  readonly isClosed: boolean
  /** Whether it was destroyed with `ERR_RENEGOTIATION_REVOKED`. */
  readonly wasRevoked: boolean
  /** The verdict on the certificates of the last handshake that was accepted. */
  revoked(): RenegotiationError | undefined
  /** Whether the peer may bring another certificate in a handshake. */
  readonly mayChangeIdentity: boolean
  /** Whether a handshake can be begun in which the certificate of the peer comes. */
  readonly canRenegotiate: boolean
  /** Makes a full handshake in which the peer is judged. */
  renegotiate(): Promise<unknown>
  destroy(error: RenegotiationError): void
}

/** Milliseconds for which the event loop is kept busy at once with looking at certificates. */
const SLICE = 5

/**
 * Judges every stream by the lists in force:
 *
 * - If the certificates of its last handshake are revoked, and the peer may not bring others, no handshake can change that:
 *   the stream ends at once.
 * - Otherwise a full handshake is made, at its turn among those of all streams, and judges what the peer brings. Those that
 *   are revoked as they are come first.
 * - If there can be no handshake, or it fails and leaves the stream open, the certificates of the last one decide.
 */
export async function checkAll(members: Iterable<RevocationMember>): Promise<CRLUpdateReport> {
  const live = [...members].filter(({ isClosed }) => !isClosed)
  const report = { checked: live.length, revoked: 0, failed: 0, notRenegotiated: 0 }
  // The timers of the turns do not keep the process alive, and the promise has to settle.
  const alive = setInterval(() => {}, MAX_TIMEOUT)
  try {
    const checks: Promise<void>[] = []
    let sliceBegan = performance.now()
    for (const member of live) {
      if (performance.now() - sliceBegan > SLICE) {
        await turnOfEventLoop()
        sliceBegan = performance.now()
      }
      checks.push(check(member, report))
    }
    await Promise.all(checks)
  } finally {
    clearInterval(alive)
  }
  return report
}

async function check(member: RevocationMember, report: CRLUpdateReport): Promise<void> {
  if (member.isClosed) {
    ended(member, report)
    return
  }
  const revoked = member.revoked()
  if ((revoked !== undefined && !member.mayChangeIdentity) || !member.canRenegotiate) {
    decide(member, revoked, report)
    return
  }
  const turn = await takeTurn(revoked !== undefined)
  try {
    await member.renegotiate()
  } catch {
    // If it has failed or could not begin, and the stream is still there, the last handshake counts.
    if (!member.isClosed) decide(member, member.revoked(), report)
    else ended(member, report)
  } finally {
    rekeyTurns.giveBack(turn)
  }
}

/** The stream has ended before it was judged, or by what another update has judged. */
function ended({ wasRevoked }: RevocationMember, report: CRLUpdateReport): void {
  if (wasRevoked) report.revoked++
  else report.failed++
}

/** Judges a stream without a handshake. */
function decide(member: RevocationMember, revoked: RenegotiationError | undefined, report: CRLUpdateReport): void {
  if (revoked === undefined) {
    report.notRenegotiated++
    return
  }
  report.revoked++
  member.destroy(revoked)
}

function takeTurn(isUrgent: boolean): Promise<Turn> {
  return new Promise((resolve) => {
    const turn: Turn = rekeyTurns.take({
      concurrency: CONCURRENCY,
      deadline: isUrgent ? 0 : performance.now(),
      begin: () => resolve(turn),
    })
    if (turn.state === 'taken') resolve(turn)
  })
}
