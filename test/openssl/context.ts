import { constants } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import type { OpenSSL } from '../../src/openssl/binding.ts'
import { splitCiphers } from '../../src/openssl/ciphers.ts'
import { type ContextOptions, createSecureContext, serverContextOptions } from '../../src/openssl/context.ts'
import { type RootSource, trustRoots } from '../../src/openssl/trust.ts'
import { type EndOptions, openssl, ownClient, ownServer } from '../fixtures/openssl-ends.ts'
import {
  dh1024,
  dh2048,
  dsaParameters,
  intermediate,
  leaf,
  openPFX,
  pfx,
  root,
  rootList,
} from '../fixtures/openssl-pki.ts'
import { ca, rsaServer, server } from '../fixtures/pki.ts'

/* Tests of what the options of a secure context do. What is refused: see context-errors.ts; trust: see verify.ts. */

const bytes = (base64: string) => Buffer.from(base64, 'base64')
const options = (ofServer: ContextOptions, ofClient: ContextOptions = {}): EndOptions => ({
  server: { ...server, ...ofServer },
  client: { ca, ...ofClient },
})

/** The cipher suite of a connection of our server with a client of Node, or the code of the error. */
async function cipherOf(t: Test, ofServer: ContextOptions, ofClient: ContextOptions = {}): Promise<unknown> {
  const ends = await ownServer(t, options(ofServer, ofClient))
  return ends.server.getCipher()?.name
}

t.test('minVersion and maxVersion limit the version at both ends', async (t) => {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const limits = { minVersion: version, maxVersion: version }
    t.equal((await ownServer(t, options(limits))).server.getProtocol(), version)
    t.equal((await ownClient(t, options({}, limits))).client.getProtocol(), version)
  }
  await t.rejects(ownServer(t, options({ minVersion: 'TLSv1.3' }, { maxVersion: 'TLSv1.2' })), {
    code: 'ERR_SSL_UNSUPPORTED_PROTOCOL',
  })
})

t.test('without minVersion and maxVersion, the defaults of tls apply at that moment', async (t) => {
  const { DEFAULT_MAX_VERSION } = tls
  t.teardown(() => {
    tls.DEFAULT_MAX_VERSION = DEFAULT_MAX_VERSION
  })
  tls.DEFAULT_MAX_VERSION = 'TLSv1.2'
  const context = serverContextOptions(server)
  t.equal(
    (await ownServer(t, { server: context, client: { ca, maxVersion: 'TLSv1.3' } })).server.getProtocol(),
    'TLSv1.2',
  )
})

t.test('ciphers are split as in Node', async (t) => {
  t.strictSame(splitCiphers('TLS_A:B:!TLS_C::!D'), { list: 'B:!D', suites: 'TLS_A:!TLS_C' })
  for (const ciphers of ['', null, undefined]) t.strictSame(splitCiphers(ciphers), splitCiphers(tls.DEFAULT_CIPHERS))
})

t.test('ciphers choose the cipher of each version', async (t) => {
  const ciphers = 'TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES128-SHA256'
  t.equal(await cipherOf(t, { ciphers }), 'TLS_AES_128_GCM_SHA256')
  t.equal(await cipherOf(t, { ciphers, maxVersion: 'TLSv1.2' }), 'ECDHE-ECDSA-AES128-SHA256')
  await t.rejects(cipherOf(t, { ciphers: 'TLS_AES_128_GCM_SHA256' }, { maxVersion: 'TLSv1.2' }), {
    code: 'ERR_SSL_UNSUPPORTED_PROTOCOL',
  })
})

t.test('honorCipherOrder is the default of a server', async (t) => {
  const [mine, theirs] = ['ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-ECDSA-AES128-GCM-SHA256']
  const own = { ciphers: `${mine}:${theirs}`, maxVersion: 'TLSv1.2' as const }
  const other = { ciphers: `${theirs}:${mine}` }
  t.equal(await cipherOf(t, own, other), mine)
  t.equal(await cipherOf(t, { ...own, honorCipherOrder: false }, other), theirs)
})

t.test('secureOptions are passed to OpenSSL', async (t) => {
  const { SSL_OP_NO_TLSv1_3, SSL_OP_ALL } = constants
  t.equal((await ownServer(t, options({ secureOptions: SSL_OP_NO_TLSv1_3 }))).server.getProtocol(), 'TLSv1.2')
  using context = createSecureContext(openssl, { secureOptions: SSL_OP_ALL | 0, honorCipherOrder: true })
  const set = openssl.SSL_CTX_get_options(context.pointer)
  t.equal((set & SSL_OP_ALL) >>> 0, SSL_OP_ALL >>> 0, 'also with the highest of 32 bits')
  t.ok(set & constants.SSL_OP_CIPHER_SERVER_PREFERENCE)
  t.ok(set < 2 ** 32)
})

