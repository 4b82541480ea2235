import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { OpenSSL } from '../../src/openssl/binding.ts'
import { type ContextOptions, createSecureContext } from '../../src/openssl/context.ts'
import type { SecureContext } from '../../src/openssl/secure-context.ts'
import { collectGarbage } from '../fixtures/collect-garbage.ts'
import { openssl } from '../fixtures/openssl-ends.ts'
import { dh2048, leafRevoked, pfx } from '../fixtures/openssl-pki.ts'
import { ca, server } from '../fixtures/pki.ts'

/* Tests that everything that OpenSSL allocates is freed exactly once, also after a failure. */

type Name = keyof OpenSSL

/** What makes something, and what frees it. */
const makers: Partial<Record<Name, string>> = {
  SSL_CTX_new: 'SSL_CTX',
  BIO_new: 'BIO',
  PEM_read_bio_X509_AUX: 'X509',
  PEM_read_bio_X509_CRL: 'X509_CRL',
  PEM_read_bio_PrivateKey: 'EVP_PKEY',
  PEM_read_bio_Parameters: 'EVP_PKEY',
  d2i_PKCS12_bio: 'PKCS12',
}
const freers: Partial<Record<Name, string>> = {
  SSL_CTX_free: 'SSL_CTX',
  BIO_free: 'BIO',
  X509_free: 'X509',
  X509_CRL_free: 'X509_CRL',
  EVP_PKEY_free: 'EVP_PKEY',
  PKCS12_free: 'PKCS12',
}

/** An OpenSSL that knows what was not freed yet. The call of `fails` with this number fails. */
function counting(fails?: Name, atCall = 1, returned: unknown = 0) {
  const alive = new Map<unknown, string>()
  const twice: string[] = []
  let calls = 0
  const wrapped: Record<string, unknown> = { ...openssl }
  for (const [name, run] of Object.entries(openssl) as [Name, (...args: unknown[]) => unknown][]) {
    const [made, freed] = [makers[name], freers[name]]
    if (made === undefined && freed === undefined && name !== fails) continue
    wrapped[name] = (...args: unknown[]) => {
      if (name === fails && ++calls === atCall) return returned
      if (freed !== undefined && args[0] !== null && !alive.delete(args[0])) {
        twice.push(freed)
        return undefined
      }
      const result = run(...args)
      if (made !== undefined && result !== null) alive.set(result, made)
      return result
    }
  }
  const parse = wrapped['PKCS12_parse'] as OpenSSL['PKCS12_parse']
  wrapped['PKCS12_parse'] = (...args: Parameters<OpenSSL['PKCS12_parse']>) => {
    const result = parse(...args)
    const [, , key, certificate, others] = args as unknown as [unknown, unknown, ...BigUint64Array[]]
    for (const [out, made] of [
      [key, 'EVP_PKEY'],
      [certificate, 'X509'],
    ] as const)
      if (out?.[0]) alive.set(out[0], made)
    const stack = others?.[0] || null
    for (let i = 0; i < openssl.OPENSSL_sk_num(stack); i++) alive.set(openssl.OPENSSL_sk_value(stack, i), 'X509')
    return result
  }
  const useParameters = wrapped['SSL_CTX_set0_tmp_dh_pkey'] as OpenSSL['SSL_CTX_set0_tmp_dh_pkey']
  wrapped['SSL_CTX_set0_tmp_dh_pkey'] = (...args: Parameters<OpenSSL['SSL_CTX_set0_tmp_dh_pkey']>) => {
    const result = useParameters(...args)
    if (result === 1) alive.delete(args[1])
    return result
  }
  return { counted: wrapped as unknown as OpenSSL, alive, twice }
}

const everything: ContextOptions = {
  ...server,
  ca,
  crl: leafRevoked,
  dhparam: dh2048,
  pfx: Buffer.from(pfx, 'base64'),
  passphrase: 'secret',
  allowPartialTrustChain: true,
  ticketKeys: Buffer.alloc(48),
  sessionIdContext: 'x',
  sigalgs: 'ECDSA+SHA256',
  ecdhCurve: 'P-256',
  honorCipherOrder: true,
}

t.test('all is freed, and nothing twice', async (t) => {
  const { counted, alive, twice } = counting()
  const context = createSecureContext(counted, everything)
  t.strictSame([...alive.values()], ['SSL_CTX'])
  context.free()
  context.free()
  t.strictSame([...alive.values()], [])
  t.strictSame(twice, [])
  t.throws(() => context.pointer, { message: 'The secure context was freed' })
})

t.test('a context can be disposed of', async (t) => {
  const { counted, alive } = counting()
  {
    using context = createSecureContext(counted, everything)
    t.ok(context.pointer)
  }
  t.equal(alive.size, 0)
})

t.test('a context that nobody frees is freed with its object', async (t) => {
  const { counted, alive } = counting()
  for (let i = 0; i < 5; i++) createSecureContext(counted, everything)
  t.equal(alive.size, 5)
  while (alive.size > 1) {
    collectGarbage()
    await turn()
  }
  t.pass()
})

/** Functions that can fail, with what they return then. */
const failures: [Name, unknown][] = [
  ['SSL_CTX_new', null],
  ['SSL_CTX_ctrl', 0],
  ['SSL_CTX_set_ciphersuites', 0],
  ['SSL_CTX_set_cipher_list', 0],
  ['BIO_new', null],
  ['BIO_write', -1],
  ['PEM_read_bio_X509_AUX', null],
  ['X509_STORE_add_cert', 0],
  ['SSL_CTX_add_client_CA', 0],
  ['X509_STORE_set_flags', 0],
  ['SSL_CTX_use_certificate', 0],
  ['PEM_read_bio_PrivateKey', null],
  ['SSL_CTX_use_PrivateKey', 0],
  ['SSL_CTX_set0_tmp_dh_pkey', 0],
  ['PEM_read_bio_X509_CRL', null],
  ['X509_STORE_add_crl', 0],
  ['SSL_CTX_set_session_id_context', 0],
  ['d2i_PKCS12_bio', null],
  ['PKCS12_parse', 0],
]

t.test('whatever fails, nothing is left behind', async (t) => {
  for (const [name, returned] of failures) {
    t.test(name, async (t) => {
      let failed = 0
      for (let call = 1; call < 50; call++) {
        const { counted, alive, twice } = counting(name, call, returned)
        let context: SecureContext | undefined
        try {
          context = createSecureContext(counted, everything)
        } catch (error) {
          failed++
          if (!(error instanceof Error)) t.fail('an Error is thrown')
        }
        context?.free()
        if (alive.size > 0 || twice.length > 0) t.same([[...alive.values()], twice], [[], []], `call ${call}`)
      }
      t.ok(failed > 0, `${failed} calls can fail`)
      t.equal(openssl.ERR_peek_error(), 0, 'no error is left in the queue')
    })
  }
})

t.test('roots that cannot be stored are an error, and the next context tries again', async (t) => {
  for (const [name, returned] of [
    ['X509_STORE_new', null],
    ['X509_STORE_add_cert', 0],
  ] as const) {
    const { counted, alive, twice } = counting(name, 1, returned)
    t.throws(() => createSecureContext(counted), { code: 'ERR_CRYPTO_OPERATION_FAILED' })
    t.equal(alive.size, 0)
    createSecureContext(counted).free()
    t.ok(alive.size > 100, 'the roots are kept')
    t.strictSame(twice, [])
  }
})
