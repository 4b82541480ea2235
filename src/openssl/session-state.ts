/*
 * Sessions of a client as `getSession()` returns them and the option `session` takes them.
 *
 * A client does not check the name in the certificate of a session that is resumed. So since 2026, releases of Node bind
 * a session to the name for which it was checked, by a header before the encoding of OpenSSL. The same is done here, on
 * all releases: sessions can be exchanged with `node:tls`, except for Node 20, which knows no header.
 */
import type { OpenSSL } from './binding.ts'
import { BIO_CTRL_INFO } from './constants.ts'
import { encoded } from './encoded.ts'
import type { Pointer } from './ffi-types.ts'
import { bytesOf, type Text, withBio } from './pem.ts'

/** What a client knows of its server, and whether it insists on that. */
export interface SessionTarget {
  servername?: string | undefined
  host?: string | undefined
  rejectUnauthorized?: boolean | undefined
}

const PREFIX = Buffer.from('\0nodejs:tls:session:1\0')
const LENGTH_BYTES = 2

/** The name that a session is bound to. */
export function sessionName({ servername, host }: SessionTarget): string {
  return servername || host || 'localhost'
}

/** Binds a session in DER to the name of its server. */
export function bindSession(der: Buffer, target: SessionTarget): Buffer {
  const name = Buffer.from(sessionName(target))
  const length = Buffer.alloc(LENGTH_BYTES)
  length.writeUInt16BE(name.length)
  return Buffer.concat([PREFIX, length, name, der])
}

/**
 * The session in DER that may be resumed with a server. Undefined if there is none, and a full handshake is needed:
 *
 * - The session is bound to another name.
 * - It is not bound to any name, and `rejectUnauthorized` is not false.
 */
export function resumableSession(session: Text | undefined, target: SessionTarget): Buffer | undefined {
  if (session === undefined) return undefined
  const state = typeof session === 'string' ? Buffer.from(session, 'latin1') : bytesOf(session)
  const start = PREFIX.length + LENGTH_BYTES
  if (!state.subarray(0, PREFIX.length).equals(PREFIX) || state.length < start) {
    return target.rejectUnauthorized === false ? state : undefined
  }
  const end = start + state.readUInt16BE(PREFIX.length)
  return state.toString('utf8', start, end) === sessionName(target) ? state.subarray(end) : undefined
}

/**
 * Decodes a session. The caller frees it with SSL_SESSION_free(); SSL_set_session() takes a reference of its own.
 *
 * @returns null if it cannot be decoded. Node ignores such a session, and does a full handshake.
 */
export function decodeSession(openssl: OpenSSL, der: Buffer): Pointer | null {
  // d2i_SSL_SESSION() reads from the address that it is given the address of. That of the memory in a BIO is known.
  return withBio(openssl, der, (bio) => {
    const address = new BigUint64Array(1)
    // BIO_get_mem_data(3).
    openssl.BIO_ctrl(bio, BIO_CTRL_INFO, 0, address)
    const session = openssl.d2i_SSL_SESSION(null, address, der.length)
    openssl.ERR_clear_error()
    return session
  })
}

/** Encodes a session in DER. Undefined if it cannot be resumed by anybody, so that there is no encoding of it. */
export function encodeSession(openssl: OpenSSL, session: Pointer): Buffer | undefined {
  const der = encoded(openssl, (out) => openssl.i2d_SSL_SESSION(session, out))
  openssl.ERR_clear_error()
  return der
}
