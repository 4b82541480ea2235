/* The secret of session tickets (RFC 5077), with which a server reads the sessions that it has given away. */
import { hkdfSync, randomBytes } from 'node:crypto'
import { mustBeBytes, wrongValue } from './argument.ts'
import * as c from './constants.ts'
import { bytesOf } from './pem.ts'
import type { SecureContext } from './secure-context.ts'
import { attempt } from './succeed.ts'

/** The length of Node's `ticketKeys`: a name of 16 bytes and two keys of 16 bytes. */
const LENGTH = 48
/** OpenSSL's: a name of 16 bytes and two keys of 32 bytes. */
const OPENSSL_LENGTH = 80
const NAME_BYTES = 16

/**
 * Sets the secret of session tickets. Servers with the same secret resume each other's sessions.
 *
 * OpenSSL makes tickets with longer keys than Node, so its own are derived from Node's. Hence a server of `node:tls` with
 * the same `ticketKeys` does not resume these sessions; its clients do a full handshake there.
 *
 * @throws TypeError with the code ERR_INVALID_ARG_TYPE or ERR_INVALID_ARG_VALUE if `keys` is not 48 bytes.
 */
export function setTicketKeys(context: SecureContext, keys: unknown = randomBytes(LENGTH)): void {
  mustBeBytes('options.ticketKeys', keys)
  if (keys.byteLength !== LENGTH) throw wrongValue('options.ticketKeys', keys.byteLength, 'must be exactly 48 bytes')
  const own = Buffer.from(bytesOf(keys))
  const name = own.subarray(0, NAME_BYTES)
  const derived = hkdfSync('sha256', own, name, 'renegotiation-duplex ticket keys', OPENSSL_LENGTH - NAME_BYTES)
  const { openssl, pointer } = context
  const native = Buffer.concat([name, Buffer.from(derived)])
  attempt(openssl, () => openssl.SSL_CTX_ctrl(pointer, c.SSL_CTRL_SET_TLSEXT_TICKET_KEYS, native.length, native))
  context.ticketKeys = own
}
