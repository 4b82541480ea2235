/*
 * The command `probe` for TLS 1.2: asks a TLS server once whether it lets its clients renegotiate.
 */
import { once } from 'node:events'
import { connect, type RenegotiationError, type RenegotiationTLSSocket } from '../index.ts'
import { ms, time } from './format.ts'
import { type Address, hostAndPort } from './parse.ts'
import type { Credentials } from './soak-messages.ts'

/** What {@link probe} connects to, and how. */
export interface ProbeOptions {
  readonly address: Address
  readonly credentials: Omit<Credentials, 'insecure'>
  /** Milliseconds for each step: the connection, the handshake, an answer. */
  readonly timeout: number
  /** The text that is sent before the renegotiation and again after it. Undefined: nothing is sent. */
  readonly traffic: string | undefined
}

/** The result, as `--json` prints it. */
export interface ProbeReport {
  readonly address: string
  /** A probe never makes more than one connection and one attempt. */
  readonly connections: 1
  readonly attempts: 0 | 1
  readonly protocol: string | null
  readonly cipher: string | null
  /** Whether the server's certificate is valid. Null if there was no connection. */
  readonly authorized: boolean | null
  readonly authorizationError: string | null
  /** Whether the server supports secure renegotiation (RFC 5746). Null if unknown. */
  readonly secureRenegotiation: boolean | null
  /** The outcome of a renegotiation that the client began. Null if it could not be found out. */
  readonly clientInitiated: 'allowed' | 'refused' | 'no answer' | 'connection lost' | 'impossible' | null
  /** Whether the server had another certificate afterwards. Null if there was no renegotiation. */
  readonly certificateChanged: boolean | null
  /** An explanation for people. Null if the renegotiation was allowed and changed nothing but the keys. */
  readonly reason: string | null
  /** Milliseconds from the request to the new keys. Null if there was no renegotiation. */
  readonly milliseconds: number | null
  /** Bytes received before the renegotiation was over, and after it. Null if nothing was sent. */
  readonly traffic: { readonly during: number; readonly after: number } | null
}

/** Finds out whether a server lets its clients renegotiate. The promise never rejects. */
export async function probe(options: ProbeOptions): Promise<ProbeReport> {
  const { address, credentials, timeout } = options
  const stream = connect({
    host: address.host,
    port: address.port,
    ...(credentials.servername !== undefined && { servername: credentials.servername }),
    ca: credentials.ca,
    cert: credentials.cert,
    key: credentials.key,
    // Accept everything that can renegotiate, however old, and any certificate. The report says what is wrong with it.
    minVersion: 'TLSv1',
    maxVersion: 'TLSv1.2',
    ciphers: 'DEFAULT@SECLEVEL=0',
    rejectUnauthorized: false,
    // The report also says if the certificate changed. Without this option, that would end the connection.
    renegotiation: { handshakeTimeout: timeout, drainTimeout: timeout, allowIdentityChange: true },
  })
  const report: ProbeReport = {
    address: hostAndPort(address),
    connections: 1,
    attempts: 0,
    protocol: null,
    cipher: null,
    authorized: null,
    authorizationError: null,
    secureRenegotiation: null,
    clientInitiated: null,
    certificateChanged: null,
    reason: null,
    milliseconds: null,
    traffic: null,
  }
  // Errors are not lost: each step that waits rejects with them.
  stream.on('error', () => {})
  const found = await once(stream, 'secureConnect', { signal: AbortSignal.timeout(timeout) }).then(
    () => attempt(stream, options),
    (error) => withoutConnection(error, timeout),
  )
  stream.destroy()
  return { ...report, ...found }
}

