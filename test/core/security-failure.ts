/* Which event each error is. That real connections cause these errors is in test/behaviour/security-events.ts. */
import t from 'tap'
import { RenegotiationError, type RenegotiationErrorCode, withCode } from '../../src/core/errors.ts'
import { publishSecurityEvent, type SecurityEvent } from '../../src/core/security-events.ts'
import { noteFailure, publishFailedSchedule, publishFailure } from '../../src/core/security-failure.ts'
import { listening } from '../fixtures/security-events.ts'

const ticked = () => new Promise<void>((resolve) => process.nextTick(resolve))
const end = { isServer: true, isSecure: true, face: { remoteAddress: '192.0.2.1', remotePort: 4711 } }
const coded = (code: string) => withCode(new Error('x'), code)
const failed = (code: RenegotiationErrorCode, cause?: unknown) => new RenegotiationError(code, 'x', cause)

/** The error, the name of the event, and its severity. */
const cases: readonly (readonly [Error, SecurityEvent['name'] | undefined, SecurityEvent['severity']?])[] = [
  [failed('ERR_RENEGOTIATION_REVOKED'), 'certificate-revoked', 'alert'],
  [failed('ERR_RENEGOTIATION_IDENTITY_CHANGED'), 'certificate-changed', 'alert'],
  [failed('ERR_RENEGOTIATION_IDENTITY_CHANGED', 'CERT_HAS_EXPIRED'), 'certificate-expired', 'error'],
  [failed('ERR_RENEGOTIATION_NO_CERTIFICATE'), 'certificate-missing', 'error'],
  [failed('ERR_RENEGOTIATION_NO_CERTIFICATE', 'CERT_HAS_EXPIRED'), 'certificate-expired'],
  [failed('ERR_RENEGOTIATION_NO_CERTIFICATE', 'CERT_REVOKED'), 'certificate-revoked'],
  [failed('ERR_RENEGOTIATION_NO_CERTIFICATE', coded('DEPTH_ZERO_SELF_SIGNED_CERT')), 'certificate-invalid'],
  [failed('ERR_RENEGOTIATION_NO_CERTIFICATE', 'unknown reason'), 'certificate-invalid'],
  [failed('ERR_RENEGOTIATION_NO_CERTIFICATE', 'CRL_HAS_EXPIRED'), 'revocation-list-expired', 'warning'],
  [failed('ERR_RENEGOTIATION_NO_CERTIFICATE', 'UNABLE_TO_GET_CRL'), 'revocation-list-missing', 'warning'],
  [failed('ERR_RENEGOTIATION_NO_CERTIFICATE', 'CRL_SIGNATURE_FAILURE'), 'revocation-list-invalid', 'error'],
  [failed('ERR_RENEGOTIATION_LIMIT'), 'limit-exceeded', 'alert'],
  [failed('ERR_RENEGOTIATION_HOLD_OVERFLOW'), 'hold-overflow', 'error'],
  [failed('ERR_RENEGOTIATION_KEYS_EXPIRED'), 'renegotiation-overdue', 'alert'],
  [failed('ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT'), 'handshake-timeout', 'error'],
  [failed('ERR_RENEGOTIATION_UNSUPPORTED'), 'no-secure-renegotiation', 'error'],
  [
    failed('ERR_RENEGOTIATION_REFUSED', coded('ERR_SSL_UNSAFE_LEGACY_RENEGOTIATION_DISABLED')),
    'no-secure-renegotiation',
  ],
  [failed('ERR_RENEGOTIATION_REFUSED', coded('ERR_SSL_WRONG_SSL_VERSION')), 'version-change', 'alert'],
  [failed('ERR_RENEGOTIATION_REFUSED', coded('ERR_SSL_UNSUPPORTED_PROTOCOL')), 'version-change'],
  [failed('ERR_RENEGOTIATION_REFUSED', coded('ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE')), 'certificate-rejected', 'error'],
  [failed('ERR_RENEGOTIATION_REFUSED'), 'handshake-failed', 'error'],
  [failed('ERR_RENEGOTIATION_PEER_DATA', coded('ERR_SSL_UNEXPECTED_RECORD')), 'handshake-failed'],
  [failed('ERR_RENEGOTIATION_DRAIN_TIMEOUT'), undefined],
  [failed('ERR_RENEGOTIATION_CLOSED', coded('ECONNRESET')), undefined],
  [coded('ERR_SSL_TLSV1_ALERT_UNKNOWN_CA'), 'certificate-rejected'],
  [coded('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED'), 'certificate-rejected'],
  [coded('ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE'), 'certificate-missing'],
  [coded('ERR_TLS_CERT_ALTNAME_INVALID'), 'certificate-invalid'],
  [coded('UNABLE_TO_VERIFY_LEAF_SIGNATURE'), 'certificate-invalid'],
  [coded('ERR_TLS_SESSION_ATTACK'), 'limit-exceeded'],
  [coded('ERR_TLS_HANDSHAKE_TIMEOUT'), 'handshake-timeout'],
  [coded('ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC'), 'tls-failed', 'error'],
  [coded('ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE'), 'certificate-rejected'],
  [coded('UNSPECIFIED'), 'certificate-invalid'],
  [coded('INVALID_ARGUMENT'), undefined],
  [coded('EPROTO'), undefined],
  [coded('ECONNRESET'), undefined],
  [coded('ABORT_ERR'), undefined],
  [new Error('of the application'), undefined],
]

