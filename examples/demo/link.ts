/*
 * One run of the demo, seen from outside: starts the two ends, tells them when
 * to stop, and gathers what they say.
 */
import { type ChildProcess, fork } from 'node:child_process'
import type { FromEnd, Orders, Outcome, Role, Status, ToEnd } from './messages.ts'

export interface LinkOptions {
  wrapped: boolean
  file: string
  seed: number
  /** The ends are told to stop after so many seconds and so many renegotiations, whichever is later. */
  seconds: number
  renegotiations: number
  /** Both ends are killed after so many seconds, so that the run is over in any case. */
  deadlineSeconds: number
  /** An end has told its status. */
  onStatus(link: Link): void
}

export interface Link {
  client: End
  server: End
  /** Since its beginning. */
  seconds: number
}

/** An end that was lost is noticed at the other by its socket. Milliseconds that this may take. */
const GRACE = 3000

/** Resolves when both ends are over, well or not; see their outcomes. */
export async function runLink({ wrapped, file, seed, deadlineSeconds, ...options }: LinkOptions): Promise<Link> {
  const startedAt = performance.now()
  const client = new End({ role: 'client', wrapped, file, seed }, heard)
  const server = new End({ role: 'server', wrapped, file, seed: seed + 1 }, heard)
  const ends = [client, server]
  const link: Link = { client, server, seconds: 0 }
  let stopping = false

  function heard(from: End, message: FromEnd): void {
    link.seconds = (performance.now() - startedAt) / 1000
    switch (message.type) {
      case 'listening':
        client.tell({ type: 'connect', port: message.port })
        break
      case 'status':
        if (!stopping && link.seconds >= options.seconds && from.status.renegotiations >= options.renegotiations) {
          stopping = true
          for (const end of ends) end.tell({ type: 'stop' })
        }
        options.onStatus(link)
        break
      case 'quiet':
        if (ends.every((end) => end.isQuiet)) for (const end of ends) end.tell({ type: 'finish' })
        break
      case 'over':
        if (from.outcome?.error !== undefined)
          setTimeout(killBoth, GRACE, 'did not notice that the other end was lost').unref()
        break
    }
  }

  function killBoth(why: string): void {
    for (const end of ends) end.kill(why)
  }

  const deadline = setTimeout(killBoth, deadlineSeconds * 1000, `not done after ${deadlineSeconds} s`)
  await Promise.all(ends.map((end) => end.closed))
  clearTimeout(deadline)
  return link
}

/** One of the two processes. */
export class End {
  readonly role: Role
  /** Resolves when the process is gone and all that it said is heard. */
  readonly closed: Promise<void>
  /** The last that was heard. */
  status: Status = { sentBytes: 0, receivedBytes: 0, seconds: 0, renegotiations: 0, ownRenegotiations: 0, holds: [] }
  isQuiet = false
  /** Undefined while it runs. */
  outcome: Outcome | undefined
  readonly #child: ChildProcess
  #killedBecause: string | undefined

  constructor(orders: Orders, heard: (from: End, message: FromEnd) => void) {
    this.role = orders.role
    const child = fork(import.meta.filename.replace(/link(?=\.\w+$)/, 'end'), [JSON.stringify(orders)])
    this.#child = child
    child.on('message', (message: FromEnd) => {
      if (message.type === 'status') this.status = message.status
      if (message.type === 'quiet') this.isQuiet = true
      if (message.type === 'over') this.outcome = message.outcome
      heard(this, message)
    })
    this.closed = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        if (this.outcome === undefined) {
          const error = this.#killedBecause ?? `its process ended early, ${signal ?? `with exit code ${code}`}`
          this.outcome = { sentHash: '', receivedHash: '', error }
          heard(this, { type: 'over', outcome: this.outcome })
        }
        resolve()
      })
    })
  }

  /** An end that is gone is not told. */
  tell(message: ToEnd): void {
    if (this.#child.connected) this.#child.send(message)
  }

  kill(why: string): void {
    this.#killedBecause = why
    this.#child.kill('SIGKILL')
  }
}
