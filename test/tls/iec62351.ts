import { constants, createHash, randomBytes } from 'node:crypto'
import diagnostics from 'node:diagnostics_channel'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { PassThrough } from 'node:stream'
import tls, { type SecureVersion } from 'node:tls'
import t, { type Test } from 'tap'
import { Authority, type Credentials } from '../../examples/iec104-link/authority.ts'
import {
  connect,
  createServer,
  type IEC62351Options,
  iec62351,
  type RenegotiationReport,
  type RenegotiationTLSSocket,
  type SecurityEvent,
  wrapTLSSocket,
} from '../../src/index.ts'
import { nextError, rejection } from '../fixtures/settled.ts'
import { dersOf } from '../fixtures/tls12/credentials.ts'
import type { HandshakeOptions } from '../fixtures/tls12/options.ts'
import { RawPeer } from '../fixtures/tls12/peer.ts'

const DAY = 86_400_000
/** SSL_OP_NO_EXTENDED_MASTER_SECRET and SSL_OP_NO_RENEGOTIATION, which Node has no constants for in all releases. */
const [NO_EXTENDED_MASTER_SECRET, NO_RENEGOTIATION] = [0x1, 0x4000_0000]

const authority = new Authority('test CA')
const own = authority.issue('own')
const peer = authority.issue('peer')
const crl = authority.revoke([])
const given = { ca: authority.cert, cert: own.cert, key: own.key }
const normal: IEC62351Options = { renegotiateEveryMs: DAY / 2, ...given }
const others = { ca: authority.cert, cert: peer.cert, key: peer.key }

/** The options with some of them replaced by any value. */
const profile = (changes: object = {}) => iec62351({ ...normal, ...changes } as IEC62351Options)
const bad = (changes: object) => () => profile(changes)

t.test('the intervals are those of the standard', async (t) => {
  t.match(profile().renegotiation, {
    rekey: { fullEveryMs: [DAY / 2, DAY / 2], everyMs: undefined, hardLimit: { fullMs: DAY / 2 + 120_000 } },
    resumption: undefined,
    requireExtendedMasterSecret: 'always',
  })
  t.match(profile({ renegotiateEveryMs: [600_000, DAY], resumeEveryMs: 599_999, graceMs: 1 }), {
    renegotiation: {
      rekey: { fullEveryMs: [600_000, DAY], everyMs: [599_999, 599_999], hardLimit: { fullMs: DAY + 1 } },
      resumption: true,
    },
    sessionTimeout: DAY / 1000 + 1,
  })
  t.match(profile({ renegotiateEveryMs: [7000, 14_000], resumeEveryMs: 1, allowShortIntervalsForTests: true }), {
    renegotiation: { rekey: { fullEveryMs: [7000, 14_000], everyMs: [1, 1] } },
  })
})

