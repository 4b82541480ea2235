/** What a TLS socket of Node's tells of the session that is in force. */
import tls, { type TLSSocket } from 'node:tls'
import { RenegotiationError } from '../core/errors.ts'
import type { Session } from '../core/transport.ts'
import { isServer, verifiesServer, verifyError } from './node-internals.ts'
import { readSessionDER } from './session-der.ts'

/** `servername`: on a server, the name that the client has asked for; see {@link Session}. */
export function readSession(socket: TLSSocket, servername: string | undefined): Session {
  const { extendedMasterSecret, pskIdentity } = readSessionDER(socket.getSession())
  const common = {
    keys: exportedKeys(socket),
    identity: identity(socket),
    pskIdentity,
    servername,
    resumed: socket.isSessionReused(),
    extendedMasterSecret,
  }
  if (verifiesServer(socket)) {
    const { authorized, authorizationError } = socket
    return { ...common, authorized, authorizationError: authorized ? undefined : authorizationError }
  }
  if (common.identity === undefined) return common
  const error = verifyError(socket) ?? (isServer(socket) ? undefined : wrongName(socket))
  return { ...common, authorized: error === undefined, authorizationError: error }
}

/** Keying material (RFC 5705) changes with every handshake, and tells nothing about the keys in use. */
export function exportedKeys(socket: TLSSocket): Buffer {
  return socket.exportKeyingMaterial(32, 'EXPERIMENTAL-renegotiation-duplex', Buffer.alloc(0))
}

/**
 * The peer's certificate in DER. Not by getPeerX509Certificate(): on a client, Node 20's takes the certificate out of
 * OpenSSL's chain (X509Certificate::GetPeerCert: sk_X509_delete), and the next to ask, Node's own check of the host name
 * among them, finds none.
 */
export function identity(socket: TLSSocket): Buffer | undefined {
  return socket.getPeerCertificate()?.raw
}

/** Why the server's certificate is not for the host that the client has asked for, if it has named one. */
function wrongName(socket: TLSSocket): Error | undefined {
  const { servername } = socket as { servername?: string | false | null }
  return servername ? tls.checkServerIdentity(servername, socket.getPeerCertificate()) : undefined
}

/** A client that was made by `new tls.TLSSocket()`: whoever made it has verified the server, and will not do so again. */
export function verifiedHere(socket: TLSSocket): boolean {
  return !isServer(socket) && !verifiesServer(socket)
}

/** The error of a renegotiation after which the server is not verified any more. */
export function notVerified({ authorizationError }: Session): RenegotiationError {
  const message = `The server was verified before the renegotiation, and now is not: ${authorizationError}`
  return new RenegotiationError('ERR_RENEGOTIATION_IDENTITY_CHANGED', message, authorizationError)
}
