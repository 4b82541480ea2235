import { createHash, X509Certificate } from 'node:crypto'
import t, { type Test } from 'tap'
import type { OpenSSL } from '../../src/openssl/binding.ts'
import { callbacks } from '../../src/openssl/callbacks.ts'
import {
  SSL_CTRL_SET_MAX_PROTO_VERSION,
  SSL_CTRL_SET_TLSEXT_HOSTNAME,
  SSL_ERROR_WANT_READ,
  SSL_KEY_UPDATE_REQUESTED,
  SSL_TLSEXT_ERR_OK,
  SSL_VERIFY_PEER,
  SSL3_MT_CLIENT_HELLO,
  SSL3_MT_KEY_UPDATE,
  SSL3_RT_HANDSHAKE,
  TLS1_2_VERSION,
  TLSEXT_NAMETYPE_host_name,
} from '../../src/openssl/constants.ts'
import { findOpenSSL } from '../../src/openssl/library.ts'
import { opensslError } from '../../src/openssl/openssl-error.ts'
import { everyFFI } from '../fixtures/foreign-functions.ts'
import { everyLibSSL } from '../fixtures/libssl.ts'
import { ca, server as identity } from '../fixtures/pki.ts'

/*
 * Two ends of a connection in one process, each by the functions as they are bound: by either FFI library, with the
 * OpenSSL of Node or of the system. Shows that signatures, constants and callbacks are right where it matters.
 */

const skips = everyLibSSL.map(({ skip }) => skip)

class End {
  readonly openssl: OpenSSL
  readonly context: bigint
  readonly ssl: bigint

  constructor(openssl: OpenSSL, role: 'client' | 'server', setUp: (context: bigint) => void) {
    this.openssl = openssl
    this.context = openssl.SSL_CTX_new(openssl.TLS_method()) as bigint
    setUp(this.context)
    this.ssl = openssl.SSL_new(this.context) as bigint
    openssl.SSL_set_bio(this.ssl, openssl.BIO_new(openssl.BIO_s_mem()), openssl.BIO_new(openssl.BIO_s_mem()))
    if (role === 'client') openssl.SSL_set_connect_state(this.ssl)
    else openssl.SSL_set_accept_state(this.ssl)
  }

  /** Reads what has come, which also drives a handshake. */
  read(): string {
    const into = Buffer.alloc(1_000)
    const length = this.openssl.SSL_read(this.ssl, into, into.length)
    if (length > 0) return into.toString('utf8', 0, length)
    const error = this.openssl.SSL_get_error(this.ssl, length)
    if (error !== SSL_ERROR_WANT_READ) throw opensslError(this.openssl)
    return ''
  }

  write(text: string): void {
    const bytes = Buffer.from(text)
    if (this.openssl.SSL_write(this.ssl, bytes, bytes.length) !== bytes.length) throw opensslError(this.openssl)
  }

  /** Carries everything that was written to the other end. */
  flushTo(other: End): number {
    const bytes = Buffer.alloc(this.openssl.BIO_ctrl_pending(this.openssl.SSL_get_wbio(this.ssl)))
    if (bytes.length === 0) return 0
    this.openssl.BIO_read(this.openssl.SSL_get_wbio(this.ssl), bytes, bytes.length)
    return other.openssl.BIO_write(other.openssl.SSL_get_rbio(other.ssl), bytes, bytes.length)
  }

  keys(): string {
    const into = Buffer.alloc(16)
    const label = Buffer.from('EXPERIMENTAL test')
    this.openssl.SSL_export_keying_material(this.ssl, into, 16, label, label.length, null, 0, 0)
    return into.toString('hex')
  }

  free(): void {
    this.openssl.SSL_free(this.ssl)
    this.openssl.SSL_CTX_free(this.context)
  }
}

function withPEM<T>(openssl: OpenSSL, text: string, read: (bio: bigint | null) => T): T {
  const bytes = Buffer.from(text)
  const bio = openssl.BIO_new_mem_buf(bytes, bytes.length)
  const result = read(bio)
  openssl.BIO_free(bio)
  return result
}

