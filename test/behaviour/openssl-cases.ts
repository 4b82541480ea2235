/*
 * The renegotiation cases of OpenSSL's own test suite (test/ssl-tests/17-renegotiate.cnf.in), and a few more, through
 * this package at both ends, while both send without a pause.
 *
 * An end is either a socket of Node or OpenSSL itself, which engineTransport() drives. What a case changes between two
 * handshakes, it changes in OpenSSL, because Node has no function for it; so each case runs with each kind of end.
 */
import t, { type Test } from 'tap'
import type { CaseEndReport, Kind } from '../fixtures/case-end.ts'
import { CaseRunner, type EndOptions } from '../fixtures/case-runner.ts'
import { everyLibSSL } from '../fixtures/libssl.ts'
import {
  ALLOW_CLIENT_RENEGOTIATION,
  LEGACY_SERVER_CONNECT,
  NO_EXTENDED_MASTER_SECRET,
  NO_RENEGOTIATION,
  NO_RESUMPTION,
  type SessionFacts,
  type Settings,
  TLS1_1,
  TLS1_2,
} from '../fixtures/openssl-settings.ts'
import { SEED } from '../fixtures/random.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

/** What happens at one end. */
type Outcome =
  /** Its handshake completes, with new keys. */
  | 'renegotiates'
  /** No handshake takes place, and the connection goes on. */
  | 'goes on'
  /** renegotiate() rejects with this code, and the connection goes on. */
  | 'UNSUPPORTED, goes on'
  /** The stream is destroyed with this code. */
  | 'REFUSED'
  | 'IDENTITY_CHANGED'
  /** The other end has destroyed the connection. It may have sent an alert before, which may have been lost. */
  | 'is refused or loses the connection'
  | 'loses the connection'

interface Case {
  /** What is true. In parentheses, the name that the case has in OpenSSL's table. */
  title: string
  begins: 'client' | 'server'
  /** The settings of the connection. */
  client?: Settings
  server?: Settings
  /** The settings that the end that begins changes before it renegotiates. */
  change?: Settings
  /** Whether a client that begins offers to resume its session. OpenSSL's test client does unless a setting changes. */
  offersSession?: boolean
  certificates?: EndOptions['certificates']
  allowIdentityChange?: boolean
  /** The session before and after the renegotiation. */
  before?: Partial<SessionFacts>
  after?: Partial<SessionFacts>
  /** By default, both ends renegotiate. */
  outcome?: { client: Outcome; server: Outcome }
}

/**
 * The errors at an end whose peer has destroyed the connection: because of a refused handshake, OpenSSL sends the alert
 * handshake_failure; a handshake in progress cannot complete; or the connection is just gone.
 */
const lost =
  /^$|^(ECONNRESET|EPIPE|ERR_RENEGOTIATION_CLOSED|ERR_SSL_UNEXPECTED_EOF_WHILE_READING|ERR_SSL_.*ALERT_HANDSHAKE_FAILURE)$/

const legacy = 'DEFAULT@SECLEVEL=0'

