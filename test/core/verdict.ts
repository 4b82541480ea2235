import { X509Certificate } from 'node:crypto'
import t from 'tap'
import { RenegotiationError } from '../../src/core/errors.ts'
import { type AllowIdentityChange, sameSubjectAndIssuer } from '../../src/core/identity.ts'
import type { Session } from '../../src/core/transport.ts'
import { type Expectation, judge } from '../../src/core/verdict.ts'
import * as pki from '../fixtures/revocation-pki.ts'

const bytes = (text: string) => Buffer.from(text)
const nothing: Expectation = {
  requestCert: false,
  rejectUnauthorized: true,
  full: false,
  allowIdentityChange: false,
  requireExtendedMasterSecret: false,
}
const certificate: Expectation = { ...nothing, requestCert: true }
const before: Session = { keys: bytes('old') }
const after: Session = { keys: bytes('new') }
const anna = bytes('Anna')
const otto = bytes('Otto')

t.test('new keys are a verified renegotiation', async (t) => {
  t.same(judge(before, after, nothing), { outcome: 'renegotiated', verified: true, peerCertificateChanged: false })
})

t.test('without new keys there was no renegotiation, even if a certificate appeared', async (t) => {
  t.same(judge(before, { keys: bytes('old'), identity: otto }, certificate), { outcome: 'unchanged' })
})

t.test('if the transport cannot tell the keys, the renegotiation is not verified', async (t) => {
  for (const [a, b] of [
    [{}, {}],
    [before, {}],
    [{}, after],
  ] as const) {
    t.match(judge(a, b, nothing), { outcome: 'renegotiated', verified: false })
  }
})

t.test('the same certificate as before is no change of identity', async (t) => {
  const verdict = judge({ ...before, identity: anna }, { ...after, identity: bytes('Anna') }, nothing)
  t.match(verdict, { outcome: 'renegotiated', peerCertificateChanged: false })
})

t.test('a first certificate is allowed, and reported as a change', async (t) => {
  const verdict = judge(before, { ...after, identity: anna }, nothing)
  t.match(verdict, { outcome: 'renegotiated', peerCertificateChanged: true })
})

