import PQueue from 'p-queue'
import type { AbortError } from './errors.ts'
import type { Request } from './request.ts'
import type { Session } from './transport.ts'

/** The requests that are not settled. They wait in a queue (p-queue, one at a time) for their turn. */
export class Requests {
  /** How many requests have failed. */
  failed = 0
  readonly #all = new Set<Request>()
  /** Made for the first request, because most connections never have one. */
  #queue: PQueue | undefined
  #turn: Request | undefined

  /**
   * The request that a handshake of the peer serves, after which the session is this one: the request whose turn it is,
   * unless it needs a handshake of its own.
   */
  servedBy({ resumed }: Session): Request | undefined {
    const request = this.#turn
    if (request?.options.requestCert || (resumed && request?.needsFull)) return undefined
    return request
  }

  get size(): number {
    return this.#all.size
  }

  /** The request whose turn it is. */
  get turn(): Request | undefined {
    return this.#turn
  }

  has(request: Request): boolean {
    return this.#all.has(request)
  }

  /**
   * Calls `turn` at the request's turn, unless it is settled by then. Calls `aborted` if its signal fires, maybe at
   * once.
   */
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

  /** Removes a request that is about to be settled. */
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
