import { once } from 'node:events'
import { connect, type RenegotiationTLSSocket } from '../index.ts'
import { ms, time } from './format.ts'
import { type Address, hostAndPort } from './parse.ts'
import type { Credentials } from './soak-messages.ts'

export interface ProbeOptions {
  readonly address: Address
  readonly credentials: Omit<Credentials, 'insecure'>
  /** Milliseconds for each: the connection, the handshake, an answer. */
  readonly timeout: number
  /** What is sent before the renegotiation and again after it; undefined: nothing. */
  readonly traffic: string | undefined
}

/** What is written as JSON. */
export interface ProbeReport {
  readonly address: string
  /** What it takes to find out: never more than one of each. */
  readonly connections: 1
  readonly attempts: 0 | 1
  readonly protocol: string | null
  readonly cipher: string | null
  /** The server's certificate is in order; null where there was no connection. */
  readonly authorized: boolean | null
  readonly authorizationError: string | null
  /** RFC 5746; null where it isn't known. */
  readonly secureRenegotiation: boolean | null
  /** What became of a renegotiation that the client began. */
  readonly clientInitiated: 'allowed' | 'refused' | 'no answer' | 'connection lost' | 'impossible' | null
  /** In words, where it is not `allowed`. */
  readonly reason: string | null
  /** From asking to new keys, in milliseconds. */
  readonly milliseconds: number | null
  /** Bytes that came, where something was sent; null where nothing was. */
  readonly traffic: { readonly during: number; readonly after: number } | null
}

/** Whether a server lets its clients renegotiate. Resolves, whatever happens. */
export async function probe(options: ProbeOptions): Promise<ProbeReport> {
  const { address, credentials, timeout } = options
  const stream = connect({
    host: address.host,
    port: address.port,
    ...(credentials.servername !== undefined && { servername: credentials.servername }),
    ca: credentials.ca,
    cert: credentials.cert,
    key: credentials.key,
    // All that can renegotiate, old as it may be; a certificate is told about, not insisted on.
    minVersion: 'TLSv1',
    maxVersion: 'TLSv1.2',
    ciphers: 'DEFAULT@SECLEVEL=0',
    rejectUnauthorized: false,
    renegotiation: { handshakeTimeout: timeout, drainTimeout: timeout },
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
    reason: null,
    milliseconds: null,
    traffic: null,
  }
  // What goes wrong later rejects what is waited for then.
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
    // OpenSSL connects to no other, unless its configuration says so.
    secureRenegotiation: true,
  }
  let attempts: 0 | 1 = 0
  stream.once('renegotiating', () => {
    attempts = 1
  })
  let bytes = 0
  stream.on('data', (chunk) => {
    bytes += chunk.length
  })
  if (traffic !== undefined) stream.write(traffic)
  try {
    const { drainMs, handshakeMs } = await stream.renegotiate()
    const during = bytes
    if (traffic !== undefined) {
      stream.write(traffic)
      // That it closes instead is no answer either.
      await once(stream, 'data', { signal: AbortSignal.timeout(timeout) }).catch(() => {})
    }
    return {
      ...common,
      attempts: 1,
      clientInitiated: 'allowed',
      milliseconds: drainMs + handshakeMs,
      traffic: traffic === undefined ? null : { during, after: bytes - during },
    }
  } catch (error) {
    const { code, message, cause } = error as NodeJS.ErrnoException
    const told = { ...common, attempts, traffic: traffic === undefined ? null : { during: bytes, after: 0 } }
    if (bytes > 0 && code === 'ERR_RENEGOTIATION_CLOSED' && cause === undefined) {
      return { ...told, reason: 'the server answered and closed the connection; try it without traffic' }
    }
    const reason = cause instanceof Error ? `${message}: ${cause.message.trim()}` : message
    return { ...told, clientInitiated: outcomes[code as string] ?? 'connection lost', reason }
  }
}

const outcomes: Record<string, ProbeReport['clientInitiated']> = {
  ERR_RENEGOTIATION_REFUSED: 'refused',
  ERR_RENEGOTIATION_DRAIN_TIMEOUT: 'no answer',
  ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT: 'no answer',
  ERR_RENEGOTIATION_UNSUPPORTED: 'impossible',
}

/** What can be told all the same. */
function withoutConnection(error: NodeJS.ErrnoException, timeout: number): Partial<ProbeReport> {
  switch (error.code) {
    case 'ERR_SSL_UNSAFE_LEGACY_RENEGOTIATION_DISABLED':
      return {
        secureRenegotiation: false,
        clientInitiated: 'impossible',
        reason: 'a legacy server, without secure renegotiation (RFC 5746), to which OpenSSL does not connect',
      }
    case 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION':
      return { clientInitiated: 'impossible', reason: 'it speaks TLS 1.3 only, which has no renegotiation' }
    case 'ABORT_ERR':
      return { reason: `no connection within ${time(timeout)}` }
    default:
      return { reason: error.message.trim() }
  }
}

/** For people. */
export function readable(report: ProbeReport): string {
  const { authorized, milliseconds, protocol, traffic } = report
  const renegotiation = [
    report.clientInitiated ?? 'unknown',
    ...(milliseconds === null ? [] : [`new keys after ${ms(milliseconds)}`]),
    ...(report.reason === null ? [] : [report.reason]),
  ]
  const rows = [
    ['protocol', protocol === null ? 'unknown' : `${protocol}, ${report.cipher}`],
    [
      'certificate',
      authorized === null ? 'unknown' : authorized ? 'verified' : `not verified: ${report.authorizationError}`,
    ],
    ['secure renegotiation', { true: 'yes (RFC 5746)', false: 'no', null: 'unknown' }[`${report.secureRenegotiation}`]],
    ['client-initiated', renegotiation.join('; ')],
    [
      'under traffic',
      traffic === null ? 'not tried' : `${traffic.during} bytes came before it was over, ${traffic.after} after`,
    ],
  ] as const
  const attempts = report.attempts === 0 ? 'no attempt' : 'one attempt'
  return [
    `${report.address}: one connection, ${attempts} to renegotiate`,
    ...rows.map(([name, value]) => `  ${name.padEnd(22)}${value}`),
  ].join('\n')
}
