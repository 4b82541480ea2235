/*
 * The command `probe --tls 1.3`: asks a TLS server once for a key update, and notes what the server itself begins.
 */
import { once } from 'node:events'
import type { RenegotiationError, RenegotiationTLSSocket } from '../index.ts'
import { ms, time } from './format.ts'
import { hostAndPort } from './parse.ts'
import { type ProbeOptions, table, verdict, volume, withoutConnection } from './probe.ts'

/** The result, as `--json` prints it. */
export interface KeyUpdateReport {
  readonly address: string
  /** A probe never makes more than one connection. */
  readonly connections: 1
  readonly protocol: string | null
  readonly cipher: string | null
  /** Whether the server's certificate is valid. Null if there was no connection. */
  readonly authorized: boolean | null
  readonly authorizationError: string | null
  /** Whether the server answered a key update of the client. Null if it could not be found out. */
  readonly keyUpdate: 'answered' | 'no answer' | 'connection lost' | 'impossible' | null
  /** Milliseconds from the request to the answer. Null if there was none. */
  readonly milliseconds: number | null
  /** How many key updates the server began itself. */
  readonly keyUpdatesByServer: number
  /**
   * Whether the server requested a certificate after the handshake. Null if that cannot be known: a server may request
   * one only of a client that has offered it, and a client without a certificate does not.
   */
  readonly certificateRequested: boolean | null
  /** An explanation for people. Null if the key update was answered. */
  readonly reason: string | null
  /** Bytes received before the key update was sent, and after it. Null if nothing was sent. */
  readonly traffic: { readonly during: number; readonly after: number } | null
}

/** Finds out whether a server answers a key update. The promise rejects only if OpenSSL is not available. */
export async function probeKeyUpdate(options: ProbeOptions): Promise<KeyUpdateReport> {
  const { address, credentials, timeout } = options
  const { connect } = await import('../openssl/index.ts')
  const stream = connect({
    host: address.host,
    port: address.port,
    ...(credentials.servername !== undefined && { servername: credentials.servername }),
    ca: credentials.ca,
    cert: credentials.cert,
    key: credentials.key,
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    // The report says what is wrong with the certificate.
    ciphers: 'DEFAULT@SECLEVEL=0',
    rejectUnauthorized: false,
    renegotiation: { handshakeTimeout: timeout, drainTimeout: timeout, rekey: false },
  })
  const begun = { keyUpdates: 0, requests: 0 }
  stream.on('renegotiated', ({ origin, kind }) => {
    if (origin === 'local') return
    if (kind === 'key-update') begun.keyUpdates++
    else begun.requests++
  })
  // Errors are not lost: each step that waits rejects with them.
  stream.on('error', () => {})
  const found = await once(stream, 'secureConnect', { signal: AbortSignal.timeout(timeout) }).then(
    () => attempt(stream, options),
    (error) => unconnected(error, timeout),
  )
  stream.destroy()
  const offered = credentials.cert !== undefined && found.protocol !== undefined
  return {
    address: hostAndPort(address),
    connections: 1,
    protocol: null,
    cipher: null,
    authorized: null,
    authorizationError: null,
    keyUpdate: null,
    milliseconds: null,
    keyUpdatesByServer: begun.keyUpdates,
    certificateRequested: offered ? begun.requests > 0 : null,
    reason: null,
    traffic: null,
    ...found,
  }
}

async function attempt(stream: RenegotiationTLSSocket, options: ProbeOptions): Promise<Partial<KeyUpdateReport>> {
  const { timeout, traffic } = options
  const common = {
    protocol: stream.getProtocol(),
    cipher: stream.getCipher().name,
    authorized: stream.authorized,
    authorizationError: stream.authorized ? null : String(stream.authorizationError),
  }
  const bytes = { during: 0, after: 0 }
  let phase: keyof typeof bytes = 'during'
  stream.on('data', (chunk) => {
    bytes[phase] += chunk.length
  })
  if (traffic !== undefined) stream.write(traffic)
  // A server may answer a key update only when it has something to send. So it is asked for something right after it.
  stream.once('renegotiating', () => {
    phase = 'after'
    if (traffic !== undefined) stream.write(traffic)
  })
  const told = () => ({ ...common, traffic: traffic === undefined ? null : bytes })
  try {
    const { verified, handshakeMs } = await stream.renegotiate()
    if (verified) {
      // What the answer was sent with. The server may also close the connection instead.
      if (traffic !== undefined && bytes.after === 0) {
        await once(stream, 'data', { signal: AbortSignal.timeout(timeout) }).catch(() => {})
      }
      return { ...told(), keyUpdate: 'answered', milliseconds: handshakeMs }
    }
    return { ...told(), ...unanswered(bytes.after, timeout) }
  } catch (error) {
    return { ...told(), ...lost(error as RenegotiationError, bytes.during + bytes.after) }
  }
}

/** `bytes`: how many were received after the key update was sent. */
function unanswered(bytes: number, timeout: number): Partial<KeyUpdateReport> {
  const reason = `no answer within ${time(timeout)}`
  if (bytes > 0) return { keyUpdate: 'no answer', reason: `${reason}, although the server sent data` }
  return { reason: `${reason}; many servers answer with the next data that they send: try --http or --send` }
}

function lost({ code, message, cause }: RenegotiationError, bytes: number): Partial<KeyUpdateReport> {
  if (bytes > 0 && code === 'ERR_RENEGOTIATION_CLOSED' && cause === undefined) {
    return { reason: 'the server answered and closed the connection; try it without traffic' }
  }
  const reason = cause instanceof Error ? `${message}: ${cause.message.trim()}` : message
  return { keyUpdate: 'connection lost', reason }
}

function unconnected(error: NodeJS.ErrnoException, timeout: number): Partial<KeyUpdateReport> {
  if (error.code === 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' || error.code === 'ERR_SSL_UNSUPPORTED_PROTOCOL') {
    return { keyUpdate: 'impossible', reason: 'it does not speak TLS 1.3; try --tls 1.2' }
  }
  const { reason } = withoutConnection(error, timeout)
  return { reason: reason as string }
}

/** Formats a report for people. */
export function readableKeyUpdate(report: KeyUpdateReport): string {
  const { protocol, milliseconds, certificateRequested, keyUpdatesByServer, reason } = report
  const keyUpdate = [
    report.keyUpdate ?? 'unknown',
    ...(milliseconds === null ? [] : [`after ${ms(milliseconds)}`]),
    ...(reason === null ? [] : [reason]),
  ]
  const requested = {
    true: 'requested by the server',
    false: 'not requested during the probe',
    null: 'unknown; a server can ask only a client that has one: try --cert and --key',
  }
  return table(`${report.address}: one connection, ${protocol === null ? 'no' : 'one'} key update`, [
    ['protocol', protocol === null ? 'unknown' : `${protocol}, ${report.cipher}`],
    ['certificate', verdict(report)],
    ['key update', keyUpdate.join('; ')],
    ["server's own updates", `${keyUpdatesByServer}`],
    ['late certificate', requested[`${certificateRequested}`]],
    ['under traffic', volume(report.traffic)],
  ])
}
