import { generateKeyPairSync } from 'node:crypto'
import tls from 'node:tls'
import t from 'tap'
import { type ContextOptions, createSecureContext } from '../../src/openssl/context.ts'
import { loadOpenSSL } from '../../src/openssl/library.ts'
import {
  dh512,
  intermediate,
  leaf,
  legacyPFX,
  openPFX,
  pfx,
  pfxWithoutCertificate,
  pfxWithoutKey,
} from '../fixtures/openssl-pki.ts'
import { ca, client, rsaServer, server } from '../fixtures/pki.ts'

/* Tests that options which Node refuses are refused here with the same errors. */

const openssl = loadOpenSSL()
const encrypted = generateKeyPairSync('ec', {
  namedCurve: 'P-256',
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'secret' },
}).privateKey
const smallKey = generateKeyPairSync('rsa', {
  modulusLength: 512,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
}).privateKey
const damaged = server.cert.replace(/MII.{20}/, `MII${'A'.repeat(20)}`)
const bytes = (base64: string) => Buffer.from(base64, 'base64')

/** Options of the wrong type or with a bad value, by what is wrong with them. */
const bad: Record<string, unknown> = {
  'options that are a number': 5,
  'options that are a string': 'x',
  'options that are a function': () => {},
  'a ca that is a number': { ca: 1 },
  'a second ca that is a number': { ca: [ca, 1] },
  'a ca that is a plain object': { ca: {} },
  'a ca without a prototype': { ca: Object.create(null) },
  'a cert that is true': { cert: true },
  'a cert that is a symbol': { cert: Symbol('x') },
  'a cert that is not PEM': { cert: 'x' },
  'a cert that is an empty buffer': { cert: Buffer.alloc(0) },
  'a damaged cert': { cert: damaged },
  'a damaged cert after a good one': { cert: server.cert + damaged },
  'a key that is a number': { key: 1 },
  'a key that is not PEM': { key: 'x' },
  'a key in an array that is null': { key: [null] },
  'a key object without pem': { key: [{ passphrase: 'x' }] },
  'a key object outside an array': { key: { pem: server.key } },
  'a key for another certificate': { cert: server.cert, key: client.key },
  'an encrypted key without a passphrase': { key: encrypted },
  'an encrypted key with a wrong passphrase': { key: encrypted, passphrase: 'wrong' },
  'a passphrase that is a number': { key: encrypted, passphrase: 1 },
  'a long passphrase that is a number': { key: encrypted, passphrase: 123456789012345680000000000000000000000 },
  'a passphrase of a key object that is a number': { key: [{ pem: encrypted, passphrase: 1 }] },
  'ciphers that are a number': { ciphers: 1 },
  'ciphers that are empty': { ciphers: ':' },
  'unknown ciphers': { ciphers: 'NO-SUCH-CIPHER' },
  'unknown suites of TLS 1.3': { ciphers: 'TLS_NO_SUCH_SUITE' },
  'a long list with a wrong type': { ciphers: [`${'x'.repeat(50)}`] },
  'sigalgs that are empty': { sigalgs: '' },
  'sigalgs that are a number': { sigalgs: 1 },
  'an unknown curve': { ecdhCurve: 'no-such' },
  'a curve that is a number': { ecdhCurve: 1 },
  'a curve that is null': { ecdhCurve: null },
  'dhparam that is a number': { dhparam: 1 },
  'dhparam of 512 bits': { dhparam: dh512 },
  'a crl that is not PEM': { crl: 'x' },
  'a crl that is a number': { crl: 1 },
  'a crl in an array that is a number': { crl: [1] },
  'a sessionIdContext that is a number': { sessionIdContext: 1 },
  'a pfx that is a number': { pfx: 1 },
  'a pfx that is a string of something else': { pfx: 'neither DER nor PKCS#12' },
  'a pfx in an array that is something else': { pfx: [{ buf: Buffer.from('neither DER nor PKCS#12') }] },
  'a pfx without its passphrase': { pfx: bytes(pfx) },
  'a pfx with a wrong passphrase': { pfx: bytes(pfx), passphrase: 'wrong' },
  'a pfx with a wrong passphrase of its own': { pfx: [{ buf: bytes(pfx), passphrase: 'wrong' }], passphrase: 'secret' },
  'a pfx without a key': { pfx: bytes(pfxWithoutKey) },
  'a pfx without a certificate': { pfx: bytes(pfxWithoutCertificate) },
  'a pfx with an old encryption': { pfx: bytes(legacyPFX), passphrase: 'secret' },
  'ticketKeys of 3 bytes': { ticketKeys: Buffer.alloc(3) },
  'ticketKeys that are a string': { ticketKeys: 'x' },
  'a negative sessionTimeout': { sessionTimeout: -1 },
  'a sessionTimeout that is a string': { sessionTimeout: '1' },
  'a sessionTimeout that is a long string': { sessionTimeout: 'x'.repeat(50) },
  'a sessionTimeout of 1.5': { sessionTimeout: 1.5 },
  'an unknown minVersion': { minVersion: 'x' },
  'a minVersion that every object has': { minVersion: 'toString' },
  'a maxVersion that is a number': { maxVersion: 5 },
  'secureOptions that are a string': { secureOptions: 'x' },
  'secureOptions of 1.5': { secureOptions: 1.5 },
}

