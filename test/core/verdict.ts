import t from 'tap'
import { RenegotiationError } from '../../src/core/errors.ts'
import type { Session } from '../../src/core/transport.ts'
import { type Expectation, judge } from '../../src/core/verdict.ts'

const bytes = (text: string) => Buffer.from(text)
const nothing: Expectation = {
  requestCert: false,
  rejectUnauthorized: true,
  allowIdentityChange: false,
  requireExtendedMasterSecret: false,
}
const certificate: Expectation = { ...nothing, requestCert: true }
const before: Session = { keys: bytes('old') }
const after: Session = { keys: bytes('new') }
const anna = bytes('Anna')
const otto = bytes('Otto')

t.test('new keys are a renegotiation, proven', async (t) => {
  t.same(judge(before, after, nothing), { outcome: 'renegotiated', verified: true, peerCertificateChanged: false })
})

t.test('the old keys are none, whatever else has changed', async (t) => {
  t.same(judge(before, { keys: bytes('old'), identity: otto }, certificate), { outcome: 'unchanged' })
})

t.test('where the transport tells no keys, before or after, it is not proven', async (t) => {
  for (const [a, b] of [
    [{}, {}],
    [before, {}],
    [{}, after],
  ] as const) {
    t.match(judge(a, b, nothing), { outcome: 'renegotiated', verified: false })
  }
})

t.test('the same identity is no change', async (t) => {
  const verdict = judge({ ...before, identity: anna }, { ...after, identity: bytes('Anna') }, nothing)
  t.match(verdict, { outcome: 'renegotiated', peerCertificateChanged: false })
})

t.test('a first identity is told, and allowed', async (t) => {
  const verdict = judge(before, { ...after, identity: anna }, nothing)
  t.match(verdict, { outcome: 'renegotiated', peerCertificateChanged: true })
})

t.test('another identity than before is fatal', async (t) => {
  t.match(judge({ ...before, identity: anna }, { ...after, identity: otto }, nothing), {
    outcome: 'fatal',
    error: { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED', message: /another certificate/ },
  })
})

t.test('none after one is fatal', async (t) => {
  t.match(judge({ ...before, identity: anna }, after, nothing), {
    outcome: 'fatal',
    error: { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED', message: /no certificate/ },
  })
})

t.test('allowIdentityChange allows both, and they are told', async (t) => {
  for (const identity of [otto, undefined]) {
    const verdict = judge(
      { ...before, identity: anna },
      { ...after, identity },
      { ...nothing, allowIdentityChange: true },
    )
    t.match(verdict, { outcome: 'renegotiated', peerCertificateChanged: true })
  }
})

t.test('a certificate that was asked for and verifies is fine', async (t) => {
  t.match(judge(before, { ...after, identity: anna, authorized: true }, certificate), { outcome: 'renegotiated' })
})

t.test('a certificate that was asked for and did not come is fatal', async (t) => {
  t.match(judge(before, after, certificate), {
    outcome: 'fatal',
    error: { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE', message: /gave none/ },
  })
})

t.test('a certificate that does not verify is fatal, and the reason is the cause', async (t) => {
  const why = new Error('self-signed certificate')
  const verdict = judge(before, { ...after, identity: anna, authorized: false, authorizationError: why }, certificate)
  t.match(verdict, {
    outcome: 'fatal',
    error: { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE', message: /self-signed certificate/ },
  })
  t.equal((verdict as { error: RenegotiationError }).error.cause, why)
})

t.test('a certificate of which the transport cannot tell whether it verifies is fatal too', async (t) => {
  t.match(judge(before, { ...after, identity: anna }, certificate), {
    outcome: 'fatal',
    error: { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE', message: /unknown reason/ },
  })
})

t.test('where the handshake was resumed nobody was asked: rejected, not fatal, and told what is missing', async (t) => {
  const verdict = judge(before, { ...after, resumed: true }, certificate)
  t.match(verdict, {
    outcome: 'rejected',
    error: { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE', message: /SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION/ },
  })
  t.type((verdict as { error: Error }).error, RenegotiationError)
})

t.test('without rejectUnauthorized any certificate will do, and none', async (t) => {
  const expected = { ...certificate, rejectUnauthorized: false }
  t.match(judge(before, { ...after, identity: anna, authorized: false }, expected), { outcome: 'renegotiated' })
  t.match(judge(before, after, expected), { outcome: 'renegotiated' })
  t.match(judge(before, { ...after, resumed: true }, expected), { outcome: 'renegotiated' })
})

t.test('a change of identity weighs more than a certificate that is missing', async (t) => {
  t.match(judge({ ...before, identity: anna }, after, certificate), {
    outcome: 'fatal',
    error: { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED' },
  })
})

t.test('where the extended master secret is required, a session without it is fatal', async (t) => {
  const required = { ...nothing, requireExtendedMasterSecret: true }
  for (const extendedMasterSecret of [false, undefined]) {
    t.match(judge(before, { ...after, extendedMasterSecret }, required), {
      outcome: 'fatal',
      error: { code: 'ERR_RENEGOTIATION_UNSUPPORTED', message: /RFC 7627/ },
    })
  }
  t.match(judge(before, { ...after, extendedMasterSecret: true }, required), { outcome: 'renegotiated' })
})

t.test('another identity is fatal, even where the keys seem to be the old ones', async (t) => {
  t.match(judge({ ...before, identity: anna }, { ...before, identity: otto }, nothing), {
    outcome: 'fatal',
    error: { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED' },
  })
})

t.test('another identity for a pre-shared key, or none, is a change', async (t) => {
  const [first, second] = [{ ...before, pskIdentity: anna }, after]
  for (const pskIdentity of [otto, undefined]) {
    t.match(judge(first, { ...second, pskIdentity }, nothing), {
      outcome: 'fatal',
      error: { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED', message: /pre-shared key/ },
    })
  }
  t.match(judge(first, { ...second, pskIdentity: anna }, nothing), { outcome: 'renegotiated' })
  t.match(judge(before, { ...after, pskIdentity: anna }, nothing), { outcome: 'renegotiated' }, 'a first one is not')
})

t.test('another name of the server (SNI) is a change where both are known', async (t) => {
  const named = (session: Session, servername?: string): Session => ({ ...session, servername })
  for (const [first, second] of [
    ['one', 'other'],
    ['', 'other'],
  ] as const) {
    t.match(judge(named(before, first), named(after, second), nothing), {
      outcome: 'fatal',
      error: { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED', message: /SNI/ },
    })
    t.match(judge(named(before, first), named(after, second), { ...nothing, allowIdentityChange: true }), {
      outcome: 'renegotiated',
    })
  }
  for (const [first, second] of [
    ['one', 'one'],
    ['one', undefined],
    [undefined, 'one'],
  ] as const) {
    t.match(judge(named(before, first), named(after, second), nothing), { outcome: 'renegotiated' })
  }
})