const cases: Case[] = [
  {
    title: 'a client renegotiates, and the server does not resume the session (renegotiate-client-no-resume)',
    begins: 'client',
    offersSession: true,
    server: { set: NO_RESUMPTION },
    after: { resumed: false },
  },
  {
    title: 'a client renegotiates and resumes the session (renegotiate-client-resume)',
    begins: 'client',
    offersSession: true,
    after: { resumed: true },
  },
  {
    title: 'a server renegotiates and does not resume the session (renegotiate-server-no-resume)',
    begins: 'server',
    server: { set: NO_RESUMPTION },
    after: { resumed: false },
  },
  {
    title: 'a server renegotiates and resumes the session (renegotiate-server-resume)',
    begins: 'server',
    after: { resumed: true },
  },
  {
    title: 'a server requires a certificate in both handshakes (renegotiate-client-auth-require)',
    begins: 'server',
    certificates: 'always',
    server: { set: NO_RESUMPTION },
    after: { resumed: false },
  },
  {
    title:
      'a server requires a certificate in the first handshake only, and accepts its absence (renegotiate-client-auth-once)',
    begins: 'server',
    certificates: 'once',
    // The client is not asked again, so OpenSSL has no certificate of it afterwards.
    allowIdentityChange: true,
    server: { set: NO_RESUMPTION },
    after: { resumed: false },
  },
  {
    title: 'a client with the option for servers without RFC 5746 renegotiates (renegotiate-client-legacy-connect)',
    begins: 'client',
    offersSession: true,
    client: { set: LEGACY_SERVER_CONNECT },
    after: { resumed: true },
  },
  ...(
    [
      ['an AEAD cipher to another kind (renegotiate-aead-to-non-aead)', 'AES128-GCM-SHA256', 'AES128-SHA'],
      ['another cipher to an AEAD cipher (renegotiate-non-aead-to-aead)', 'AES128-SHA', 'AES128-GCM-SHA256'],
      ['one cipher that is not AEAD to another (renegotiate-non-aead-to-non-aead)', 'AES128-SHA', 'AES256-SHA'],
      ['one AEAD cipher to another (renegotiate-aead-to-aead)', 'AES128-GCM-SHA256', 'AES256-GCM-SHA384'],
    ] as const
  ).map(
    ([what, first, second]): Case => ({
      title: `a client renegotiates from ${what}`,
      begins: 'client',
      client: { ciphers: first },
      server: { set: NO_RESUMPTION },
      change: { ciphers: second },
      before: { cipher: first },
      after: { cipher: second, resumed: false },
    }),
  ),
  {
    title: 'a server that forbids renegotiation refuses a client (no-renegotiation-server-by-client)',
    begins: 'client',
    offersSession: true,
    server: { set: NO_RENEGOTIATION },
    outcome: { client: 'REFUSED', server: 'loses the connection' },
  },
  {
    title: 'a server that forbids renegotiation cannot begin one (no-renegotiation-server-by-server)',
    begins: 'server',
    server: { set: NO_RENEGOTIATION },
    outcome: { client: 'goes on', server: 'UNSUPPORTED, goes on' },
  },
  {
    title: 'a client that forbids renegotiation refuses a server (no-renegotiation-client-by-server)',
    begins: 'server',
    client: { set: NO_RENEGOTIATION },
    outcome: { client: 'loses the connection', server: 'REFUSED' },
  },
  {
    title: 'a client that forbids renegotiation cannot begin one (no-renegotiation-client-by-client)',
    begins: 'client',
    offersSession: true,
    client: { set: NO_RENEGOTIATION },
    outcome: { client: 'UNSUPPORTED, goes on', server: 'goes on' },
  },
  {
    title: 'a server refuses a client that drops the extended master secret (no-extms-on-renegotiation)',
    begins: 'client',
    change: { set: NO_EXTENDED_MASTER_SECRET },
    before: { extendedMasterSecret: true },
    outcome: { client: 'is refused or loses the connection', server: 'REFUSED' },
  },
  {
    title: 'a server that allows clients to renegotiate resumes the session (allow-client-renegotiation)',
    begins: 'client',
    offersSession: true,
    server: { set: ALLOW_CLIENT_RENEGOTIATION },
    after: { resumed: true },
  },
  {
    title: 'a server that does not allow clients to renegotiate refuses (no-client-renegotiation)',
    begins: 'client',
    offersSession: true,
    server: { clear: ALLOW_CLIENT_RENEGOTIATION },
    outcome: { client: 'REFUSED', server: 'loses the connection' },
  },

  // Not in OpenSSL's table. That no limit changes the version of a connection is what OpenSSL does.
  {
    title: 'a server that allows only itself to renegotiate begins',
    begins: 'server',
    server: { clear: ALLOW_CLIENT_RENEGOTIATION },
    after: { resumed: true },
  },
  {
    title: 'a client renegotiates without an offer to resume the session',
    begins: 'client',
    after: { resumed: false },
  },
  {
    title: 'a server renegotiates to another cipher',
    begins: 'server',
    server: { ciphers: 'AES128-GCM-SHA256', set: NO_RESUMPTION },
    change: { ciphers: 'AES128-SHA' },
    before: { cipher: 'AES128-GCM-SHA256' },
    after: { cipher: 'AES128-SHA' },
  },
  {
    title: 'a server refuses a client whose new ciphers it does not have',
    begins: 'client',
    server: { ciphers: 'AES128-GCM-SHA256' },
    change: { ciphers: 'AES128-SHA' },
    outcome: { client: 'is refused or loses the connection', server: 'REFUSED' },
  },
  {
    title: 'a client renegotiates and adds the extended master secret',
    begins: 'client',
    client: { set: NO_EXTENDED_MASTER_SECRET },
    change: { clear: NO_EXTENDED_MASTER_SECRET },
    before: { extendedMasterSecret: false },
    after: { extendedMasterSecret: true },
  },
  {
    title: 'a server that drops the extended master secret cannot renegotiate',
    begins: 'server',
    server: { set: NO_RESUMPTION },
    change: { set: NO_EXTENDED_MASTER_SECRET },
    before: { extendedMasterSecret: true },
    outcome: { client: 'is refused or loses the connection', server: 'REFUSED' },
  },
  {
    title: 'a client that had a certificate and has none afterwards is not accepted',
    begins: 'server',
    certificates: 'once',
    server: { set: NO_RESUMPTION },
    outcome: { client: 'loses the connection', server: 'IDENTITY_CHANGED' },
  },
  {
    title: 'a client whose versions change keeps that of the connection, TLS 1.2',
    begins: 'client',
    client: { ciphers: legacy, minVersion: TLS1_1 },
    server: { ciphers: legacy, minVersion: TLS1_1 },
    change: { maxVersion: TLS1_1 },
    before: { version: 'TLSv1.2' },
    after: { version: 'TLSv1.2' },
  },
  {
    title: 'a client whose versions change keeps that of the connection, TLS 1.1',
    begins: 'client',
    client: { ciphers: legacy, minVersion: TLS1_1, maxVersion: TLS1_1 },
    server: { ciphers: legacy, minVersion: TLS1_1 },
    change: { maxVersion: TLS1_2 },
    before: { version: 'TLSv1.1' },
    after: { version: 'TLSv1.1' },
  },
  {
    title: 'a server whose highest version falls below that of the connection keeps it',
    begins: 'server',
    client: { ciphers: legacy, minVersion: TLS1_1 },
    server: { ciphers: legacy, minVersion: TLS1_1 },
    change: { maxVersion: TLS1_1 },
    before: { version: 'TLSv1.2' },
    after: { version: 'TLSv1.2' },
  },
  {
    title: 'a server whose lowest version rises above that of the connection keeps it',
    begins: 'server',
    client: { ciphers: legacy, minVersion: TLS1_1, maxVersion: TLS1_1 },
    server: { ciphers: legacy, minVersion: TLS1_1 },
    change: { minVersion: TLS1_2 },
    before: { version: 'TLSv1.1' },
    after: { version: 'TLSv1.1' },
  },
]

