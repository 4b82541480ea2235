/* Judges the certificate of the peer as node:tls does. */
import type tls from 'node:tls'
import type { PeerCertificate } from 'node:tls'
import { connectionReset, withCode } from '../core/errors.ts'
import type { CertificatePolicy } from '../core/transport.ts'
import type { Judge } from './judged-events.ts'
import { verifyError } from './verify.ts'

/** What decides whether a client accepts its server. */
export interface ServerPolicy {
  /** The name that the certificate of the server must have. */
  readonly hostname: string
  readonly rejectUnauthorized: boolean
  readonly checkServerIdentity: typeof tls.checkServerIdentity
  /** The least size of a DH key, in bits. */
  readonly minDHSize: number
}

/** Returns how a client judges its server: onConnectSecure() of Node.js. */
export function judgeServer({ hostname, rejectUnauthorized, checkServerIdentity, minDHSize }: ServerPolicy): Judge {
  return (socket) => {
    const { type, size } = socket.getEphemeralKeyInfo() as { type?: string; size?: number }
    if (type === 'DH' && size !== undefined && size < minDHSize) {
      return withCode(new Error(`DH parameter size ${size} is less than ${minDHSize}`), 'ERR_TLS_DH_PARAM_SIZE')
    }
    let error: NodeJS.ErrnoException | null | undefined = verifyError(socket.openssl, socket.engine.ssl)
    // A session that is resumed was checked when it was new.
    if (error === null && !socket.isSessionReused()) {
      error = checkServerIdentity(hostname, socket.getPeerCertificate(true) as PeerCertificate)
    }
    socket.authorized = !error
    socket.authorizationError = error ? (error.code ?? error.message) : null
    return error && rejectUnauthorized ? error : undefined
  }
}

/** How a server judges its client: onServerSocketSecure() of Node.js, which closes the connection without an alert. */
export const judgeClient: Judge = (socket) => {
  const { requestCert, rejectUnauthorized } = socket.engine.certificatePolicy as CertificatePolicy
  if (!requestCert) return undefined
  const error = verifyError(socket.openssl, socket.engine.ssl)
  socket.authorized = error === null
  socket.authorizationError = error === null ? null : (error.code as string)
  return error !== null && rejectUnauthorized ? connectionReset('socket hang up') : undefined
}