t.test('ecdhCurve and sigalgs choose algorithms', async (t) => {
  const { client: end } = await ownClient(t, options({}, { ecdhCurve: 'P-384', sigalgs: 'ECDSA+SHA384:ECDSA+SHA256' }))
  t.match(end.getEphemeralKeyInfo(), { name: 'secp384r1' })
  const { server: other } = await ownServer(t, options({ sigalgs: 'ECDSA+SHA256' }))
  t.strictSame(other.getSharedSigalgs(), ['ECDSA+SHA256'])
  const { DEFAULT_ECDH_CURVE } = tls
  tls.DEFAULT_ECDH_CURVE = 'P-521'
  t.teardown(() => {
    tls.DEFAULT_ECDH_CURVE = DEFAULT_ECDH_CURVE
  })
  t.match((await ownClient(t, options({ ecdhCurve: 'auto' }))).client.getEphemeralKeyInfo(), { name: 'secp521r1' })
  tls.DEFAULT_ECDH_CURVE = ''
  t.notMatch((await ownClient(t, options({ ecdhCurve: 'auto' }))).client.getEphemeralKeyInfo(), { name: 'secp521r1' })
})

t.test('dhparam makes ciphers with DHE possible', async (t) => {
  const own = { ...rsaServer, ciphers: 'DHE-RSA-AES128-GCM-SHA256:AES128-SHA256', maxVersion: 'TLSv1.2' as const }
  const size = async (dhparam: string) => {
    const { client: end } = await ownServer(t, options({ ...own, dhparam }, { ciphers: `${own.ciphers}:@SECLEVEL=0` }))
    return end.getEphemeralKeyInfo()
  }
  t.match(await size(dh2048), { type: 'DH', size: 2048 })
  t.match(await size('auto'), { type: 'DH' })
  for (const invalid of ['x', dsaParameters]) t.notMatch(await size(invalid), { type: 'DH' }, 'ignored as in Node')
})

t.test('dhparam of less than 2048 bits is a warning', async (t) => {
  const warnings = t.capture(process, 'emitWarning', () => {})
  createSecureContext(openssl, { dhparam: dh1024, ciphers: 'DEFAULT@SECLEVEL=0' }).free()
  t.match(warnings(), [{ args: ['DH parameter is less than 2048 bits', 'SecurityWarning'] }])
  const error = { message: 'Error setting temp DH parameter', code: 'ERR_CRYPTO_OPERATION_FAILED' }
  const strict = { dhparam: dh1024, ciphers: 'DEFAULT@SECLEVEL=2' }
  t.throws(() => tls.createSecureContext(strict), error)
  t.throws(() => createSecureContext(openssl, strict), error)
})

t.test('certificates and keys of two types serve both kinds of clients', async (t) => {
  const two = { cert: [server.cert, rsaServer.cert], key: [server.key, rsaServer.key] }
  for (const [sigalgs, bits] of [
    ['ECDSA+SHA256', 256],
    ['RSA-PSS+SHA256', 2048],
  ] as const) {
    t.match((await ownServer(t, options(two, { sigalgs }))).client.getPeerCertificate(), { bits })
  }
})

t.test('a pfx is a key, a certificate, its chain, and trust in that', async (t) => {
  for (const own of [
    { pfx: bytes(pfx), passphrase: 'secret' },
    { pfx: bytes(openPFX) },
    { pfx: [{ buf: bytes(pfx), passphrase: 'secret' }], passphrase: 'wrong' },
    { pfx: [bytes(pfx)], passphrase: 'secret' },
  ]) {
    const { client: end, server: other } = await ownServer(t, {
      server: { ...own, requestCert: true, rejectUnauthorized: false } as ContextOptions,
      client: { ca: root },
    })
    t.match(end.getPeerCertificate(true), {
      subject: { CN: 'leaf' },
      issuerCertificate: { subject: { CN: 'intermediate' } },
    })
    t.equal(end.authorizationError, null)
    t.match(other.getCertificate(), { subject: { CN: 'leaf' } })
  }
})

t.test('a pfx does not change the trust of other contexts', async (t) => {
  createSecureContext(openssl, { pfx: bytes(pfx), passphrase: 'secret' }).free()
  const partial = { server: { key: leaf.key, cert: `${leaf.cert}\n${intermediate}` }, client: {} }
  const { client: end } = await ownClient(t, partial)
  t.strictSame(
    openssl.SSL_get_verify_result(end.pump.ssl),
    20,
    'the issuer is unknown, so it is not in the store that all share',
  )
})

t.test('contexts without ca share one store with the root certificates of Node', async (t) => {
  using first = createSecureContext(openssl)
  using second = createSecureContext(openssl, { ca: '' })
  using own = createSecureContext(openssl, { ca })
  using changed = createSecureContext(openssl, { crl: rootList })
  const store = (context: { pointer: bigint }) => openssl.SSL_CTX_get_cert_store(context.pointer)
  const count = (context: { pointer: bigint }) => {
    const certificates = openssl.X509_STORE_get1_all_certs(store(context))
    return openssl.OPENSSL_sk_num(certificates)
  }
  t.equal(store(first), store(second))
  t.not(store(first), store(own))
  t.not(store(first), store(changed), 'one with a revocation list has a store of its own')
  t.equal(count(own), 1)
  t.ok(count(first) >= tls.rootCertificates.length - 1)
  t.equal(count(changed), count(first))
})

