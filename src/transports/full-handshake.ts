/*
 * Makes every renegotiation of a server a full handshake, so that the client is asked for its certificate.
 *
 * When a server asks for a renegotiation, an OpenSSL client offers to resume its session. If the server accepts, the
 * client is not asked for a certificate. OpenSSL's option against that, SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION,
 * has a drawback: the server issues no new ticket either, because ssl_get_prev_session(), which decides that, is not
 * called. No session of the connection can be resumed afterwards, and a GnuTLS client ends the connection.
 *
 * A ticket that the server cannot decrypt leads to a full handshake with a new ticket at its end (RFC 5077, 3.1). So
 * the server has random ticket keys while OpenSSL processes the ClientHello.
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
const swaps = new Map<TicketContext, Swap>()

/**
 * Prevents the handshake that begins on a server's socket from resuming a session by a ticket. Call it before OpenSSL
 * processes the ClientHello. Session ids need no such measure: Node looks them up (`resumeSession`) only in the first
 * ClientHello of a connection.
 *
 * The keys are restored after this turn of the event loop. Not earlier, because process.nextTick() callbacks and
 * promises may run before OpenSSL goes on. Not later, because otherwise a client that sends half a ClientHello could
 * keep all others from resuming. If the rest of that ClientHello arrives in another record, its handshake may resume.
 *
 * Other connections are affected only if they offer or receive a ticket in the same turn. That ticket is useless, and
 * they make a full handshake instead.
 *
 * If the keys cannot be changed, it does nothing.
 */
export function refuseTickets(socket: TLSSocket): void {
  try {
    ticketContexts(socket).forEach(swapKeys)
  } catch {
    // Nothing may be thrown into OpenSSL. If the handshake brings no certificate, the verdict says why.
  }
}

/** The keys that will be restored, if `keys` are temporary; else `keys` themselves. */
export function ownTicketKeys<Keys extends Buffer>(keys: Keys): Keys {
  for (const { own, temporary } of swaps.values()) if (temporary.equals(keys)) return Buffer.from(own) as Keys
  return keys
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
  // If the keys are different, the application has set them in the meantime.
  if (swap?.temporary.equals(context.getTicketKeys())) context.setTicketKeys(swap.own)
}