/** A server of Node does not resume sessions in a renegotiation (full-handshake.ts), unless the test keeps its ticket keys. */
const pairs: { client: Kind; server: Kind; keepsTicketKeys?: true }[] = [
  { client: 'tls', server: 'tls' },
  { client: 'tls', server: 'tls', keepsTicketKeys: true },
  { client: 'tls', server: 'engine' },
  { client: 'engine', server: 'tls' },
  { client: 'engine', server: 'tls', keepsTicketKeys: true },
  { client: 'engine', server: 'engine' },
]

const [{ skip }] = everyLibSSL as [(typeof everyLibSSL)[0]]

t.test('with the OpenSSL of Node', { skip }, async (t) => {
  t.setTimeout(300_000)
  const runner = new CaseRunner()
  t.teardown(() => runner.close())
  let seed = SEED

  for (const { title, ...one } of cases) {
    t.test(title, async (t) => {
      for (const { client, server, keepsTicketKeys = false } of pairs) {
        const resumes = one.after?.resumed === true
        if (keepsTicketKeys && !resumes) continue
        seed += 2
        const common = {
          abbreviated: one.offersSession ?? false,
          certificates: one.certificates ?? 'never',
          allowIdentityChange: one.allowIdentityChange ?? false,
          keepsTicketKeys,
        }
        const change = (side: Case['begins']) => (one.begins === side ? (one.change ?? {}) : undefined)
        const reports = await runner.run(
          seed,
          { ...common, kind: client, settings: one.client ?? {}, change: change('client') },
          { ...common, kind: server, settings: one.server ?? {}, change: change('server') },
        )
        t.test(
          `client: ${client}, server: ${server}${keepsTicketKeys ? ' with its ticket keys kept' : ''}`,
          async (t) => {
            const after = { ...one.after, ...(resumes && server === 'tls' && { resumed: keepsTicketKeys }) }
            check(t, reports, { ...one, after })
          },
        )
      }
    })
  }
})

