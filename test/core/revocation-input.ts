import { X509Certificate } from 'node:crypto'
import t from 'tap'
import { readCertificates, readRevocationInput } from '../../src/core/revocation-input.ts'
import { makeCRL, makePEM } from '../fixtures/make-crl.ts'
import { authority, intermediate, stranger } from '../fixtures/revocation-pki.ts'

const pem = makePEM(authority, { number: 7 })
const der = makeCRL(authority, { number: 8 })

t.test('a list is PEM or DER, a string or bytes, or an array of these', async (t) => {
  const numbers = (crl: unknown) => readRevocationInput(crl).lists.map(({ number }) => number)
  t.same(numbers(pem), [7n])
  t.same(numbers(Buffer.from(pem)), [7n])
  t.same(numbers(der), [8n])
  t.same(numbers(new DataView(der.buffer, der.byteOffset, der.byteLength)), [8n])
  t.same(numbers([pem, der]), [7n, 8n])
  t.same(numbers(`text before\n${pem}${makePEM(authority, { number: 9 })}`), [7n, 9n], 'several in one text')
})

t.test('certificates may stand beside the lists in PEM', async (t) => {
  const { certificates } = readRevocationInput(`${intermediate.cert}\n${pem}`)
  t.same(
    certificates.map(({ subject }) => subject),
    ['CN=intermediate authority'],
  )
})

const bad: [what: string, crl: unknown, error: { code: string; name?: string; message?: string | RegExp }][] = [
  ['undefined', undefined, { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE', message: /got undefined/ }],
  ['a number in an array', [pem, 1], { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE', message: /got 1/ }],
  ['an empty array', [], { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }],
  ['an empty text', '', { code: 'ERR_CRL_UNREADABLE', message: /has no certificate revocation list/ }],
  ['a text without a list', 'crl', { code: 'ERR_CRL_UNREADABLE' }],
  ['only a certificate', authority.cert, { code: 'ERR_CRL_UNREADABLE' }],
  ['a text without a list beside one', [pem, ''], { code: 'ERR_CRL_UNREADABLE' }],
  ['a list that is cut off', pem.replace(/\n[^-]{20}/, '\n'), { code: 'ERR_CRL_UNREADABLE' }],
  [
    'a bad certificate beside the list',
    `-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n${pem}`,
    { code: 'ERR_CRL_UNREADABLE', message: 'A certificate beside the list cannot be read' },
  ],
]

for (const [what, crl, error] of bad) {
  t.test(`${what} is an error`, async (t) => t.throws(() => readRevocationInput(crl), error))
}

t.test('of an option like ca, all certificates are read that can be', async (t) => {
  const subjects = (ca: unknown) => readCertificates(ca).map(({ subject }) => subject)
  t.same(subjects(undefined), [])
  t.same(subjects(authority.cert + stranger.cert), ['CN=plant authority', 'CN=stranger'])
  t.same(subjects([Buffer.from(authority.cert), [stranger.cert], pem, 1]), ['CN=plant authority', 'CN=stranger'])
  t.same(subjects('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----'), [])
  t.ok(readCertificates(authority.cert)[0] instanceof X509Certificate)
})
