export type { RenegotiationTrace } from './diagnostics.ts'
export { AbortError, RenegotiationError, type RenegotiationErrorCode } from './errors.ts'
export { type InboundBudget, inboundBudget } from './inbound-budget.ts'
export type { KeyLimits, RekeyOptions, RenegotiateOptions, RenegotiationOptions } from './options.ts'
export { RenegotiationDuplex } from './renegotiation-duplex.ts'
export type { RenegotiationEvents, RenegotiationStream } from './renegotiation-stream.ts'
export type { Origin, RenegotiationCounters, RenegotiationReport } from './report.ts'
export type { State } from './state.ts'
export { connect, type RenegotiationConnectionOptions } from './tls/connect.ts'
export { createServer, type RenegotiationServerOptions } from './tls/create-server.ts'
export type { RenegotiationTLSSocket } from './tls/renegotiation-tls-socket.ts'
export { wrapTLSSocket } from './tls/wrap-tls-socket.ts'
export { type DuplexTransportOptions, duplexTransport, type PeerHandshakes } from './transport/duplex.ts'
export {
  type EngineTransportOptions,
  engineTransport,
  type RecordType,
  type TLSEngine,
  type Want,
} from './transport/engine.ts'
export { tlsTransport } from './transport/tls-socket.ts'
export type {
  CertificatePolicy,
  HandshakeFailure,
  PeerLimit,
  Session,
  Transport,
  TransportEvents,
  WriteCallback,
} from './transport/transport.ts'
