import { X509Certificate } from 'node:crypto'
import t from 'tap'
import { askIdentityChange } from '../../src/core/identity.ts'
import { sameSubjectAndIssuer } from '../../src/index.ts'
import * as all from '../fixtures/revocation-pki.ts'

const pki = { ...all }
const certificate = (name: keyof typeof pki) => new X509Certificate(pki[name].cert)
const same = (before: keyof typeof pki, after: keyof typeof pki) =>
  sameSubjectAndIssuer(certificate(before), certificate(after))

t.test('a renewed certificate has the same subject and issuer', async (t) => {
  t.equal(same('server', 'renewedServer'), true)
  t.equal(same('station', 'renewedStation'), true)
})

t.test('another subject, other alternative names and another issuer are not the same', async (t) => {
  t.equal(same('station', 'otherStation'), false)
  t.equal(same('intermediate', 'falseIntermediate'), false)
  const { subject, issuer } = certificate('server')
  t.equal(sameSubjectAndIssuer(certificate('server'), { subject, issuer } as X509Certificate), false)
})

t.test('certificates that name nobody are not the same', async (t) => {
  t.equal(same('nobody', 'nobody'), false)
  t.equal(same('unnamed', 'unnamed'), true)
  t.equal(same('unnamed', 'nobody'), false)
})

const [before, after] = [certificate('station').raw, certificate('renewedStation').raw]

t.test('a function gets both certificates, and decides', async (t) => {
  for (const decision of [true, false]) {
    const asked: string[] = []
    const allow = (...both: X509Certificate[]) => {
      asked.push(...both.map(({ serialNumber }) => serialNumber))
      return decision
    }
    t.equal(askIdentityChange(allow, before, after), decision)
    t.same(asked, [certificate('station').serialNumber, certificate('renewedStation').serialNumber])
  }
})

t.test('what a function throws is the error, and so is a result that is no boolean', async (t) => {
  const error = new Error('not today')
  const ask = (allow: () => unknown) => askIdentityChange(allow as () => boolean, before, after)
  const fail = (reason: unknown) => () => {
    throw reason
  }
  t.equal(ask(fail(error)), error)
  t.match(ask(fail('no')), { message: "allowIdentityChange threw 'no'" })
  t.match(
    ask(async () => false),
    { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE', message: /got Promise/ },
  )
  t.match(
    askIdentityChange(() => true, Buffer.from('x'), after),
    Error,
    'the identity is no certificate',
  )
})
