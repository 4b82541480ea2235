/*
 * Whether a renegotiation may begin on a connection: one of ours, or the peer's.
 */
import { RenegotiationError, sessionAttack } from './errors.ts'
import type { GuardedTransport } from './guarded-transport.ts'
import type { PeerLimit, RenegotiateOptions, Settings } from './options.ts'

/** What is looked at. */
export interface AdmissionHost {
  readonly transport: GuardedTransport
  readonly settings: Settings
  /** Counts a handshake of the peer. Returns the limit if that is one too many. */
  exceededPeerLimit(): PeerLimit | undefined
}

/** Why ours cannot begin, as a sentence; undefined if it can. */
export function reasonAgainstOurs(
  { transport, settings }: AdmissionHost,
  { requestCert }: RenegotiateOptions,
): string | undefined {
  const unsupported = transport.unsupported()
  if (unsupported !== undefined) return unsupported
  // Otherwise nobody would be asked for the certificate, and nobody would hear of that.
  if (requestCert === true && transport.certificatePolicy === undefined) {
    return 'requestCert is for a server, and for a transport that can ask a client for its certificate; this one can not'
  }
  return lacksExtendedMasterSecret(transport, settings)
}

/** Why the peer's, which has begun, is not accepted: the error that ends the stream. Undefined if it is accepted. */
export function reasonAgainstPeers(host: AdmissionHost): RenegotiationError | undefined {
  const { transport, settings } = host
  const reason = transport.unsupported() ?? lacksExtendedMasterSecret(transport, settings)
  if (reason !== undefined) {
    return new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', `The peer began a handshake. ${reason}`)
  }
  const exceeded = host.exceededPeerLimit()
  if (exceeded === undefined) return undefined
  return new RenegotiationError(
    'ERR_RENEGOTIATION_LIMIT',
    `The peer began more than ${exceeded.max} handshakes within ${exceeded.windowMs} ms (option peerLimit)`,
    sessionAttack(),
  )
}

/** RFC 7627, 5.4: such a session must not be renegotiated. It is an option, because many peers do not have it. */
function lacksExtendedMasterSecret(transport: GuardedTransport, settings: Settings): string | undefined {
  if (!settings.requireExtendedMasterSecret || transport.session().extendedMasterSecret === true) return undefined
  return 'The session lacks the extended master secret (RFC 7627, 5.4; option requireExtendedMasterSecret)'
}