for (const [error, name, severity] of cases) {
  const { code, cause } = error as NodeJS.ErrnoException
  const why = (cause as NodeJS.ErrnoException | undefined)?.code ?? cause ?? ''
  t.test(`${code} ${why}: ${name ?? 'no event'}`, async (t) => {
    const events = listening(t)
    noteFailure(error)
    publishFailure(error, end)
    publishFailure(error, end)
    t.same(events, [], 'not before the next tick')
    await ticked()
    if (name === undefined) return t.same(events, [])
    const peer = { address: '192.0.2.1', port: 4711 }
    t.match(events, [{ name, code, role: 'server', peer, at: Number, message: /^[A-Z][^.]+$/ }])
    if (severity !== undefined) t.equal(events[0]?.severity, severity)
    t.equal(events.length, 1)
    return t.ok(Object.isFrozen(events[0]))
  })
}

t.test('before the first handshake is complete, each error of TLS is a failed handshake', async (t) => {
  const events = listening(t)
  const error = coded('ERR_SSL_NO_SHARED_CIPHER')
  noteFailure(error)
  publishFailure(error, { isServer: false, isSecure: false, face: {} })
  await ticked()
  t.match(events, [{ name: 'handshake-failed', role: 'client' }])
  t.notOk('peer' in (events[0] as SecurityEvent), 'the address is not known')
})

t.test('a scheduled renegotiation that fails is an event of its own', async (t) => {
  const events = listening(t)
  publishFailedSchedule(failed('ERR_RENEGOTIATION_DRAIN_TIMEOUT'), end)
  publishFailedSchedule(new Error('without a code'), end)
  await ticked()
  t.match(events, [{ name: 'renegotiation-failed', severity: 'warning', code: 'ERR_RENEGOTIATION_DRAIN_TIMEOUT' }, {}])
  t.notOk('code' in (events[1] as SecurityEvent))
})

t.test('an event needs no details', async (t) => {
  const events = listening(t)
  publishSecurityEvent('revocation-list-updated')
  await ticked()
  t.match(events, [{ name: 'revocation-list-updated', severity: 'notice' }])
})

t.test('without a subscriber, nothing is published', async (t) => {
  publishSecurityEvent('revocation-list-updated')
  publishFailure(failed('ERR_RENEGOTIATION_LIMIT'), end)
  const events = listening(t)
  await ticked()
  t.same(events, [])
})
