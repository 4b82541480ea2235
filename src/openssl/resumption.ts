/* Sessions that a client resumes. */
import { invalidType } from '../core/errors.ts'
import type { OpenSSL } from './binding.ts'
import type { Pointer } from './ffi-types.ts'
import { decodeSession, resumableSession, type SessionTarget } from './session-state.ts'
import { attempt } from './succeed.ts'

/**
 * Lets a client resume a session. Must be called before its handshake. As in Node.js, a session that cannot be decoded, or
 * that was not made for this server, is ignored, and there is a full handshake.
 *
 * @param encoded as `getSession()` and the event `session` have it.
 * @throws TypeError (`ERR_INVALID_ARG_TYPE`) if it is neither a buffer nor a string; the error of OpenSSL if it refuses it.
 */
export function useSession(openssl: OpenSSL, ssl: Pointer, encoded: string | Uint8Array, target: SessionTarget): void {
  if (typeof encoded !== 'string' && !ArrayBuffer.isView(encoded)) throw invalidType('Session must be a buffer')
  const der = resumableSession(encoded, target)
  const session = der && decodeSession(openssl, der)
  if (!session) return
  try {
    attempt(openssl, () => openssl.SSL_set_session(ssl, session))
  } finally {
    openssl.SSL_SESSION_free(session)
  }
}
