/* The scheduled renegotiations of all streams take turns, so that not all of them use the event loop at once. */

/** The default of the option `rekey.concurrency`. */
export const CONCURRENCY = 8
/** Milliseconds between two looks at the turns that are taken, while a stream waits. */
const LOOK_INTERVAL = 50
/** A turn is over at this look, even if the peer has not answered. */
const LAST_LOOK = 5
/** Milliseconds until the next of the streams that wait begin. */
const PACE = 5
/** One stream begins at that pace for each so many of `concurrency`. Of those that hurry, as many as `concurrency`. */
const SHARE = 8
/** The deadline of a stream that does not wait for others. */
const NOW = -Infinity

/** What a stream asks for. */
export interface TurnRequest {
  /** How many turns may be taken at once, this one included. */
  readonly concurrency: number
  /** When the stream is expected to reach its hard limit, on the clock of `performance.now()`. The earliest is first. */
  readonly deadline: number
  /** Called when a stream that had to wait has got its turn. */
  begin(): void
}

/** The turn of one stream. */
export interface Turn {
  readonly state: 'waiting' | 'taken' | 'over'
}

/**
 * A line of streams that want to renegotiate. There is one for all streams of the process (of each worker thread, and
 * of each copy of this package).
 *
 * A turn is there to spread the work, and is not a lock. It ends when the stream gives it back, and otherwise after
 * about 250 ms: a handshake that has not finished by then waits for its peer, and waiting needs no CPU. So peers that
 * are silent, or far away, delay the others but do not stop them. Only the time is counted in which the event loop
 * runs, because an answer cannot be read while it is blocked.
 *
 * Streams that wait begin one by one, one in 5 ms with a `concurrency` of 8. Without this pace, the next would begin as
 * soon as the one before is done, and a process with thousands of them would do nothing else until all are renewed.
 *
 * A turn that is given back is free in the next turn of the event loop. A key update is sent at once. If it were free
 * at once as well, thousands of streams that are due at the same time would all begin before any I/O.
 */
export class RekeyTurns {
  /** The streams that wait, in the order of their turns. */
  readonly #line: OneTurn[] = []
  readonly #taken = new Set<OneTurn>()
  /** How many turns were given back since the event loop last turned. */
  #returned = 0
  #count = 0
  #next: NodeJS.Timeout | undefined
  #look: NodeJS.Timeout | undefined

  /** How many streams wait. */
  get waiting(): number {
    return this.#line.length
  }

  /** How many turns are taken. */
  get taken(): number {
    return this.#taken.size
  }

  /** Takes a turn at once, or gets in line for one. Without a limit (Infinity), nothing has to wait. */
  take(request: TurnRequest): Turn {
    const turn = new OneTurn(request, this.#count++)
    const isFree = this.#line.length === 0 && this.#inUse < request.concurrency
    if (isFree || request.concurrency === Infinity) this.#grant(turn)
    else this.#enter(turn)
    return turn
  }

  /** Lets a stream that waits go first, however many turns are taken. */
  hurry(turn: Turn): void {
    const waiting = turn as OneTurn
    if (waiting.state !== 'waiting' || waiting.deadline === NOW) return
    this.#leave(waiting)
    waiting.deadline = NOW
    this.#enter(waiting)
    this.#goOn()
  }

  /** Gives a turn back, or leaves the line. May be called at any time, and again. */
  giveBack(turn: Turn): void {
    const own = turn as OneTurn
    if (own.state === 'waiting') this.#leave(own)
    if (this.#taken.delete(own) && this.#returned++ === 0) setImmediate(this.#freed)
    own.state = 'over'
    // It may have held up others.
    this.#goOn()
  }

  get #inUse(): number {
    return this.#taken.size + this.#returned
  }

  /** The first in line, if it may begin. It holds up those behind it, or a small `concurrency` would wait for ever. */
  get #first(): OneTurn | undefined {
    const first = this.#line[0]
    return first !== undefined && (first.deadline === NOW || this.#inUse < first.concurrency) ? first : undefined
  }

  #grant(turn: OneTurn): void {
    turn.state = 'taken'
    this.#taken.add(turn)
  }

  #enter(turn: OneTurn): void {
    this.#line.splice(this.#placeOf(turn), 0, turn)
    this.#look ??= setTimeout(this.#lookAtAll, LOOK_INTERVAL).unref()
  }

  #leave(turn: OneTurn): void {
    this.#line.splice(this.#placeOf(turn), 1)
    if (this.#line.length > 0) return
    clearTimeout(this.#look)
    this.#look = undefined
  }

  /** Where in the line this turn is, or is to be. */
  #placeOf(turn: OneTurn): number {
    let low = 0
    let high = this.#line.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#line[middle] as OneTurn).isBefore(turn)) low = middle + 1
      else high = middle
    }
    return low
  }

  readonly #freed = (): void => {
    this.#returned = 0
    this.#goOn()
  }

  #goOn(): void {
    if (this.#first !== undefined) this.#next ??= setTimeout(this.#begin, PACE).unref()
  }

  readonly #begin = (): void => {
    this.#next = undefined
    let begun = 0
    try {
      for (let first = this.#first; first !== undefined && begun < first.atOnce; first = this.#first) {
        this.#leave(first)
        this.#grant(first)
        begun++
        first.begin()
      }
    } finally {
      // Also if one has thrown.
      this.#goOn()
    }
  }

  readonly #lookAtAll = (): void => {
    for (const turn of this.#taken) if (++turn.looks === LAST_LOOK) this.giveBack(turn)
    this.#look = setTimeout(this.#lookAtAll, LOOK_INTERVAL).unref()
  }
}

class OneTurn implements Turn {
  state: Turn['state'] = 'waiting'
  deadline: number
  readonly concurrency: number
  readonly begin: () => void
  /** How many streams came before. */
  readonly #order: number
  /** How often it was found taken while others waited. */
  looks = 0

  constructor({ concurrency, deadline, begin }: TurnRequest, order: number) {
    this.concurrency = concurrency
    this.deadline = deadline
    this.begin = begin
    this.#order = order
  }

  /** How many may begin together. */
  get atOnce(): number {
    return this.deadline === NOW ? this.concurrency : this.concurrency / SHARE
  }

  isBefore(other: OneTurn): boolean {
    return this.deadline === other.deadline ? this.#order < other.#order : this.deadline < other.deadline
  }
}

/** Those of this process. */
export const rekeyTurns = new RekeyTurns()