t.test('intervals outside the standard are errors that name the option and quote the value', async (t) => {
  for (const [changes, message] of [
    [{ renegotiateEveryMs: 599_999 }, 'renegotiateEveryMs must be from 600000 (10 min) to 86400000 (24 h), got 599999'],
    [
      { renegotiateEveryMs: DAY + 1 },
      'renegotiateEveryMs must be from 600000 (10 min) to 86400000 (24 h), got 86400001',
    ],
    [
      { renegotiateEveryMs: [DAY, DAY + 1], allowShortIntervalsForTests: true },
      'renegotiateEveryMs must be from 1 to 86400000 (24 h), got [ 86400000, 86400001 ]',
    ],
    [{ resumeEveryMs: DAY / 2 }, 'resumeEveryMs must be less than renegotiateEveryMs (43200000), got 43200000'],
    [
      { renegotiateEveryMs: [600_000, 700_000], resumeEveryMs: [1, 650_000] },
      'resumeEveryMs must be less than renegotiateEveryMs (600000), got [ 1, 650000 ]',
    ],
  ] as const) {
    t.throws(bad(changes), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE', message })
  }
  for (const name of ['renegotiateEveryMs', 'resumeEveryMs', 'graceMs']) {
    for (const value of [0, -1, NaN, Infinity, -Infinity, 2 ** 31]) {
      const message = new RegExp(`^${name} must be a number from 1 to \\d+, got ${value}$`)
      t.throws(bad({ [name]: value }), { name: 'RangeError', message })
    }
    for (const value of ['43200000', null, true, {}, 600_000n]) {
      const message = new RegExp(`^${name} must be a number, got `)
      t.throws(bad({ [name]: value }), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE', message })
    }
  }
  t.throws(bad({ renegotiateEveryMs: undefined }), {
    name: 'TypeError',
    message: 'renegotiateEveryMs is required, because it has no default. Got undefined',
  })
  t.throws(bad({ renegotiateEveryMs: [] }), { name: 'TypeError', message: /^renegotiateEveryMs must be .*, got \[\]$/ })
  t.throws(bad({ allowShortIntervalsForTests: 1 }), { message: 'allowShortIntervalsForTests must be a boolean, got 1' })
})

t.test('a missing certificate, key or trust anchor is an error', async (t) => {
  for (const name of ['cert', 'key', 'ca']) {
    for (const value of [undefined, null, '', [], ['']]) {
      t.throws(bad({ [name]: value }), { name: 'TypeError', message: new RegExp(`^${name} is required, because `) })
    }
  }
  const pfx = Buffer.from('a file that nobody reads here')
  t.match(profile({ cert: undefined, key: undefined, pfx, passphrase: 'secret' }), { pfx, passphrase: 'secret' })
  for (const value of [undefined, null, 5, 'options']) {
    t.throws(() => iec62351(value as never), { name: 'TypeError', message: /^options must be an object, got / })
  }
  t.throws(bad({ crl }), { name: 'TypeError', message: /, got 'crl'$/ })
  t.throws(bad({ renegotiateEvery: 5 }), { name: 'TypeError', message: /, got 'renegotiateEvery'$/ })
})

t.test('an own certificate of more than 8192 octets is an error', async (t) => {
  const [largest, larger] = [8192, 8193].map((octets) => authority.issue('large', { octets }))
  t.match(profile({ cert: largest?.cert }), { cert: largest?.cert })
  const chain = [Buffer.from(`${own.cert}${larger?.cert}`)]
  t.throws(bad({ cert: chain }), {
    name: 'RangeError',
    message: 'cert must have certificates of at most 8192 octets, got one of 8193',
  })
})

t.test('only cipher suites of the list are accepted', async (t) => {
  t.match(profile(), { ciphers: /^ECDHE-ECDSA-AES256-GCM-SHA384:.*:DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=2$/ })
  t.notMatch(profile().ciphers, /:AES128-SHA256/)
  t.match(profile({ ciphers: ['AES128-SHA256'] }), { ciphers: 'AES128-SHA256:@SECLEVEL=2' })
  for (const ciphers of [[], ['NULL-SHA256'], ['AES128-SHA256', 'AES128-SHA'], ['ALL:@SECLEVEL=0'], [5], [undefined]]) {
    t.throws(bad({ ciphers }), { name: 'TypeError', message: /^ciphers must be names of ECDHE-ECDSA-.*, got \[/ })
  }
  for (const ciphers of ['AES128-SHA256', null, {}]) {
    t.throws(bad({ ciphers }), { name: 'TypeError', message: /^ciphers must be an array of names, got / })
  }
})

t.test('connect() and createServer() refuse options of which one was replaced, in any order', async (t) => {
  const settings = profile()
  const replaced = {
    requestCert: false,
    rejectUnauthorized: false,
    minVersion: 'TLSv1.1',
    maxVersion: 'TLSv1.3',
    ciphers: 'ALL:@SECLEVEL=0',
    dhparam: undefined,
    ca: tls.rootCertificates,
    cert: undefined,
    key: undefined,
  }
  for (const [name, value] of Object.entries(replaced)) {
    for (const make of [connect, createServer] as ((options: object) => unknown)[]) {
      const thrown = { name: 'TypeError', message: new RegExp(`^${name} must be as iec62351\\(\\) has set it, got `) }
      t.throws(() => make({ port: 1, ...settings, [name]: value }), thrown)
      t.throws(() => make(Object.assign({}, settings, { [name]: value })), thrown)
    }
  }
  t.throws(() => connect(1, '127.0.0.1', { ...settings, rejectUnauthorized: false }), {
    message: /^rejectUnauthorized /,
  })
  const stream = {
    rekey: { everyMs: 1000 },
    requireExtendedMasterSecret: true,
  }
  for (const [name, value] of Object.entries(stream)) {
    const renegotiation = { ...settings.renegotiation, [name]: value }
    t.throws(() => createServer({ ...settings, renegotiation }), {
      message: new RegExp(`^renegotiation.${name} must be as iec62351`),
    })
  }
  t.throws(() => createServer({ ...settings, renegotiation: { peerLimit: false } }), {
    message: /^renegotiation.rekey /,
  })
  t.throws(() => createServer({ ...settings, renegotiation: undefined }), { message: /^renegotiation.rekey / })
  t.throws(() => createServer({ ...settings, renegotiation: { ...settings.renegotiation, handshakeTimeout: 0 } }), {
    message: /renegotiation.handshakeTimeout: 0 is not allowed/,
  })
  t.ok(createServer({ ...settings, renegotiation: { ...settings.renegotiation, handshakeTimeout: 10_000 } }))
  const { renegotiation } = settings
  t.throws(() => createServer({ ...others, renegotiation }), {
    message: /^cert must be .*, got another value\. Spread all/,
  })
  t.throws(() => createServer(Object.create(settings)), { message: /^\w+ must be as iec62351\(\) has set it/ })
  t.throws(() => Object.assign(renegotiation.rekey as object, { fullEveryMs: DAY }), { name: 'TypeError' })
})

t.test('no message quotes a key, a certificate or a passphrase', async (t) => {
  for (const name of ['key', 'cert', 'ca', 'pfx', 'passphrase']) {
    const value = 'something secret'
    const settings = profile({ pfx: 'a file', passphrase: 'secret' })
    const error = (() => {
      try {
        return createServer({ ...settings, [name]: value })
      } catch (error) {
        return error as Error
      }
    })()
    t.match(error, { message: new RegExp(`^${name} must be as iec62351\\(\\) has set it, got another value`) })
  }
})

t.test('options that would replace the context or weaken a renegotiation are refused', async (t) => {
  const refused: [object, RegExp][] = [
    [{ secureContext: tls.createSecureContext() }, /secureContext is not allowed/],
    [{ SNICallback: () => {} }, /SNICallback is not allowed/],
    [{ pskCallback: () => null }, /pskCallback is not allowed/],
    [{ secureProtocol: 'TLS_method' }, /secureProtocol is not allowed/],
    [{ secureOptions: constants.SSL_OP_LEGACY_SERVER_CONNECT }, /SSL_OP_LEGACY_SERVER_CONNECT/],
    [{ secureOptions: constants.SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION }, /SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION/],
    [{ secureOptions: NO_RENEGOTIATION | constants.SSL_OP_NO_TICKET }, /SSL_OP_NO_RENEGOTIATION/],
    [{ secureOptions: NO_EXTENDED_MASTER_SECRET }, /SSL_OP_NO_EXTENDED_MASTER_SECRET/],
  ]
  for (const [options, message] of refused) {
    t.throws(() => createServer({ ...profile(), ...options }), { name: 'TypeError', message })
    t.throws(() => connect({ port: 1, ...options, ...profile() }), { name: 'TypeError', message })
  }
  t.ok(createServer({ ...profile(), secureOptions: constants.SSL_OP_NO_TICKET }))
})

t.test('setSecureContext() of a server needs such options as well', async (t) => {
  const server = createServer(profile())
  t.throws(() => server.setSecureContext(others), { name: 'TypeError', message: /^setSecureContext\(\) of a server / })
  t.throws(() => server.setSecureContext({ ...profile(others), ciphers: 'ALL' }), { message: /^ciphers must be as / })
  server.setSecureContext(profile(others))
  createServer(others).setSecureContext(others)
})

t.test('a stream that a program passes on to a server with these options is emitted as it is', async (t) => {
  const { stream } = await pair(t, profile(), profile(others))
  const server = createServer(profile())
  const connections: unknown[] = []
  server.on('secureConnection', (connection) => connections.push(connection))
  const noSocket = new PassThrough()
  server.emit('secureConnection', stream)
  server.emit('secureConnection', noSocket)
  t.equal(connections[0], stream)
  t.equal(connections[1], noSocket)
})

t.test('resumeEveryMs is for a server', async (t) => {
  const settings = profile({ resumeEveryMs: 7_200_000 })
  t.throws(() => connect({ port: 1, ...settings }), {
    name: 'TypeError',
    message: 'resumeEveryMs is for a server, because a client cannot begin an abbreviated handshake, got 7200000',
  })
  t.ok(createServer(settings))
})

/** A server of this package that runs until the test is over. */
async function listening(t: Test, options: object): Promise<tls.Server & { port: number; failures: Error[] }> {
  const failures: Error[] = []
  const server = createServer({ maxVersion: 'TLSv1.2', ...options })
  server.on('tlsClientError', (error) => failures.push(error))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return Object.assign(server, { port: (server.address() as AddressInfo).port, failures })
}

const accepted = async (server: tls.Server): Promise<RenegotiationTLSSocket> =>
  ((await once(server, 'secureConnection')) as [RenegotiationTLSSocket])[0]

/** Both ends of a connection, with these options. */
async function pair(t: Test, atServer: object, atClient: object) {
  const server = await listening(t, atServer)
  const accepting = accepted(server)
  const client = connect({ host: '127.0.0.1', port: server.port, ...atClient })
  const [stream] = await Promise.all([accepting, once(client, 'secureConnect')])
  for (const end of [client, stream]) {
    end.on('error', () => {})
    t.teardown(() => end.destroy())
  }
  return { client, stream }
}

/** Tries to connect a plain client of Node to a server with the profile. Returns the errors of both ends. */
async function refused(t: Test, options: tls.ConnectionOptions, changes: object = {}) {
  const server = await listening(t, profile(changes))
  const connections = t.captureFn(() => {})
  server.on('secureConnection', connections)
  const failing = once(server, 'tlsClientError') as Promise<[NodeJS.ErrnoException]>
  const client = tls.connect({ host: '127.0.0.1', port: server.port, ...others, ...options })
  const atClient = nextError(client)
  const [error] = await failing
  t.same(connections.calls, [])
  return { atServer: error, atClient: await atClient }
}

t.test('both ends renegotiate with full handshakes and check certificates, while data flows', async (t) => {
  const short = { renegotiateEveryMs: [20, 60], allowShortIntervalsForTests: true }
  const { client, stream } = await pair(t, { ...profile(short), crl }, { crl, ...profile({ ...short, ...others }) })
  t.match([client.getProtocol(), client.authorized, stream.authorized], ['TLSv1.2', true, true])
  const reports: RenegotiationReport[] = []
  for (const end of [client, stream]) end.on('renegotiated', (report) => reports.push(report))
  const hashes = [client, stream].map((end) => {
    const hash = createHash('sha256')
    end.on('data', (chunk: Buffer) => hash.update(chunk))
    return hash
  })
  const sent = [client, stream].map(() => createHash('sha256'))
  const ended = [client, stream].map((end) => once(end, 'end'))
  await Promise.all(
    [client, stream].map(async (end, index) => {
      while (reports.length < 12) {
        const chunk = randomBytes(10_000)
        sent[1 - index]?.update(chunk)
        if (!end.write(chunk)) await once(end, 'drain')
        await new Promise(setImmediate)
      }
    }),
  )
  // The server ends when it has read the end of the client. A request that the client has not answered does no harm then.
  client.end()
  await Promise.all(ended)
  t.strictSame(
    hashes.map((hash) => hash.digest('hex')),
    sent.map((hash) => hash.digest('hex')),
  )
  for (const report of reports) {
    t.match(report, { resumed: false, freshSecret: true, verified: true, authorized: true, extendedMasterSecret: true })
  }
})

t.test('with resumeEveryMs, abbreviated handshakes of the server come between the full ones', async (t) => {
  const short = { renegotiateEveryMs: 400, allowShortIntervalsForTests: true }
  const { client, stream } = await pair(
    t,
    profile({ ...short, resumeEveryMs: 40 }),
    profile({ renegotiateEveryMs: DAY, ...others }),
  )
  client.resume()
  stream.resume()
  const kinds: boolean[] = []
  await new Promise<void>((resolve) => {
    stream.on('renegotiated', ({ resumed, origin, authorized }) => {
      t.match([origin, authorized], ['local', true])
      kinds.push(resumed === true)
      if (kinds.filter((isResumed) => !isResumed).length === 3) resolve()
    })
  })
  const counted = kinds.filter((isResumed) => isResumed).length
  t.ok(counted >= 3, `${counted} abbreviated handshakes between three full ones`)
  t.equal(stream.destroyed, false)
})

t.test('a session that was resumed at the start is followed by a full handshake at once', async (t) => {
  const server = await listening(t, profile())
  const dial = async (session?: Buffer) => {
    const accepting = accepted(server)
    const client = connect({ host: '127.0.0.1', port: server.port, ...profile(others), ...(session && { session }) })
    client.on('error', () => {}).resume()
    const [stream] = await Promise.all([accepting, once(client, 'secureConnect')])
    t.teardown(() => client.destroy())
    return { client, stream: stream.resume() }
  }
  const first = await dial()
  const session = first.client.getSession() as Buffer
  const { client, stream } = await dial(session)
  t.equal(client.isSessionReused(), true)
  const [report] = (await once(stream, 'renegotiated')) as [RenegotiationReport]
  t.match(report, { resumed: false, authorized: true })
  t.equal(first.stream.counters.renegotiations, 0)
})

t.test('a client without a certificate is refused', async (t) => {
  const { atServer } = await refused(t, { cert: undefined, key: undefined, maxVersion: 'TLSv1.2' } as object)
  t.match(atServer, { code: 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE' })
})

t.test('a client with a certificate of another authority is refused', async (t) => {
  const stranger = new Authority('another CA').issue('stranger')
  const server = await listening(t, profile())
  const connections = t.captureFn(() => {})
  server.on('secureConnection', connections)
  const { key, cert } = stranger
  const client = tls.connect({ host: '127.0.0.1', port: server.port, ...others, key, cert, maxVersion: 'TLSv1.2' })
  const [error] = (await once(client, 'error')) as [Error]
  t.ok(error)
  t.same(connections.calls, [])
})

t.test('a server without a valid certificate is refused', async (t) => {
  const { key, cert } = new Authority('another CA').issue('stranger')
  const server = await listening(t, { key, cert })
  const client = connect({ host: '127.0.0.1', port: server.port, ...profile() })
  t.match(await nextError(client), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' })
})

t.test('a certificate on the revocation list, and one that has expired, are refused', async (t) => {
  const expired = authority.issue('expired', { notAfter: new Date(Date.now() - 1000) })
  for (const [credentials, code] of [
    [peer, 'CERT_REVOKED'],
    [expired, 'CERT_HAS_EXPIRED'],
  ] as const) {
    const server = await listening(t, { key: credentials.key, cert: credentials.cert })
    const client = connect({ host: '127.0.0.1', port: server.port, ...profile(), crl: authority.revoke([peer]) })
    t.match(await nextError(client), { code })
  }
})

t.test(
  'an expired list of the option crl ends a connection (control), and one of updateCRL() is not accepted',
  async (t) => {
    const { client, stream } = await pair(t, profile(), profile(others))
    await stream.updateCRL(crl)
    await client.updateCRL(crl)
    const old = authority.revoke([], new Date(Date.now() - 1000))
    t.match(await rejection(stream.updateCRL(old)), { code: 'ERR_CRL_EXPIRED' })
    t.match([client.destroyed, stream.destroyed], [false, false])

    const server = await listening(t, { ...others })
    const refusing = connect({ host: '127.0.0.1', port: server.port, ...profile(), crl: old })
    t.match(await nextError(refusing), { code: 'CRL_HAS_EXPIRED' })
  },
)

for (const version of ['TLSv1.1', 'TLSv1.3'] as SecureVersion[]) {
  t.test(`a client with only ${version} is refused`, async (t) => {
    // Security level 0 is what allows TLS 1.1 at all.
    const options = { minVersion: version, maxVersion: version, ciphers: `${tls.DEFAULT_CIPHERS}:@SECLEVEL=0` }
    const { atServer } = await refused(t, options)
    t.match(atServer, { code: /^ERR_SSL_(UNSUPPORTED_PROTOCOL|WRONG_VERSION_NUMBER|UNKNOWN_PROTOCOL)$/ })
  })
}

t.test('a client without a cipher suite of the list is refused', async (t) => {
  for (const ciphers of ['AES128-SHA256', 'ECDHE-ECDSA-AES128-SHA', 'ECDHE-ECDSA-CHACHA20-POLY1305']) {
    const { atServer } = await refused(t, { ciphers, maxVersion: 'TLSv1.2' })
    t.match(atServer, { code: 'ERR_SSL_NO_SHARED_CIPHER' })
  }
})

t.test('a certificate with a key of RSA with 1024 bits is refused, and one with 2048 works', async (t) => {
  for (const [rsaBits, works] of [
    [1024, false],
    [2048, true],
  ] as const) {
    const { key, cert } = authority.issue('rsa', { rsaBits })
    const ciphers = 'ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=1'
    const server = await listening(t, { key, cert, ciphers })
    const client = connect({ host: '127.0.0.1', port: server.port, ...profile() })
    if (works) await once(client, 'secureConnect')
    else t.match(await nextError(client), { message: /^EE certificate key too weak$/ })
    client.destroy()
  }
})

t.test('the mandatory suites with static RSA and with DHE work with a key of RSA', async (t) => {
  const issue = (name: string) => {
    const { key, cert } = authority.issue(name, { rsaBits: 2048 })
    return { key, cert }
  }
  for (const cipher of ['AES128-SHA256', 'DHE-RSA-AES128-GCM-SHA256'] as const) {
    const ciphers = [cipher]
    const { client, stream } = await pair(t, profile({ ciphers, ...issue('a') }), profile({ ciphers, ...issue('b') }))
    t.equal(client.getCipher().name, cipher)
    stream.resume()
    t.match(await client.resume().renegotiate(), { verified: true, resumed: false, authorized: true })
  }
})

t.test('certificates of 8192 octets and five trust anchors work, with renegotiations', async (t) => {
  const authorities = Array.from({ length: 5 }, (_, index) => new Authority(`CA ${index}`))
  const ca = authorities.map(({ cert }) => cert)
  const lists = authorities.map((each) => each.revoke([]))
  const at = ({ key, cert }: Credentials) => ({ ...profile({ ca, key, cert }), crl: lists })
  for (const [index, each] of authorities.entries()) {
    const [a, b] = ['a', 'b'].map((name) => each.issue(name, { octets: 8192 })) as [Credentials, Credentials]
    const { client, stream } = await pair(t, at(a), at(b))
    client.resume()
    stream.resume()
    for (const end of [client, stream]) {
      t.match(await end.renegotiate(), { verified: true, resumed: false, authorized: true }, `CA ${index}`)
      t.equal(end.getPeerCertificate().raw.length, 8192)
    }
  }
})

/** The names of the security events of a server, and whether each has the address of the peer. */
function securityEvents(t: Test): string[] {
  const names: string[] = []
  const listener = (message: unknown) => {
    const { name, role, peer } = message as SecurityEvent
    if (role === 'server' && peer?.address === '127.0.0.1') names.push(name)
  }
  diagnostics.subscribe('renegotiation-duplex:security', listener)
  t.teardown(() => diagnostics.unsubscribe('renegotiation-duplex:security', listener))
  return names
}

/** A client with a valid certificate that misbehaves, and the server with the profile. */
async function rawClient(t: Test, raw: HandshakeOptions, settings: object = profile()) {
  const server = await listening(t, settings)
  const data = t.captureFn(() => {})
  // Listeners are added at once: the stream may end before the client has noticed that the handshake is complete.
  const accepting = new Promise<{ stream: RenegotiationTLSSocket; failed: Promise<Error>; data: typeof data }>(
    (resolve) => {
      server.on('secureConnection', (stream: RenegotiationTLSSocket) => {
        t.teardown(() => stream.destroy())
        resolve({ stream: stream.on('data', data), failed: nextError(stream), data })
      })
    },
  )
  const options = { port: server.port, key: peer.key, certificates: dersOf(peer.cert), ...raw }
  const client = await RawPeer.connect(options, t)
  const [connection] = await Promise.all([accepting, client.handshake()])
  return { client, ...connection }
}

t.test('a peer without the extended master secret is refused before data flows', async (t) => {
  const lacking = { code: 'ERR_RENEGOTIATION_UNSUPPORTED', message: /extended master secret \(RFC 7627/ }
  const events = securityEvents(t)
  const ours = await listening(t, profile())
  const connections = t.captureFn(() => {})
  ours.on('secureConnection', connections)
  const refusing = once(ours, 'tlsClientError')
  const options = { port: ours.port, key: peer.key, certificates: dersOf(peer.cert), ems: false }
  const raw = await RawPeer.connect(options, t)
  void raw.handshake().catch(() => {})
  t.match(await refusing, [lacking])
  await raw.closed
  t.same(connections.calls, [])
  t.strictSame(events, ['no-secure-renegotiation'])

  // The same for a socket of Node's own server.
  const { key, cert } = given
  const plain = tls.createServer({ ca: authority.cert, key, cert, requestCert: true, maxVersion: 'TLSv1.2' })
  plain.listen(0, '127.0.0.1')
  await once(plain, 'listening')
  t.teardown(() => plain.close())
  const data = t.captureFn(() => {})
  const wrapping = new Promise<Error>((resolve) => {
    plain.on('secureConnection', (socket) => {
      const stream = wrapTLSSocket(socket, profile().renegotiation).on('data', data)
      stream.write('not for this client')
      stream.on('error', resolve)
    })
  })
  const client = await RawPeer.connect({ ...options, port: (plain.address() as AddressInfo).port }, t)
  const after = (step: string) => void (step === 'Finished' && client.sendData('not for this server'))
  void client.handshake({ after }).catch(() => {})
  t.match(await wrapping, lacking)
  t.same(data.calls, [])
  client.destroy()

  const server = tls.createServer({ ...others, maxVersion: 'TLSv1.2', secureOptions: NO_EXTENDED_MASTER_SECRET })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const received = t.captureFn(() => {})
  server.on('secureConnection', (socket) => {
    socket.on('error', () => {}).on('data', received)
    socket.write('not for this client')
  })
  const { port } = server.address() as AddressInfo
  const connecting = connect({ host: '127.0.0.1', port, ...profile() }, received)
  connecting.on('data', received)
  connecting.write('not for this server')
  t.match(await nextError(connecting), lacking)
  t.same(received.calls, [], 'no data, and no secureConnect')
})

t.test("with TLS 1.3, requireExtendedMasterSecret: 'always' requires nothing", async (t) => {
  const renegotiation = { requireExtendedMasterSecret: 'always' } as const
  const tls13 = { maxVersion: 'TLSv1.3', minVersion: 'TLSv1.3', renegotiation }
  const { client, stream } = await pair(t, { ...others, ...tls13 }, { ...given, ...tls13 })
  stream.write('data')
  t.equal(`${(await once(client, 'data'))[0]}`, 'data')
})

t.test('without the profile, the same peer is accepted (control)', async (t) => {
  const { client } = await pair(t, others, {
    ...given,
    maxVersion: 'TLSv1.2',
    secureOptions: NO_EXTENDED_MASTER_SECRET,
  })
  t.equal(client.destroyed, false)
})

t.test('a server without RFC 5746 is refused by the client in the first handshake', async (t) => {
  const listening = await RawPeer.listen(
    { key: peer.key, certificates: dersOf(peer.cert), requestCertificate: true, renegotiationInfo: false },
    t,
  )
  const client = connect({ host: '127.0.0.1', port: listening.port, ...profile() })
  const failed = nextError(client)
  const raw = await listening.accept()
  void raw.handshake().catch(() => {})
  t.match(await failed, { code: 'ERR_SSL_UNSAFE_LEGACY_RENEGOTIATION_DISABLED' })
  raw.destroy()
})

t.test('a client without RFC 5746 is refused by the server at the first renegotiation', async (t) => {
  const short = profile({ renegotiateEveryMs: 20, allowShortIntervalsForTests: true })
  const events = securityEvents(t)
  const { client, failed } = await rawClient(t, { renegotiationInfo: false }, short)
  await client.expect('HelloRequest')
  void client.handshake().catch(() => {})
  t.match(await failed, { code: 'ERR_RENEGOTIATION_REFUSED', message: /RFC 5746/ })
  t.strictSame(events, ['no-secure-renegotiation'])
  client.destroy()
})

t.test('a renegotiation with another version of TLS is refused', async (t) => {
  const events = securityEvents(t)
  const { client, failed } = await rawClient(t, {})
  void client.handshake({ version: 0x0302 }).catch(() => {})
  t.match(await failed, { code: 'ERR_RENEGOTIATION_REFUSED', cause: { code: /VERSION|PROTOCOL/ } })
  t.strictSame(events, ['version-change'])
  client.destroy()
})

t.test('a client that does not answer is ended when the grace is over', async (t) => {
  const short = profile({ renegotiateEveryMs: 20, graceMs: 50, allowShortIntervalsForTests: true })
  const events = securityEvents(t)
  const { client, failed } = await rawClient(t, {}, short)
  await client.expect('HelloRequest')
  t.match(await failed, { code: 'ERR_RENEGOTIATION_KEYS_EXPIRED', message: /no full handshake within/ })
  t.strictSame(events, ['renegotiation-overdue'])
  client.destroy()
})

t.test('a client that resumes its session again and again cannot put off the full handshake', async (t) => {
  const short = profile({
    renegotiateEveryMs: 300,
    resumeEveryMs: 250,
    graceMs: 2000,
    allowShortIntervalsForTests: true,
  })
  const settings = { ...short, renegotiation: { ...short.renegotiation, peerLimit: false } }
  const { client, stream, failed } = await rawClient(t, { ticket: true }, settings)
  const { session } = client
  const resumed: unknown[] = []
  stream.on('renegotiated', (report) => resumed.push(report.resumed))
  const isOver = () => resumed.includes(false) || stream.destroyed
  while (!isOver()) {
    await client.handshake({ resume: session }).catch(() => {})
    await new Promise(setImmediate)
  }
  t.ok(resumed.includes(true), `${resumed.length} handshakes`)
  // Which of the two it is depends on whether the server finds a moment between the handshakes of the client.
  if (stream.destroyed) t.match(await failed, { code: 'ERR_RENEGOTIATION_KEYS_EXPIRED' })
  else t.match(stream, { authorized: true })
  client.destroy()
})

t.test(
  'wrapTLSSocket() takes the options of the stream, and requires the extended master secret as well',
  async (t) => {
    const server = tls.createServer({ ...others, maxVersion: 'TLSv1.2' })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => server.close())
    server.on('secureConnection', (socket) => socket.on('error', () => {}))
    const { port } = server.address() as AddressInfo
    const socket = tls.connect({ host: '127.0.0.1', port, ...given, secureOptions: NO_EXTENDED_MASTER_SECRET })
    await once(socket, 'secureConnect')
    const stream = wrapTLSSocket(socket, profile().renegotiation)
    t.match(await nextError(stream), { code: 'ERR_RENEGOTIATION_UNSUPPORTED' })
    t.match(await rejection(stream.renegotiate()), { code: 'ERR_RENEGOTIATION_CLOSED' })
  },
)