t.test('a different certificate than before is fatal', async (t) => {
  t.match(judge({ ...before, identity: anna }, { ...after, identity: otto }, nothing), {
    outcome: 'fatal',
    error: { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED', message: /another certificate/ },
  })
})

t.test('no certificate, after there was one before, is fatal', async (t) => {
  t.match(judge({ ...before, identity: anna }, after, nothing), {
    outcome: 'fatal',
    error: { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED', message: /no certificate/ },
  })
})

t.test('allowIdentityChange allows another certificate or none, and the change is reported', async (t) => {
  for (const identity of [otto, undefined]) {
    const verdict = judge(
      { ...before, identity: anna },
      { ...after, identity },
      { ...nothing, allowIdentityChange: true },
    )
    t.match(verdict, { outcome: 'renegotiated', peerCertificateChanged: true })
  }
})

t.test('a requested certificate that verifies is accepted', async (t) => {
  t.match(judge(before, { ...after, identity: anna, authorized: true }, certificate), { outcome: 'renegotiated' })
})

t.test('a requested certificate that the peer does not send is fatal', async (t) => {
  t.match(judge(before, after, certificate), {
    outcome: 'fatal',
    error: { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE', message: /gave none/ },
  })
})

t.test('a requested certificate that does not verify is fatal, and the error has the reason as cause', async (t) => {
  const why = new Error('self-signed certificate')
  const verdict = judge(before, { ...after, identity: anna, authorized: false, authorizationError: why }, certificate)
  t.match(verdict, {
    outcome: 'fatal',
    error: { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE', message: /self-signed certificate/ },
  })
  t.equal((verdict as { error: RenegotiationError }).error.cause, why)
})

t.test('a requested certificate is fatal if the transport cannot tell whether it verifies', async (t) => {
  t.match(judge(before, { ...after, identity: anna }, certificate), {
    outcome: 'fatal',
    error: { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE', message: /unknown reason/ },
  })
})

t.test('a resumed handshake without the requested certificate is rejected, but not fatal', async (t) => {
  const verdict = judge(before, { ...after, resumed: true }, certificate)
  t.match(verdict, {
    outcome: 'rejected',
    error: { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE', message: /SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION/ },
  })
  t.type((verdict as { error: Error }).error, RenegotiationError)
})

t.test('without rejectUnauthorized, an unverified or missing certificate is accepted', async (t) => {
  const expected = { ...certificate, rejectUnauthorized: false }
  t.match(judge(before, { ...after, identity: anna, authorized: false }, expected), { outcome: 'renegotiated' })
  t.match(judge(before, after, expected), { outcome: 'renegotiated' })
  t.match(judge(before, { ...after, resumed: true }, expected), { outcome: 'renegotiated' })
})

t.test('a missing certificate is a change of identity if there was one before', async (t) => {
  t.match(judge({ ...before, identity: anna }, after, certificate), {
    outcome: 'fatal',
    error: { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED' },
  })
})

t.test('with requireExtendedMasterSecret, a session without extended master secret is fatal', async (t) => {
  const required = { ...nothing, requireExtendedMasterSecret: true }
  for (const extendedMasterSecret of [false, undefined]) {
    t.match(judge(before, { ...after, extendedMasterSecret }, required), {
      outcome: 'fatal',
      error: { code: 'ERR_RENEGOTIATION_UNSUPPORTED', message: /RFC 7627/ },
    })
  }
  t.match(judge(before, { ...after, extendedMasterSecret: true }, required), { outcome: 'renegotiated' })
})

t.test('a different certificate is fatal even if the keys did not change', async (t) => {
  t.match(judge({ ...before, identity: anna }, { ...before, identity: otto }, nothing), {
    outcome: 'fatal',
    error: { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED' },
  })
})

t.test('a different or missing identity of a pre-shared key is a change of identity', async (t) => {
  const [first, second] = [{ ...before, pskIdentity: anna }, after]
  for (const pskIdentity of [otto, undefined]) {
    t.match(judge(first, { ...second, pskIdentity }, nothing), {
      outcome: 'fatal',
      error: { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED', message: /pre-shared key/ },
    })
  }
  t.match(judge(first, { ...second, pskIdentity: anna }, nothing), { outcome: 'renegotiated' })
  t.match(
    judge(before, { ...after, pskIdentity: anna }, nothing),
    { outcome: 'renegotiated' },
    'a first identity is no change',
  )
})

t.test('a different server name (SNI) is a change of identity if both names are known', async (t) => {
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

const [old, renewed] = [new X509Certificate(pki.station.cert).raw, new X509Certificate(pki.renewedStation.cert).raw]
const renewal = (allowIdentityChange: AllowIdentityChange, more: Session = {}, known: Session = {}) =>
  judge(
    { ...before, identity: old, ...known },
    { ...after, identity: renewed, ...more },
    {
      ...nothing,
      allowIdentityChange,
    },
  )

t.test('a function decides about another certificate, and what it throws is fatal', async (t) => {
  t.match(renewal(sameSubjectAndIssuer), { outcome: 'renegotiated', peerCertificateChanged: true })
  const refused = { outcome: 'fatal', error: { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED' } }
  t.match(
    renewal(() => false),
    refused,
  )
  const error = new Error('not today')
  const fail = () => {
    throw error
  }
  t.same(renewal(fail), { outcome: 'fatal', error })
})

t.test(
  'a function is not asked about no certificate, one that does not verify any more, and other changes',
  async (t) => {
    const refused = { outcome: 'fatal', error: { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED' } }
    const allow = () => true
    t.match(renewal(allow, { identity: undefined }), refused)
    t.match(renewal(allow, { authorized: false }, { authorized: true }), refused)
    t.match(renewal(allow, { resumed: true }), refused)
    t.match(renewal(allow, { servername: 'b' }, { servername: 'a' }), refused)
    t.match(renewal(allow, {}, { pskIdentity: anna }), refused)
    t.match(renewal(allow, { authorized: false }, { authorized: false }), { outcome: 'renegotiated' })
  },
)

t.test('a certificate on a list of the option crl is revoked', async (t) => {
  const revoked = Object.assign(new Error('certificate revoked'), { code: 'CERT_REVOKED' })
  for (const authorizationError of [revoked, 'CERT_REVOKED']) {
    t.match(judge(before, { ...after, identity: anna, authorized: false, authorizationError }, certificate), {
      outcome: 'fatal',
      error: { code: 'ERR_RENEGOTIATION_REVOKED', cause: authorizationError },
    })
  }
})
