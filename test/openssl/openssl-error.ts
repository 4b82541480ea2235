import { once } from 'node:events'
import net from 'node:net'
import tls from 'node:tls'
import t from 'tap'
import type { OpenSSL } from '../../src/openssl/binding.ts'
import { findOpenSSL } from '../../src/openssl/library.ts'
import { connectionError, type OpenSSLError, opensslError } from '../../src/openssl/openssl-error.ts'
import { everyFFI } from '../fixtures/foreign-functions.ts'
import { everyLibSSL } from '../fixtures/libssl.ts'
import { server as identity } from '../fixtures/pki.ts'

const [{ skip }] = everyLibSSL as [(typeof everyLibSSL)[0]]

/** All that an error tells, apart from where it was created. */
function facts(error: Error) {
  return { ...error, name: error.name, message: error.message }
}

function errorOf(run: () => unknown): OpenSSLError {
  try {
    run()
  } catch (error) {
    return error as OpenSSLError
  }
  throw new Error('nothing was thrown')
}

const brokenCertificate = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'

/** Each fails, and leaves errors in the queue. */
function failures({
  BIO_new_mem_buf,
  BIO_free,
  PEM_read_bio_PrivateKey,
  PEM_read_bio_X509_AUX,
  SSL_CTX_free,
  SSL_CTX_new,
  SSL_CTX_set_cipher_list,
  TLS_method,
}: OpenSSL) {
  const withText = (text: string, read: (bio: bigint | null) => unknown) => {
    const bytes = Buffer.from(text)
    const bio = BIO_new_mem_buf(bytes, bytes.length)
    read(bio)
    BIO_free(bio)
  }
  return {
    ciphers() {
      const context = SSL_CTX_new(TLS_method())
      SSL_CTX_set_cipher_list(context, 'none')
      SSL_CTX_free(context)
    },
    certificate: () => withText(brokenCertificate, (bio) => PEM_read_bio_X509_AUX(bio, null, null, null)),
    key: () => withText('none', (bio) => PEM_read_bio_PrivateKey(bio, null, null, null)),
  }
}

for (const [name, ffi] of everyFFI) {
  t.test(`by ${name}`, { skip }, async (t) => {
    const openssl = findOpenSSL(undefined, ffi)
    const fail = failures(openssl)

    t.test('an error is like that of tls.createSecureContext()', async (t) => {
      for (const [run, options] of [
        [fail.ciphers, { ciphers: 'none' }],
        [fail.certificate, { cert: brokenCertificate }],
        [fail.key, { key: 'none' }],
      ] as const) {
        run()
        const ours = opensslError(openssl)
        t.strictSame(facts(ours), facts(errorOf(() => tls.createSecureContext(options))))
        t.match(ours, { library: String, reason: String, code: /^ERR_(SSL|OSSL)_/ })
        t.equal(openssl.ERR_peek_error(), 0, 'the queue is empty')
      }
    })

    t.test('an error of a connection is like that of a TLSSocket', async (t) => {
      const server = tls.createServer({ ...identity, maxVersion: 'TLSv1.2' }).listen(0, '127.0.0.1')
      t.teardown(() => server.close())
      await once(server, 'listening')
      const bytes = Buffer.from('GET / HTTP/1.1\r\n\r\n')
      const { port } = server.address() as net.AddressInfo
      const socket = net.connect(port, '127.0.0.1').on('error', () => {})
      socket.end(bytes)
      const [theirs] = (await once(server, 'tlsClientError')) as [Error]
      socket.destroy()

      const context = openssl.SSL_CTX_new(openssl.TLS_method())
      const ssl = openssl.SSL_new(context)
      const bio = openssl.BIO_new(openssl.BIO_s_mem())
      openssl.SSL_set_bio(ssl, bio, bio)
      openssl.SSL_set_accept_state(ssl)
      openssl.BIO_write(bio, bytes, bytes.length)
      t.equal(openssl.SSL_read(ssl, Buffer.alloc(10), 10), -1)
      t.strictSame(facts(connectionError(openssl)), facts(theirs))
      t.equal(openssl.ERR_peek_error(), 0, 'the queue is empty')
      openssl.SSL_free(ssl)
      openssl.SSL_CTX_free(context)
    })

    t.test('of several errors the first gives the code, and the last the message of a connection', async (t) => {
      fail.ciphers()
      fail.certificate()
      t.match(connectionError(openssl), {
        message: /^[\dA-F]+:error:0488000D:PEM routines:.*:ASN1 lib:.*:\d+:\n$/,
        code: 'ERR_SSL_NO_CIPHER_MATCH',
      })
    })

    t.test('an empty queue is an error as well', async (t) => {
      const code = 'ERR_CRYPTO_OPERATION_FAILED'
      for (const create of [opensslError, connectionError]) {
        t.strictSame(facts(create(openssl)), { name: 'Error', message: 'OpenSSL failed and did not say why', code })
        t.match(create(openssl, 'SSL_new failed'), { message: 'SSL_new failed', code })
      }
    })

    t.test('an error of the system has no reason', async (t) => {
      const open = ffi.open(null).bind('BIO_new_file', ['pointer', 'string', 'string']) as (...names: string[]) => null
      t.equal(open('/nowhere/file', 'r'), null)
      t.match(facts(opensslError(openssl)), {
        message: /^error:80000002:system library::/,
        library: 'system library',
        reason: undefined,
        code: 'ERR_CRYPTO_OPERATION_FAILED',
        opensslErrorStack: [/^error:10000080:BIO routines::no such file$/],
      })
    })
  })
}
