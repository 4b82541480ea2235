import { HoldTime } from './hold-time.ts'
import type { Inbox } from './inbox.ts'
import type { Outbox } from './outbox.ts'
import { next, type State, type Trigger } from './state.ts'

/**
 * The state of a stream, and its effects: whether writes are held, whether data is read ahead of the application, and
 * how long the state may last.
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

  /** Moves to the next state, and holds or releases writes. {@link adjustInbox} must be called afterwards. */
  to(trigger: Trigger): void {
    const from = this.#state
    this.#holdAgain()
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
   * Called at each step of a handshake of this end. Lets writes go on until the next step, if `sendsOn()` is true. They
   * begin after an empty write, so that nothing is queued below that would be written after the answer.
   */
  stepped(sendsOn: () => boolean): void {
    this.#holdAgain()
    if (this.#state !== 'handshaking' || !sendsOn()) return
    this.#outbox.barrier(() => {
      this.#outbox.release()
      this.hold.ends()
    })
  }

  #holdAgain(): void {
    if (this.#state !== 'handshaking') return
    this.#outbox.hold()
    if (!this.hold.isHolding) this.hold.begins()
  }

  /** Moves to `flushing`. Calls `flushed` when everything received was read once more, unless a handshake begins. */
  flush(trigger: 'handshakeDone' | 'requestSent', flushed: () => void): void {
    this.to(trigger)
    // A function of its own: if another handshake begins, this barrier is not that of the next one.
    this.#outbox.barrier(() => flushed())
    this.adjustInbox()
  }

  /**
   * Makes the inbox read ahead of the application while a handshake is due or in progress. Not a part of {@link to},
   * because the transport may report anything, even a handshake, from inside resume().
   */
  adjustInbox(): void {
    this.#inbox.readAhead(this.#state === 'draining' || this.#state === 'handshaking')
  }

  /** Calls `expired` when the state has lasted for that many milliseconds. 0: no limit. */
  limit(milliseconds: number, expired: () => void, keepsProcessAlive = true): void {
    if (milliseconds === 0) return
    this.#timer = setTimeout(expired, milliseconds)
    if (!keepsProcessAlive) this.#timer.unref()
  }

  /** Also called when the peer ends the connection in a handshake: that state lasts until the stream is destroyed. */
  clearTimer(): void {
    clearTimeout(this.#timer)
  }
}
