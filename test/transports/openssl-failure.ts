import t from 'tap'
import { openSSLFailure } from '../../src/transports/openssl-failure.ts'
import { failure } from '../fixtures/scripted-stream.ts'

for (const [code, meaning] of Object.entries({
  ERR_SSL_NO_RENEGOTIATION: 'refused',
  ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE: 'refused',
  ERR_SSL_UNSAFE_LEGACY_RENEGOTIATION_DISABLED: 'insecure',
  ERR_SSL_UNEXPECTED_RECORD: 'peer-data',
  ERR_SSL_SSLV3_ALERT_UNEXPECTED_MESSAGE: 'unexpected-message',
  ERR_SSL_UNEXPECTED_MESSAGE: 'broken',
  ERR_SSL_BAD_SIGNATURE: 'broken',
  // An alert about a mistake of ours, an end without close_notify, and a bad configuration of ours.
  ERR_SSL_TLSV1_ALERT_DECODE_ERROR: undefined,
  ERR_SSL_UNEXPECTED_EOF_WHILE_READING: undefined,
  ERR_SSL_SESSION_ID_CONTEXT_UNINITIALIZED: undefined,
  ECONNRESET: undefined,
})) {
  t.test(`openSSLFailure() classifies ${code} as ${meaning ?? 'unknown'}`, async (t) => {
    t.equal(openSSLFailure(failure(code)), meaning)
  })
}

t.test('openSSLFailure() classifies an error without a code as unknown', async (t) => {
  t.equal(openSSLFailure(new Error('lost')), undefined)
})
