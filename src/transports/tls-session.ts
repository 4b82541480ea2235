/* Reads from a TLS socket of Node what is known of its current session. */
import tls, { type TLSSocket } from 'node:tls'
import { RenegotiationError } from '../core/errors.ts'
import type { Session } from '../core/transport.ts'
import { isServer, requestedName, verifiesServer, verifyError } from './node-internals.ts'
import { readSessionDER } from './session-der.ts'

/** `servername` is the name that the client has requested from a server. See {@link Session}. */
export function readSession(socket: TLSSocket, servername: string | undefined): Session {
  const { extendedMasterSecret, pskIdentity } = readSessionDER(socket.getSession())
  const common = {
    keys: exportedKeys(socket),
    identity: identity(socket),
    pskIdentity,
    servername,
    resumed: socket.isSessionReused(),
    extendedMasterSecret: extendedMasterSecret || isTLS13(socket),
  }
  if (verifiesServer(socket)) {
    const { authorized, authorizationError } = socket
    return { ...common, authorized, authorizationError: authorized ? undefined : authorizationError }
  }
  if (common.identity === undefined) return common
  const error = verifyError(socket) ?? (isServer(socket) ? undefined : wrongName(socket))
  return { ...common, authorized: error === undefined, authorizationError: error }
}

/**
 * The server name of the last ClientHello, or else the one that is `known`, or else ''. Undefined if it is not known:
 * OpenSSL does not keep the name of a resumed session (SSL_get_servername).
 */
export function nameAskedFor(socket: TLSSocket, known: string | undefined): string | undefined {
  return requestedName(socket) || (known ?? (socket.isSessionReused() ? undefined : ''))
}

/** Whether the session of the connection has the extended master secret (RFC 7627). */
export function hasExtendedMasterSecret(socket: TLSSocket): boolean {
  return readSessionDER(socket.getSession()).extendedMasterSecret === true || isTLS13(socket)
}

/** In TLS 1.3, each session has what the extension is for (RFC 8446, appendix D), and the DER form does not say so. */
function isTLS13(socket: TLSSocket): boolean {
  return socket.getProtocol() === 'TLSv1.3'
}

/** Keying material (RFC 5705): it changes with every handshake, and reveals nothing about the keys in use. */
export function exportedKeys(socket: TLSSocket): Buffer {
  return socket.exportKeyingMaterial(32, 'EXPERIMENTAL-renegotiation-duplex', Buffer.alloc(0))
}

/**
 * The peer's certificate in DER. It does not use getPeerX509Certificate(): on a client, that of Node 20 removes the
 * certificate from OpenSSL's chain (X509Certificate::GetPeerCert calls sk_X509_delete). Later callers then find none,
 * among them Node's own check of the host name.
 */
export function identity(socket: TLSSocket): Buffer | undefined {
  return socket.getPeerCertificate()?.raw
}

/** Why the server's certificate is not valid for the name that the client requested. Undefined if it named none. */
function wrongName(socket: TLSSocket): Error | undefined {
  const { servername } = socket as { servername?: string | false | null }
  return servername ? tls.checkServerIdentity(servername, socket.getPeerCertificate()) : undefined
}

/** Whether it is a client made by `new tls.TLSSocket()`. Node does not verify its server after a renegotiation. */
export function verifiedHere(socket: TLSSocket): boolean {
  return !isServer(socket) && !verifiesServer(socket)
}

/** The error of a renegotiation after which the server's certificate does not verify any more. */
export function notVerified({ authorizationError }: Session): RenegotiationError {
  const message = `The server was verified before the renegotiation, and now is not: ${authorizationError}`
  return new RenegotiationError('ERR_RENEGOTIATION_IDENTITY_CHANGED', message, authorizationError)
}