function check(t: Test, reports: Record<'client' | 'server', CaseEndReport>, one: Omit<Case, 'title'>): void {
  const { outcome = { client: 'renegotiates', server: 'renegotiates' } } = one
  for (const side of ['client', 'server'] as const) {
    const { [side]: report, [side === 'client' ? 'server' : 'client']: other } = reports
    t.comment(`${side}: ${JSON.stringify({ ...report, renegotiated: report.renegotiated.length })}`)
    t.ok(report.intact, `all data that reached the ${side} was right`)
    if (one.before) t.hasStrict(report.before, one.before, `the session of the ${side} before`)
    checkOutcome(t, report, side, outcome[side], side === one.begins)
    if (!/goes on$|^renegotiates$/.test(outcome[side])) continue
    t.hasStrict(report, { error: null, ended: true, receivedBytes: other.sentBytes }, `the ${side} lost nothing`)
  }
  if (outcome.client !== 'renegotiates') return
  const { before, after } = reports.client
  t.same([reports.server.before, reports.server.after], [before, after], 'both ends know the same sessions')
  if (one.after) t.hasStrict(after, one.after, 'the session afterwards')
}

/** Checks what renegotiate() returned, which events there were, and which error. */
function checkOutcome(
  t: Test,
  { result, renegotiated, error }: CaseEndReport,
  side: 'client' | 'server',
  outcome: Outcome,
  begins: boolean,
): void {
  const message = `the ${side} ${outcome}`
  const rejection = (code: string) => (begins ? { rejected: { name: 'RenegotiationError', code } } : null)
  switch (outcome) {
    case 'renegotiates': {
      const report = { origin: begins ? 'local' : 'peer', verified: true }
      t.hasStrict({ result, renegotiated }, { result: begins ? { report } : null, renegotiated: [report] }, message)
      break
    }
    case 'goes on':
      t.strictSame({ result, renegotiated }, { result: null, renegotiated: [] }, message)
      break
    case 'UNSUPPORTED, goes on':
      t.hasStrict(
        { result, renegotiated },
        { result: rejection('ERR_RENEGOTIATION_UNSUPPORTED'), renegotiated: [] },
        message,
      )
      break
    case 'REFUSED':
    case 'IDENTITY_CHANGED': {
      const code = `ERR_RENEGOTIATION_${outcome}`
      const destroyed = { name: 'RenegotiationError', code }
      t.hasStrict(
        { result, renegotiated, error },
        { result: rejection(code), renegotiated: [], error: destroyed },
        message,
      )
      break
    }
    case 'is refused or loses the connection':
      t.same(renegotiated, [], message)
      t.match(error?.code ?? '', new RegExp(`^ERR_RENEGOTIATION_REFUSED$|${lost.source}`), message)
      if (begins) t.match(result, { rejected: { code: /^ERR_RENEGOTIATION_(REFUSED|CLOSED)$/ } }, message)
      break
    case 'loses the connection':
      t.equal(result, null)
      t.match(error?.code ?? '', lost, message)
  }
}