t.test('the secret of tickets is that of the option, or a random one', async (t) => {
  using first = createSecureContext(openssl)
  using second = createSecureContext(openssl)
  t.equal(first.ticketKeys?.length, 48)
  t.notSame(first.ticketKeys, second.ticketKeys)
  const ticketKeys = Buffer.alloc(48, 7)
  using third = createSecureContext(openssl, { ticketKeys })
  ticketKeys.fill(0)
  t.same(third.ticketKeys, Buffer.alloc(48, 7), 'a copy')
})

t.test('servers with the same ticketKeys and sessionIdContext resume each other’s sessions', async (t) => {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const resumed = async (change: ContextOptions) => {
      const own = { maxVersion, ticketKeys: Buffer.alloc(48, 7), sessionIdContext: 'x' }
      const session = (await ownServer(t, options(own))).client.getSession() as Buffer
      const second = await ownServer(t, options({ ...own, ...change }, { session } as ContextOptions))
      return [second.server.isSessionReused(), second.client.isSessionReused()]
    }
    t.same(await resumed({}), [true, true])
    t.same(await resumed({ ticketKeys: Buffer.alloc(48, 8) }), [false, false])
    t.same(await resumed({ sessionIdContext: 'y' }), [false, false])
  }
})

t.test('sessionTimeout is told to the client', async (t) => {
  const lifetime = async (sessionTimeout: number) => {
    const { client: end } = await ownServer(t, options({ sessionTimeout, maxVersion: 'TLSv1.2' }))
    return end.getSession() as Buffer
  }
  // The session in ASN.1 has the hint in its field [9].
  t.ok((await lifetime(4321)).includes(Buffer.from([0xa9, 4, 2, 2, 0x10, 0xe1])))
  t.notOk((await lifetime(1234)).includes(Buffer.from([0xa9, 4, 2, 2, 0x10, 0xe1])))
})

t.test('a server resumes sessions of its own program by default', async (t) => {
  t.equal(serverContextOptions({}).sessionIdContext?.length, 32)
  t.equal(serverContextOptions({}).sessionIdContext, serverContextOptions({}).sessionIdContext)
  t.match(serverContextOptions({ sessionIdContext: 'x', honorCipherOrder: false }), {
    sessionIdContext: 'x',
    honorCipherOrder: false,
  })
})

/** How many certificates a context trusts with these defaults, and where they are stored. */
function trusted(fresh: OpenSSL, source: RootSource) {
  using context = createSecureContext(fresh, { ca })
  trustRoots(fresh, context.pointer, source)
  const store = fresh.SSL_CTX_get_cert_store(context.pointer)
  return { store, count: fresh.OPENSSL_sk_num(fresh.X509_STORE_get1_all_certs(store)) }
}

t.test('the file in NODE_EXTRA_CA_CERTS is trusted', async (t) => {
  const directory = t.testdir()
  t.teardown(() => {
    delete process.env['NODE_EXTRA_CA_CERTS']
  })
  const count = (file: string, source: RootSource) => {
    process.env['NODE_EXTRA_CA_CERTS'] = file
    // What was parsed is kept for each OpenSSL.
    return trusted({ ...openssl }, source).count
  }
  const old = { rootCertificates: [ca] }
  t.equal(count('', old), 1)
  t.equal(count(join(directory, 'missing.pem'), old), 1)
  writeFileSync(join(directory, 'two.pem'), `${root}\n${intermediate}\n`)
  t.equal(count(join(directory, 'two.pem'), old), 3)
  t.equal(count(join(directory, 'two.pem'), { ...old, getCACertificates: () => [ca] }), 1, 'newer releases read it')
})

t.test('a change of the default certificates is noticed', async (t) => {
  const fresh = { ...openssl }
  let defaults = [ca]
  const source = { rootCertificates: [], getCACertificates: () => defaults }
  const before = trusted(fresh, source)
  t.strictSame(trusted(fresh, source), before)
  defaults = [ca, root]
  t.equal(trusted(fresh, source).count, 2)
})

t.test('a server takes some falsy values for absent ones, as in Node', async (t) => {
  const falsy = { ciphers: '', crl: '', dhparam: '', maxVersion: '' as never, pfx: '', sessionTimeout: 0 }
  t.ok(tls.createServer(falsy))
  createSecureContext(openssl, serverContextOptions(falsy)).free()
  t.throws(() => createSecureContext(openssl, falsy), 'though not so a context')
  t.throws(() => tls.createSecureContext(falsy))
})
