/*
 * When a server asks for a renegotiation, an OpenSSL client offers to resume its
 * session. If the server accepts, nobody is asked for a certificate. OpenSSL has
 * an option against that, SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION, but
 * then the server issues no new ticket either: that is decided in
 * ssl_get_prev_session(), which is not called. No session of the connection can
 * be resumed afterwards, and a GnuTLS client ends the connection.
 *
 * A ticket that the server cannot decrypt leads to what is wanted: a full
 * handshake, with a new ticket at its end (RFC 5077, 3.1). So the server has
 * random ticket keys while OpenSSL looks at the ClientHello.
 */
import { randomBytes } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import { type TicketContext, ticketContexts } from './node-internals.ts'

/** The length that setTicketKeys() requires. */
const KEYS_BYTES = 48

interface Swap {
  /** The keys to put back. */
  own: Buffer
  temporary: Buffer
}

/** The contexts that have temporary keys now. */
const swaps = new WeakMap<TicketContext, Swap>()

/**
 * Prevents that the handshake which begins on a server's socket resumes a
 * session by a ticket. To be called before OpenSSL looks at the ClientHello.
 * Session ids need nothing: Node looks them up (`resumeSession`) in the first
 * ClientHello of a connection only.
 *
 * The keys are back after this turn of the event loop. Not earlier, for
 * process.nextTick() and promises may run before OpenSSL goes on. Not later, or
 * a client with half a ClientHello could keep all others from resuming. Its own
 * handshake may then resume after all, if the rest comes in another record.
 *
 * Other connections are concerned only if they offer a ticket or get one in
 * the same turn. That ticket is useless, and costs them a full handshake.
 *
 * If the keys cannot be changed, nothing happens.
 */
export function refuseTickets(socket: TLSSocket): void {
  try {
    ticketContexts(socket).forEach(swapKeys)
  } catch {
    // Nothing may be thrown into OpenSSL. If the handshake lacks a certificate, its verdict says why.
  }
}

function swapKeys(context: TicketContext): void {
  const current = context.getTicketKeys()
  const temporary = randomBytes(KEYS_BYTES)
  context.setTicketKeys(temporary)
  const earlier = swaps.get(context)
  swaps.set(context, { own: earlier?.temporary.equals(current) ? earlier.own : current, temporary })
  setImmediate(putBack, context)
}

function putBack(context: TicketContext): void {
  const swap = swaps.get(context)
  swaps.delete(context)
  // If they are others, the application has set them in the meantime.
  if (swap?.temporary.equals(context.getTicketKeys())) context.setTicketKeys(swap.own)
}
