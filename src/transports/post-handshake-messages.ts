import type { PostHandshakeKind } from '../core/report.ts'
import type { TransportEvents } from '../core/transport.ts'

/**
 * How often something has happened since the connection was made. In TLS 1.3, either end may update its keys at any time,
 * and a server may request a certificate.
 */
export interface PostHandshakeCounts {
  /** Requests of this end that are written completely. */
  readonly sent: number
  /** Requests of this end that the peer has answered. One answer may serve all requests before it. */
  readonly answered: number
  /** Requests of the peer. A certificate request counts when this end has answered it. */
  readonly byPeer: number
}

/** Reports the messages of one kind. Nothing is allocated here, because this is called for each record. */
class Reported {
  readonly #kind: PostHandshakeKind
  #sent = 0
  #answered = 0
  #byPeer = 0

  constructor(kind: PostHandshakeKind) {
    this.#kind = kind
  }

  report(counts: PostHandshakeCounts, events: TransportEvents, isOver: () => boolean): boolean {
    let any = false
    for (; this.#sent < counts.sent && !isOver(); any = true) {
      this.#sent++
      events.requestSent()
    }
    for (; this.#answered < counts.answered && !isOver(); any = true) {
      this.#answered++
      events.requestAnswered(this.#kind)
    }
    for (; this.#byPeer < counts.byPeer && !isOver(); any = true) {
      this.#byPeer++
      events.peerUpdated(this.#kind)
    }
    return any
  }
}

/** Reports the messages that a TLS engine has sent and read after the handshake, each of them once. */
export class PostHandshakeMessages {
  readonly #keyUpdates = new Reported('key-update')
  readonly #authentications = new Reported('post-handshake-auth')

  /** Reports what was not reported yet, until the stream `isOver`. Returns whether there was anything. */
  report(
    keyUpdates: PostHandshakeCounts,
    authentications: PostHandshakeCounts | undefined,
    events: TransportEvents,
    isOver: () => boolean,
  ): boolean {
    const anyUpdate = this.#keyUpdates.report(keyUpdates, events, isOver)
    if (authentications === undefined) return anyUpdate
    return this.#authentications.report(authentications, events, isOver) || anyUpdate
  }
}
