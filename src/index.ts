/*
 * The public API of the package, except the compliance tests, which have an entry point of their own.
 */
export type { RenegotiationTrace } from './core/diagnostics.ts'
export {
  AbortError,
  RenegotiationError,
  type RenegotiationErrorCode,
  type RevocationListErrorCode,
} from './core/errors.ts'
export { type AllowIdentityChange, sameSubjectAndIssuer } from './core/identity.ts'
export { type InboundBudget, inboundBudget } from './core/inbound-budget.ts'
export type { PeerLimit, RenegotiateOptions, RenegotiationOptions } from './core/options.ts'
export type { CertificateChain, PeerCertificates } from './core/peer-certificates.ts'
export type { KeyLimits, RekeyOptions } from './core/rekey-options.ts'
export type { RenegotiationEvents, RenegotiationStream } from './core/renegotiation-stream.ts'
export type {
  DirectionCounters,
  KeyCounters,
  Origin,
  PostHandshakeKind,
  RenegotiationCounters,
  RenegotiationKind,
  RenegotiationReport,
} from './core/report.ts'
export type { Authorities } from './core/revocation-authorities.ts'
export type { CRL } from './core/revocation-input.ts'
export type { CRLUpdateReport } from './core/revocation-update.ts'
export type { SecurityEvent, SecurityEventName, SecuritySeverity } from './core/security-events.ts'
export type { State } from './core/state.ts'
export type {
  CertificatePolicy,
  HandshakeFailure,
  HandshakeOptions,
  Session,
  Transport,
  TransportEvents,
  WriteCallback,
} from './core/transport.ts'
export { RenegotiationDuplex } from './faces/renegotiation-duplex.ts'
export type { RenegotiationTLSSocket } from './faces/renegotiation-tls-socket.ts'
export type { GuardCounts, LeftAloneReason } from './register/counts.ts'
export type { RegisterOptions } from './register/options.ts'
export { register } from './register/register.ts'
export { connect, type RenegotiationConnectionOptions } from './tls/connect.ts'
export { createServer, type RenegotiationServer, type RenegotiationServerOptions } from './tls/create-server.ts'
export { type IEC62351Cipher, type IEC62351Options, type IEC62351Settings, iec62351 } from './tls/iec62351.ts'
export { wrapTLSSocket } from './tls/wrap-tls-socket.ts'
export { type DuplexTransportOptions, duplexTransport, type PeerHandshakes } from './transports/duplex.ts'
export { type EngineTransportOptions, engineTransport } from './transports/engine.ts'
export type { PostHandshakeCounts } from './transports/post-handshake-messages.ts'
export type { RecordType, TLSEngine, Want } from './transports/tls-engine.ts'
export { tlsTransport } from './transports/tls-socket.ts'