function connect(t: Test, openssl: OpenSSL, settings: (context: bigint) => void = () => {}) {
  const { callback, bytesAt, writeAt } = openssl
  const onError = (error: unknown) => void t.error(error as Error)
  const seen: [isOut: boolean, type: number][] = []
  const keylog: string[] = []

  const server = new End(openssl, 'server', (context) => {
    const certificate = withPEM(openssl, identity.cert, (bio) => openssl.PEM_read_bio_X509(bio, null, null, null))
    const key = withPEM(openssl, identity.key, (bio) => openssl.PEM_read_bio_PrivateKey(bio, null, null, null))
    t.equal(openssl.SSL_CTX_use_certificate(context, certificate), 1)
    t.equal(openssl.SSL_CTX_use_PrivateKey(context, key), 1)
    openssl.X509_free(certificate)
    openssl.EVP_PKEY_free(key)
    settings(context)
    // Takes the first protocol of the client.
    const select = callback(
      callbacks.alpnSelect,
      (_ssl, out, outLength, list) => {
        const [length = 0] = bytesAt(list as bigint, 1)
        const pointer = Buffer.alloc(8)
        pointer.writeBigUInt64LE((list as bigint) + 1n)
        writeAt(out as bigint, pointer)
        writeAt(outLength as bigint, Buffer.from([length]))
        return SSL_TLSEXT_ERR_OK
      },
      onError,
    )
    openssl.SSL_CTX_set_alpn_select_cb(context, select, null)
    openssl.SSL_CTX_set_keylog_callback(
      context,
      callback(callbacks.keylog, (_ssl, line) => void keylog.push(line ?? ''), onError),
    )
  })
  const client = new End(openssl, 'client', (context) => {
    const store = openssl.X509_STORE_new()
    const certificate = withPEM(openssl, ca, (bio) => openssl.PEM_read_bio_X509(bio, null, null, null))
    t.equal(openssl.X509_STORE_add_cert(store, certificate), 1)
    openssl.X509_free(certificate)
    openssl.SSL_CTX_set_cert_store(context, store)
    openssl.SSL_CTX_set_verify(context, SSL_VERIFY_PEER, null)
    const protocols = Buffer.from('\x02h2\x08http/1.1')
    t.equal(openssl.SSL_CTX_set_alpn_protos(context, protocols, protocols.length), 0)
    const message = callback(
      callbacks.message,
      (isOut, _version, contentType, buffer, length) => {
        if (contentType !== SSL3_RT_HANDSHAKE) return
        t.ok(length >= 4)
        seen.push([isOut === 1, bytesAt(buffer as bigint, 1)[0] ?? -1])
      },
      onError,
    )
    openssl.SSL_CTX_set_msg_callback(context, message)
  })
  openssl.SSL_ctrl(client.ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, 0, Buffer.from('localhost\0'))
  openssl.SSL_set1_host(client.ssl, 'localhost')
  t.teardown(() => {
    client.free()
    server.free()
  })
  do {
    client.read()
    client.flushTo(server)
    server.read()
  } while (server.flushTo(client) > 0)
  return { client, server, seen, keylog }
}

for (const [name, ffi] of everyFFI) {
  for (const [index, path] of [undefined, 'libssl.so.3'].entries()) {
    t.test(`by ${name}, ${path ?? "Node's own OpenSSL"}`, { skip: skips[index] ?? false }, async (t) => {
      const openssl = findOpenSSL(path, ffi)

      t.test('TLS 1.3 and a key update', async (t) => {
        const { client, server, seen, keylog } = connect(t, openssl)
        t.equal(openssl.SSL_get_version(client.ssl), 'TLSv1.3')
        t.equal(openssl.SSL_get_verify_result(client.ssl), 0)
        t.equal(openssl.SSL_get_servername(server.ssl, TLSEXT_NAMETYPE_host_name), 'localhost')
        t.strictSame(seen[0], [true, SSL3_MT_CLIENT_HELLO])
        t.match(keylog[0], /^SERVER_HANDSHAKE_TRAFFIC_SECRET [\da-f]+ [\da-f]+$/)
        t.equal(client.keys(), server.keys())

        const [data, length] = [new BigUint64Array(1), new Uint32Array(1)]
        openssl.SSL_get0_alpn_selected(client.ssl, data, length)
        t.equal(openssl.bytesAt(data[0] as bigint, length[0] as number).toString(), 'h2')

        const certificate = openssl.SSL_get0_peer_certificate(client.ssl)
        const der = Buffer.alloc(openssl.i2d_X509(certificate, null))
        const end = new BigUint64Array(1)
        const memory = openssl.CRYPTO_malloc(der.length, null, 0) as bigint
        end[0] = memory
        openssl.i2d_X509(certificate, end)
        t.equal(end[0], memory + BigInt(der.length))
        const copy = openssl.bytesAt(memory, der.length)
        openssl.CRYPTO_free(memory, null, 0)
        t.strictSame(createHash('sha256').update(copy).digest(), fingerprint(identity.cert))

        t.equal(openssl.SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED), 1)
        client.write('ping')
        client.flushTo(server)
        t.equal(server.read(), 'ping')
        server.write('pong')
        server.flushTo(client)
        t.equal(client.read(), 'pong')
        t.strictSame(
          seen.filter(([, type]) => type === SSL3_MT_KEY_UPDATE),
          [
            [true, SSL3_MT_KEY_UPDATE],
            [false, SSL3_MT_KEY_UPDATE],
          ],
        )
      })

      t.test('TLS 1.2 and a renegotiation', async (t) => {
        const { client, server } = connect(t, openssl, (context) =>
          openssl.SSL_CTX_ctrl(context, SSL_CTRL_SET_MAX_PROTO_VERSION, TLS1_2_VERSION, null),
        )
        t.equal(openssl.SSL_version(client.ssl), TLS1_2_VERSION)
        const before = client.keys()
        t.equal(openssl.SSL_renegotiate(server.ssl), 1)
        t.equal(openssl.SSL_do_handshake(server.ssl), 1)
        t.equal(openssl.SSL_renegotiate_pending(server.ssl), 1)
        while (server.flushTo(client) > 0) {
          client.read()
          client.flushTo(server)
          server.read()
        }
        t.equal(openssl.SSL_renegotiate_pending(server.ssl), 0)
        t.not(client.keys(), before)
        t.equal(client.keys(), server.keys())
      })
    })
  }
}

function fingerprint(certificate: string): Buffer {
  return createHash('sha256').update(new X509Certificate(certificate).raw).digest()
}
