import { writeSync } from 'node:fs'
import type { GuardCounts } from './counts.ts'

/** Writes one line for people to stderr. Synchronous, because the process is about to exit. */
export function writeReport(counts: GuardCounts, mode: 'guard' | 'watch'): void {
  const { guarded, leftAlone, renegotiations, failed } = counts
  const reasons = Object.entries(leftAlone)
  const others = reasons.reduce((sum, [, count]) => sum + count, 0)
  const why = others === 0 ? '' : ` (${reasons.map(([reason, count]) => `${reason}: ${count}`).join(', ')})`
  const line =
    `renegotiation-duplex: ${guarded} sockets ${mode === 'guard' ? 'guarded' : 'watched'}, ${others} left alone${why}, ` +
    `${renegotiations} renegotiations, ${failed} failed`
  try {
    writeSync(2, `${line}\n`)
  } catch {
    // Nobody reads it. That must not change the exit code.
  }
}