/** What a caller sees of an error. */
function seen(run: () => unknown) {
  try {
    run()
  } catch (error) {
    const { name, message, code, library, reason } = error as Error & Record<string, unknown>
    return { name, message, code, library, reason }
  }
  return undefined
}

for (const [what, options] of Object.entries(bad)) {
  t.test(`${what} is the error of Node`, async (t) => {
    const expected = seen(() => tls.createSecureContext(options as tls.SecureContextOptions))
    t.ok(expected, 'Node refuses it')
    t.strictSame(
      seen(() => createSecureContext(openssl, options as ContextOptions)),
      expected,
    )
    t.equal(openssl.ERR_peek_error(), 0, 'no error is left in the queue')
  })
}

t.test('unknown sigalgs are an error with a code, though OpenSSL gives no reason', async (t) => {
  const sigalgs = 'no+such'
  t.throws(() => tls.createSecureContext({ sigalgs }), { message: 'error:00000000:lib(0)::reason(0)', code: undefined })
  t.throws(() => createSecureContext(openssl, { sigalgs }), {
    message: 'Failed to set signature algorithms',
    code: 'ERR_CRYPTO_OPERATION_FAILED',
  })
})

t.test('a sessionIdContext that is too long is a TypeError as in Node', async (t) => {
  const sessionIdContext = 'x'.repeat(33)
  t.throws(() => tls.createSecureContext({ sessionIdContext }), { name: 'TypeError', message: /id context too long/ })
  t.throws(() => createSecureContext(openssl, { sessionIdContext }), {
    name: 'TypeError',
    message: /id context too long/,
  })
})

t.test('what Node accepts is accepted', async (t) => {
  const fine: Record<string, ContextOptions | undefined | null> = {
    nothing: undefined,
    null: null,
    'no options': {},
    'a ca that contains no certificate': { ca: 'x' },
    'an empty cert': { cert: '' },
    'a cert without a key': { cert: server.cert },
    'a key without a cert': { key: server.key },
    'the key in an array': { cert: [server.cert], key: [server.key] },
    'a key object': { cert: server.cert, key: [{ pem: server.key, passphrase: 'not needed' } as never] },
    'bytes instead of strings': {
      cert: Buffer.from(server.cert),
      key: new Uint8Array(Buffer.from(server.key)) as Buffer,
    },
    'an encrypted key': { key: encrypted, passphrase: 'secret' },
    'certificates of two types': { cert: [server.cert, rsaServer.cert], key: [server.key, rsaServer.key] },
    'a key of another type': { cert: server.cert, key: rsaServer.key },
    'a pfx': { pfx: bytes(pfx), passphrase: 'secret' },
    'a pfx without a passphrase': { pfx: bytes(openPFX) },
    'a pfx with a passphrase of its own': { pfx: [{ buf: bytes(pfx), passphrase: 'secret' }] },
    'a chain': { cert: `${leaf.cert}\n${intermediate}`, key: leaf.key },
    'ciphers of which one is known': { ciphers: 'NO-SUCH-CIPHER:AES128-SHA256' },
    'ciphers that are null': { ciphers: null as never },
    'only TLS 1.3': { ciphers: 'TLS_AES_128_GCM_SHA256' },
    'only TLS 1.3 where it is forbidden': { ciphers: 'TLS_AES_128_GCM_SHA256', maxVersion: 'TLSv1.2' },
    'a minimum above the maximum': { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.2' },
    'an old version': { minVersion: 'TLSv1', maxVersion: 'TLSv1.1' },
    'dhparam that is not PEM': { dhparam: 'x' },
    'sigalgs that are null': { sigalgs: null as never },
    'an honorCipherOrder of another type': { honorCipherOrder: 'x' as never },
    'negative secureOptions': { secureOptions: -(2 ** 31) },
    'a small key at a low security level': { ciphers: 'DEFAULT@SECLEVEL=0', key: smallKey },
  }
  for (const [what, options] of Object.entries(fine)) {
    t.test(what, async (t) => {
      t.ok(tls.createSecureContext(options as tls.SecureContextOptions))
      createSecureContext(openssl, options ?? undefined).free()
      t.equal(openssl.ERR_peek_error(), 0, 'no error is left in the queue')
    })
  }
})
