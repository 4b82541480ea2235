import PQueue from 'p-queue'
import type { AbortError } from './errors.ts'
import type { Request } from './request.ts'

/**
 * The renegotiations that were asked for and are not settled. They stand in a
 * queue (p-queue, one at a time), and the first of them has its turn.
 */
export class Requests {
  /** How many have failed. */
  failed = 0
  readonly #all = new Set<Request>()
  /** Made for the first: most connections never see one. */
  #queue: PQueue | undefined
  #turn: Request | undefined

  get size(): number {
    return this.#all.size
  }

  /** The one that has its turn. */
  get turn(): Request | undefined {
    return this.#turn
  }

  has(request: Request): boolean {
    return this.#all.has(request)
  }

  /** Calls `turn` when it is its turn, unless it is settled before; `aborted` when its signal fires, maybe at once. */
  add(request: Request, turn: () => void, aborted: (error: AbortError) => void): void {
    this.#all.add(request)
    request.watchSignal(aborted)
    if (request.isSettled) return
    this.#queue ??= new PQueue({ concurrency: 1 })
    void this.#queue.add(() => {
      if (request.isSettled) return request.settled
      this.#turn = request
      turn()
      return request.settled
    })
  }

  /** It is over, and will be settled. */
  remove(request: Request): void {
    this.#all.delete(request)
    if (this.#turn === request) this.#turn = undefined
  }

  fail(request: Request, error: Error): void {
    if (request.isSettled) return
    this.failed++
    this.remove(request)
    request.reject(error)
  }

  failAll(error: Error): void {
    for (const request of this.#all) this.fail(request, error)
  }
}