async function attempt(stream: RenegotiationTLSSocket, options: ProbeOptions): Promise<Partial<ProbeReport>> {
  const { timeout, traffic } = options
  const common = {
    protocol: stream.getProtocol(),
    cipher: stream.getCipher().name,
    authorized: stream.authorized,
    authorizationError: stream.authorized ? null : String(stream.authorizationError),
    // OpenSSL connects to no other server, unless its configuration allows it.
    secureRenegotiation: true,
  }
  let attempts: 0 | 1 = 0
  stream.on('renegotiating', ({ origin }) => {
    if (origin === 'local') attempts = 1
  })
  let bytes = 0
  stream.on('data', (chunk) => {
    bytes += chunk.length
  })
  if (traffic !== undefined) stream.write(traffic)
  try {
    let done = await stream.renegotiate()
    // The server began a renegotiation just before, which counted for this one. So this one never began: try again.
    if (done.origin === 'peer') done = await stream.renegotiate()
    if (done.origin === 'peer') return { ...common, reason: 'the server began one itself each time, and was not asked' }
    const changed = done.peerCertificateChanged === true
    const during = bytes
    if (traffic !== undefined) {
      stream.write(traffic)
      // The server may also close the connection instead of answering. Then there is just no answer.
      await once(stream, 'data', { signal: AbortSignal.timeout(timeout) }).catch(() => {})
    }
    return {
      ...common,
      attempts: 1,
      clientInitiated: 'allowed',
      certificateChanged: changed,
      reason: changed ? 'it came out with another certificate, which this package refuses by default' : null,
      milliseconds: done.drainMs + done.handshakeMs,
      traffic: traffic === undefined ? null : { during, after: bytes - during },
    }
  } catch (error) {
    const told = { ...common, attempts, traffic: traffic === undefined ? null : { during: bytes, after: 0 } }
    return { ...told, ...withoutRenegotiation(error as RenegotiationError, attempts, bytes) }
  }
}

/** Interprets the error of a failed renegotiation. `bytes`: how many were received until then. */
export function withoutRenegotiation(
  { code, message, cause }: RenegotiationError,
  attempts: 0 | 1,
  bytes: number,
): Partial<ProbeReport> {
  if (bytes > 0 && code === 'ERR_RENEGOTIATION_CLOSED' && cause === undefined) {
    return { reason: 'the server answered and closed the connection; try it without traffic' }
  }
  const reason = cause instanceof Error ? `${message}: ${cause.message.trim()}` : message
  // A legacy server. If its configuration says so, OpenSSL connects to such a server, but does not renegotiate.
  if (/unsafe legacy renegotiation/.test(reason)) {
    return { secureRenegotiation: false, clientInitiated: 'impossible', reason }
  }
  // The server was not asked: the connection ended first, the drain timed out, or OpenSSL on this side forbids it.
  if (attempts === 0) return { reason }
  switch (code) {
    case 'ERR_RENEGOTIATION_REFUSED':
      return { clientInitiated: 'refused', reason }
    case 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT':
      return { clientInitiated: 'no answer', reason }
    default:
      return { clientInitiated: 'connection lost', reason }
  }
}

/** What the report can say although there was no connection. */
export function withoutConnection(error: NodeJS.ErrnoException, timeout: number): Partial<ProbeReport> {
  switch (error.code) {
    case 'ERR_SSL_UNSAFE_LEGACY_RENEGOTIATION_DISABLED':
      return {
        secureRenegotiation: false,
        clientInitiated: 'impossible',
        reason: 'a legacy server, without secure renegotiation (RFC 5746), to which OpenSSL does not connect',
      }
    case 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION':
      return {
        clientInitiated: 'impossible',
        reason: 'it speaks TLS 1.3 only, which has no renegotiation; try --tls 1.3',
      }
    case 'ABORT_ERR':
      return { reason: `no connection within ${time(timeout)}` }
    default:
      return { reason: error.message.trim() }
  }
}

/** Formats a report for people. */
export function readable(report: ProbeReport): string {
  const { milliseconds, protocol, traffic } = report
  const renegotiation = [
    report.clientInitiated ?? 'unknown',
    ...(milliseconds === null ? [] : [`new keys after ${ms(milliseconds)}`]),
    ...(report.reason === null ? [] : [report.reason]),
  ]
  const rows = [
    ['protocol', protocol === null ? 'unknown' : `${protocol}, ${report.cipher}`],
    ['certificate', verdict(report)],
    ['secure renegotiation', { true: 'yes (RFC 5746)', false: 'no', null: 'unknown' }[`${report.secureRenegotiation}`]],
    ['client-initiated', renegotiation.join('; ')],
    ['under traffic', volume(traffic)],
  ] as const
  const attempts = report.attempts === 0 ? 'no attempt' : 'one attempt'
  return table(`${report.address}: one connection, ${attempts} to renegotiate`, rows)
}

/** Formats the parts that the reports of all versions have. */
export function verdict({ authorized, authorizationError }: Pick<ProbeReport, 'authorized' | 'authorizationError'>) {
  if (authorized === null) return 'unknown'
  return authorized ? 'verified' : `not verified: ${authorizationError}`
}

export function volume(traffic: ProbeReport['traffic']): string {
  return traffic === null ? 'not tried' : `${traffic.during} bytes came before it was over, ${traffic.after} after`
}

export function table(title: string, rows: readonly (readonly [name: string, value: string])[]): string {
  return [title, ...rows.map(([name, value]) => `  ${name.padEnd(22)}${value}`)].join('\n')
}
