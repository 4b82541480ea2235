import { once } from 'node:events'
import { connect, type RenegotiationError, type RenegotiationTLSSocket } from '../index.ts'
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
  /** What became of a renegotiation that the client began; null where that could not be found out. */
  readonly clientInitiated: 'allowed' | 'refused' | 'no answer' | 'connection lost' | 'impossible' | null
  /** The server came out of it with another certificate; null where it was not allowed. */
  readonly certificateChanged: boolean | null
  /** In words, what is to be said of it; null where it was allowed and changed nothing but the keys. */
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
    // Another certificate is told about, too. Otherwise it would be the end of the connection.
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
    // One of the server's own stood for ours, which never began.
    if (done.origin === 'peer') done = await stream.renegotiate()
    if (done.origin === 'peer') return { ...common, reason: 'the server began one itself each time, and was not asked' }
    const changed = done.peerCertificateChanged === true
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

/** What it means that a renegotiation failed, with so many bytes received by then. */
export function withoutRenegotiation(
  { code, message, cause }: RenegotiationError,
  attempts: 0 | 1,
  bytes: number,
): Partial<ProbeReport> {
  if (bytes > 0 && code === 'ERR_RENEGOTIATION_CLOSED' && cause === undefined) {
    return { reason: 'the server answered and closed the connection; try it without traffic' }
  }
  const reason = cause instanceof Error ? `${message}: ${cause.message.trim()}` : message
  // A legacy server: OpenSSL connects to it where its configuration says so, but does not renegotiate with it.
  if (/unsafe legacy renegotiation/.test(reason)) {
    return { secureRenegotiation: false, clientInitiated: 'impossible', reason }
  }
  // The server was not asked: the connection ended first, or the drain did not, or OpenSSL on this side was told not to.
  if (attempts === 0) return { reason }
  switch (code) {
    case 'ERR_RENEGOTIATION_REFUSED':
      return { clientInitiated: 'refused', reason }
    case 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT':
      return { clientInitiated: 'no answer', reason }
    case 'ERR_RENEGOTIATION_PEER_DATA':
      // Nothing of ours was on its way: it is the ClientHello that was not expected. Go and wolfSSL refuse like this.
      if (/alert unexpected message/.test(reason)) {
        return { clientInitiated: 'refused', reason: 'the server answered with the alert unexpected_message' }
      }
      return { clientInitiated: 'connection lost', reason }
    default:
      return { clientInitiated: 'connection lost', reason }
  }
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
