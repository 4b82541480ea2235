import { HoldTime } from './hold-time.ts'
import type { Inbox } from './inbox.ts'
import type { Outbox } from './outbox.ts'
import { next, type State, type Trigger } from './state.ts'

/**
 * The state that a stream is in, and what it means for its parts: whether writes
 * are held, whether reading goes on ahead of the application, and how long it
 * may last.
 */
export class Phase {
  readonly hold = new HoldTime()
  readonly #outbox: Outbox
  readonly #inbox: Inbox
  #state: State = 'open'
  #timer: NodeJS.Timeout | undefined

  constructor(outbox: Outbox, inbox: Inbox) {
    this.#outbox = outbox
    this.#inbox = inbox
  }

  get state(): State {
    return this.#state
  }

  /** Moves to the next state, and sets the outbox as that demands. The inbox is set by {@link adjustInbox}. */
  to(trigger: Trigger): void {
    const from = this.#state
    this.#state = next(from, trigger)
    this.clearTimer()
    switch (this.#state) {
      case 'draining':
      case 'handshaking':
        this.#outbox.hold()
        break
      case 'open':
        this.#outbox.release()
        break
    }
    if (from === 'open') this.hold.begins()
    else if (this.#state === 'open') this.hold.ends()
  }

  /**
   * Reading goes on ahead of the application while a handshake is due or running. Apart from {@link to}, because the
   * transport may tell of anything when it is resumed.
   */
  adjustInbox(): void {
    this.#inbox.readAhead(this.#state === 'draining' || this.#state === 'handshaking')
  }

  /** Calls `expired` when the state has lasted that long. 0: never. */
  limit(milliseconds: number, expired: () => void, keepsProcessAlive = true): void {
    if (milliseconds === 0) return
    this.#timer = setTimeout(expired, milliseconds)
    if (!keepsProcessAlive) this.#timer.unref()
  }

  clearTimer(): void {
    clearTimeout(this.#timer)
  }
}
