import { PassThrough } from 'node:stream'
import tls from 'node:tls'
import t from 'tap'
import { createSecureContext } from '../../src/openssl/context.ts'
import { loadOpenSSL } from '../../src/openssl/library.ts'
import { checkOptions, type Kind } from '../../src/openssl/options.ts'

/* Tests of the options of a connection and a server. Those of a secure context: see context-errors.ts. */

const openssl = loadOpenSSL()
const code = 'ERR_INVALID_ARG_VALUE'
const both = {
  certificateCompression: ['zlib'],
  clientCertEngine: 'engine',
  enableTrace: true,
  privateKeyEngine: 'engine',
  privateKeyIdentifier: 'key',
  pskCallback: () => null,
  secureProtocol: 'TLSv1_2_method',
}
const unsupported = {
  connect: { ...both, onread: {}, requestOCSP: true },
  server: { ...both, pauseOnConnect: true, pskIdentityHint: 'hint' },
}

for (const kind of ['connect', 'server'] as const) {
  for (const [name, value] of Object.entries(unsupported[kind])) {
    t.test(`${kind} refuses ${name} by name`, async (t) => {
      t.throws(() => checkOptions(kind, { [name]: value }), {
        name: 'TypeError',
        code,
        message: new RegExp(`^The option ${name} is not supported over OpenSSL: .*\\. Got `),
      })
      for (const nothing of [undefined, null, false]) checkOptions(kind, { [name]: nothing })
      t.pass('a value that asks for nothing is accepted')
    })
  }

  t.test(`${kind} accepts all other documented options, and names that Node does not know`, async () => {
    checkOptions(kind, {
      ALPNProtocols: ['h2'],
      allowHalfOpen: true,
      autoSelectFamily: true,
      blockList: undefined,
      ca: 'x',
      cert: 'x',
      checkServerIdentity: tls.checkServerIdentity,
      ciphers: 'x',
      handshakeTimeout: 1000,
      host: 'localhost',
      key: 'x',
      lookup: () => {},
      minDHSize: 1024,
      minVersion: 'TLSv1.2',
      noDelay: true,
      path: '/x',
      port: 1,
      rejectUnauthorized: false,
      requestCert: true,
      servername: 'localhost',
      session: Buffer.alloc(1),
      SNICallback: () => {},
      socket: new PassThrough(),
      timeout: 1,
      whatever: { of: 'the application' },
    })
  })

  t.test(`${kind} accepts a secure context of this module only`, async (t) => {
    using context = createSecureContext(openssl)
    checkOptions(kind, { secureContext: context })
    for (const nothing of [undefined, null, false]) checkOptions(kind, { secureContext: nothing })
    for (const secureContext of [tls.createSecureContext(), {}, 5]) {
      t.throws(() => checkOptions(kind, { secureContext }), {
        name: 'TypeError',
        code,
        message: /Pass ca, cert and key/,
      })
    }
  })

  t.test(`${kind} refuses options that are not an object`, async (t) => {
    for (const options of [5, 'x', null, undefined, []]) {
      t.throws(() => checkOptions(kind, options as object), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' })
    }
  })
}

t.test('a value of the wrong type is the error of Node', async (t) => {
  const type = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }
  const cases: [Exclude<Kind, 'context'>, object, { name: string; code: string }][] = [
    ['connect', { checkServerIdentity: 1 }, type],
    ['connect', { checkServerIdentity: null }, type],
    ['connect', { minDHSize: null }, type],
    ['connect', { minDHSize: '1024' }, type],
    ['connect', { minDHSize: 0 }, { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' }],
    ['connect', { minDHSize: Number.NaN }, { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' }],
    ['connect', { servername: 1 }, type],
    ['connect', { servername: '127.0.0.1' }, { name: 'TypeError', code }],
    ['server', { ALPNCallback: 1 }, type],
    ['server', { handshakeTimeout: '1' }, type],
    ['server', { SNICallback: {} }, type],
    [
      'server',
      { ALPNCallback: () => {}, ALPNProtocols: ['x'] },
      { name: 'TypeError', code: 'ERR_TLS_ALPN_CALLBACK_WITH_PROTOCOLS' },
    ],
  ]
  for (const [kind, options, error] of cases) t.throws(() => checkOptions(kind, options), error)
})

t.test('undefined counts as absent, as do other falsy values where Node takes them for that', async (t) => {
  checkOptions('connect', { checkServerIdentity: undefined, minDHSize: undefined, servername: '' })
  checkOptions('server', { ALPNCallback: null, handshakeTimeout: 0, SNICallback: false })
  t.pass()
})

t.test('an option of the other function is ignored, as in Node', async (t) => {
  checkOptions('connect', { ALPNCallback: 1, handshakeTimeout: '1', pauseOnConnect: true, pskIdentityHint: 1 })
  checkOptions('server', { checkServerIdentity: 1, minDHSize: '1', onread: {}, requestOCSP: true, servername: '::1' })
  t.pass()
})
