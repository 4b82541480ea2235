/* The lines of the example security-syslog. */
import t from 'tap'
import { rfc5424 } from '../../examples/security-syslog/rfc5424.ts'
import type { SecurityEvent } from '../../src/index.ts'

const event: SecurityEvent = {
  ...{ name: 'certificate-revoked', severity: 'alert', at: Date.UTC(2026, 0, 2, 3, 4, 5, 6) },
  ...{ message: 'The certificate is revoked', code: 'ERR_RENEGOTIATION_REVOKED', role: 'server' },
  peer: { address: '::ffff:192.0.2.1', port: 4711 },
}

t.test('an event is a line of RFC 5424', async (t) => {
  const [header, rest] = rfc5424(event).split(' [') as [string, string]
  t.match(header, /^<81>1 2026-01-02T03:04:05\.006Z [!-~]+ renegotiation-duplex \d+ certificate-revoked$/)
  t.equal(
    rest,
    'renegotiation@32473 code="ERR_RENEGOTIATION_REVOKED" role="server" address="::ffff:192.0.2.1" port="4711"] ' +
      'The certificate is revoked',
  )
})

t.test('what is not known is left out', async (t) => {
  const { name, severity, at, message } = event
  t.match(rfc5424({ name, severity, at, message }), /certificate-revoked \[renegotiation@32473\] The/)
})

t.test('no value can end its field, or the line', async (t) => {
  const line = rfc5424({ ...event, code: 'a"b\\c]d\ne\u0000f\u{1f600}', message: 'two\r\n<13>1 lines' })
  t.match(line, 'code="a\\"b\\\\c\\]d?e?f??"')
  t.match(line, /\] two\?\?<13>1 lines$/)
  t.match(line, /^[ -~]+$/)
})
