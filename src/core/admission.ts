/* Decides whether a connection, a renegotiation of this end on it, or a handshake of the peer may begin. */
import { RenegotiationError, sessionAttack } from './errors.ts'
import type { GuardedTransport } from './guarded-transport.ts'
import type { PeerLimit, RenegotiateOptions, Settings } from './options.ts'

/** What the decision depends on. */
export interface AdmissionHost {
  readonly transport: GuardedTransport
  readonly settings: Settings
  /** Counts a handshake of the peer. Returns the limit if it is exceeded. */
  exceededPeerLimit(): PeerLimit | undefined
}

interface ConnectionHost extends Pick<AdmissionHost, 'transport' | 'settings'> {
  readonly outbox: { hold(): void }
  readonly face: { destroy(error: Error): unknown }
}

/**
 * Whether the first handshake is not accepted, because it lacks what the options require. The stream is destroyed then, and
 * nothing is sent before that.
 */
export function refusesConnection(host: ConnectionHost): boolean {
  const { transport, settings, outbox, face } = host
  if (settings.requireExtendedMasterSecret !== 'always') return false
  if (lacksExtendedMasterSecret(transport, settings) === undefined) return false
  outbox.hold()
  // Asynchronous, because the face may still be being constructed.
  process.nextTick(() => face.destroy(withoutExtendedMasterSecret()))
  return true
}

/** The error that ends a connection without the extended master secret after the first handshake. */
export function withoutExtendedMasterSecret(): RenegotiationError {
  return new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', NO_EXTENDED_MASTER_SECRET)
}

/** Returns why a renegotiation of this end cannot begin, as a sentence. Undefined if it can. */
export function reasonAgainstOurs(
  { transport, settings }: AdmissionHost,
  { requestCert }: RenegotiateOptions,
): string | undefined {
  const unsupported = transport.unsupported()
  if (unsupported !== undefined) return unsupported
  // Without this check, no certificate would be requested, and the caller would not learn that.
  if (requestCert === true && transport.certificatePolicy === undefined) {
    return 'requestCert is for a server, and for a transport that can ask a client for its certificate; this one can not'
  }
  return lacksExtendedMasterSecret(transport, settings)
}

/** Returns the error that ends the stream if a handshake begun by the peer is not accepted. Undefined if it is. */
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

/** RFC 7627, 5.4, forbids to renegotiate such a session. The check is an option, because many peers lack the secret. */
function lacksExtendedMasterSecret(transport: GuardedTransport, settings: Settings): string | undefined {
  // In TLS 1.3, every secret depends on the whole handshake, so there is no such extension (RFC 8446, appendix D).
  if (!settings.requireExtendedMasterSecret || transport.hasKeyUpdates) return undefined
  if (transport.session().extendedMasterSecret === true) return undefined
  return NO_EXTENDED_MASTER_SECRET
}

const NO_EXTENDED_MASTER_SECRET =
  'The session lacks the extended master secret (RFC 7627, 5.4; option requireExtendedMasterSecret)'
