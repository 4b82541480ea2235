import type tls from 'node:tls'
import type { TLSSocket } from 'node:tls'
import t from 'tap'
import type { OpenSSL } from '../../src/openssl/binding.ts'
import { createSecureContext } from '../../src/openssl/context.ts'
import { SessionFacts } from '../../src/openssl/session-facts.ts'
import {
  type EndOptions,
  type Ends,
  nodeEnds,
  type OwnEnd,
  openssl,
  ownClient,
  ownServer,
} from '../fixtures/openssl-ends.ts'
import { intermediate, leaf, root, selfSigned } from '../fixtures/openssl-pki.ts'
import { ca, client, rsaServer, server } from '../fixtures/pki.ts'

/* Tests that a connection tells of its session what a TLSSocket of Node in its place tells. */

const mutual = { requestCert: true, rejectUnauthorized: true }
const asked = { requestCert: true, rejectUnauthorized: false }
const chain = { key: leaf.key, cert: `${leaf.cert}\n${intermediate}`, ca: root }
const cases: Record<string, EndOptions> = {
  'TLS 1.3': { server: { ...server }, client: { ca }, alpn: ['h2', 'mqtt'], servername: 'localhost' },
  'TLS 1.2': {
    server: { ...server, maxVersion: 'TLSv1.2' },
    client: { ca },
    alpn: ['h2', 'mqtt'],
    servername: 'localhost',
  },
  'TLS 1.3 without a name and a protocol': { server: { ...server }, client: { ca } },
  'TLS 1.2 without a name and a protocol': { server: { ...server, maxVersion: 'TLSv1.2' }, client: { ca } },
  'TLS 1.3 with a client certificate': { server: { ...server, ca, ...mutual }, client: { ca, ...client } },
  'TLS 1.2 with a client certificate': {
    server: { ...server, ca, ...mutual, maxVersion: 'TLSv1.2' },
    client: { ca, ...client },
  },
  'TLS 1.3 without the requested client certificate': {
    server: { ...server, ca, ...asked },
    client: { ca },
  },
  'TLS 1.3 with chains': { server: { ...chain, ...mutual }, client: chain },
  'TLS 1.2 with chains': { server: { ...chain, ...mutual, maxVersion: 'TLSv1.2' }, client: chain },
  'TLS 1.3 with chains in a wrong order': {
    server: { ...chain, cert: `${leaf.cert}\n${root}\n${intermediate}`, ...mutual },
    client: { ...chain, cert: `${leaf.cert}\n${root}\n${intermediate}` },
  },
  'TLS 1.3 with unknown issuers': {
    server: { key: leaf.key, cert: leaf.cert, ca, ...asked },
    client: { key: leaf.key, cert: leaf.cert, ca },
  },
  'TLS 1.3 with a self-signed certificate of RSA': { server: { ...rsaServer }, client: { ca: rsaServer.cert } },
  'TLS 1.2 with an exchange of RSA': {
    server: { ...rsaServer, ciphers: 'AES128-SHA256', maxVersion: 'TLSv1.2' },
    client: { ca: rsaServer.cert },
  },
  'TLS 1.2 with DHE': {
    server: { ...rsaServer, dhparam: 'auto', ciphers: 'DHE-RSA-AES128-GCM-SHA256', maxVersion: 'TLSv1.2' },
    client: { ca: rsaServer.cert },
  },
  'TLS 1.3 with a self-signed certificate that must not sign': {
    server: { ...selfSigned, ca: selfSigned.cert, ...asked },
    client: { ...selfSigned, ca: selfSigned.cert },
  },
  'TLS 1.3 with P-384': { server: { ...server, ecdhCurve: 'P-384' }, client: { ca } },
  'TLS 1.2 with P-256': { server: { ...server, ecdhCurve: 'prime256v1', maxVersion: 'TLSv1.2' }, client: { ca } },
  'TLS 1.3 with X448': { server: { ...server, ecdhCurve: 'X448' }, client: { ca, ecdhCurve: 'X448' } },
}

/** What is the same for every connection with these options. */
function constantFacts(end: TLSSocket | SessionFacts) {
  const { alpnProtocol, servername } = end as SessionFacts
  return {
    alpnProtocol,
    servername,
    certificate: end.getCertificate(),
    x509: (end.getX509Certificate() as { raw?: Buffer } | undefined)?.raw,
    cipher: end.getCipher(),
    // Node 26 has properties for what is unknown, which are undefined.
    ephemeralKeyInfo: JSON.parse(JSON.stringify(end.getEphemeralKeyInfo())) as unknown,
    peerCertificate: end.getPeerCertificate(),
    detailed: chainOf(end.getPeerCertificate(true) as tls.DetailedPeerCertificate),
    protocol: end.getProtocol(),
    isSessionReused: end.isSessionReused(),
    sharedSigalgs: end.getSharedSigalgs(),
    hasTicket: end.getTLSTicket() !== undefined,
    // Last: on the client, Node 20 to 24 takes the certificate away.
    peerX509: issuersOf(end.getPeerX509Certificate()),
  }
}

type Facts = ReturnType<typeof constantFacts>

/** Takes what some releases of Node do not tell out of both. */
function allowForNode(actual: Facts, expected: Facts): void {
  // Node 24.21: a server takes the chain of a requested certificate away itself, before the application can read it.
  if (process.version.startsWith('v24.') && expected.ephemeralKeyInfo === null) {
    for (const facts of [actual, expected]) {
      facts.detailed = facts.detailed.slice(0, 1)
      facts.peerX509 = facts.peerX509.slice(0, 1)
    }
  }
  // Node 22: nothing about groups that are not of the classic kinds.
  const { type } = (actual.ephemeralKeyInfo ?? {}) as { type?: string }
  if (type === 'TLSGroup' && process.version.startsWith('v22.')) actual.ephemeralKeyInfo = {}
}

/** A detailed certificate as a list. The last element says whether the last certificate is its own issuer. */
function chainOf(certificate: tls.DetailedPeerCertificate): unknown[] {
  const { issuerCertificate, ...own } = certificate
  if (issuerCertificate === undefined) return [own]
  return issuerCertificate === certificate ? [own, 'itself'] : [own, ...chainOf(issuerCertificate)]
}

function issuersOf(certificate: ReturnType<TLSSocket['getPeerX509Certificate']>): unknown[] {
  return certificate === undefined ? [] : [certificate.subject, ...issuersOf(certificate.issuerCertificate)]
}

const exported = (end: TLSSocket | SessionFacts) => [
  end.exportKeyingMaterial(32, 'EXPERIMENTAL a', Buffer.from('context')),
  (end as SessionFacts).exportKeyingMaterial(16, 'EXPERIMENTAL b'),
]

t.test('a chain is told to its root', async (t) => {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    for (const role of ['client', 'server'] as const) {
      const what = cases[`${maxVersion.replace('v', ' ')} with chains`] as EndOptions
      const ends: Ends = await (role === 'client' ? ownClient : ownServer)(t, what)
      const own = ends[role] as OwnEnd
      const detailed = chainOf(own.getPeerCertificate(true) as tls.DetailedPeerCertificate)
      t.equal(detailed.length, 4)
      t.equal(detailed[3], 'itself')
      for (let i = 0; i < 2; i++) t.equal(issuersOf(own.getPeerX509Certificate()).length, 2, 'on each call')
    }
  }
})

for (const [name, what] of Object.entries(cases)) {
  t.test(name, async (t) => {
    const node = await nodeEnds(t, what)
    for (const role of ['client', 'server'] as const) {
      const ends: Ends = await (role === 'client' ? ownClient : ownServer)(t, what)
      const other = ends[role === 'client' ? 'server' : 'client'] as TLSSocket
      const own = ends[role] as OwnEnd
      const [actual, expected] = [constantFacts(own), constantFacts(node[role])]
      allowForNode(actual, expected)
      t.strictSame(actual, expected, `a ${role} tells the same as a TLSSocket`)
      t.strictSame(own.getFinished(), other.getPeerFinished(), 'its Finished message is what the peer has received')
      t.strictSame(own.getPeerFinished(), other.getFinished(), "the peer's Finished message is what the peer has sent")
      t.strictSame(exported(own), exported(other), 'both ends export the same keying material')
      t.type(own.getSession(), Buffer)
    }
  })
}

t.test('before a handshake there is nothing to tell', async (t) => {
  const context = createSecureContext(openssl, server)
  const ssl = openssl.SSL_new(context.pointer)!
  t.teardown(() => openssl.SSL_free(ssl))
  context.free()
  openssl.SSL_set_connect_state(ssl)
  const facts = new SessionFacts(openssl, ssl)
  t.strictSame(facts.alpnProtocol, false)
  t.strictSame(facts.servername, false)
  t.strictSame(facts.getCipher(), undefined)
  t.strictSame(facts.getEphemeralKeyInfo(), {})
  t.strictSame(facts.getFinished(), undefined)
  t.strictSame(facts.getPeerFinished(), undefined)
  t.strictSame(facts.getPeerCertificate(true), {})
  t.strictSame(facts.getPeerX509Certificate(), undefined)
  t.strictSame(facts.getSession(), undefined)
  t.strictSame(facts.getTLSTicket(), undefined)
  t.strictSame(facts.getSharedSigalgs(), [])
  t.equal(facts.isSessionReused(), false)
  t.throws(() => facts.exportKeyingMaterial(32, 'EXPERIMENTAL a'), { code: 'ERR_TLS_INVALID_STATE' })
})

t.test('exportKeyingMaterial refuses the same arguments as Node', async (t) => {
  const { client: own, server: node } = await ownClient(t, { server, client: { ca } })
  const cases: [unknown[], code: string][] = [
    [[], 'ERR_INVALID_ARG_TYPE'],
    [['32', 'label'], 'ERR_INVALID_ARG_TYPE'],
    [[0, 'label'], 'ERR_OUT_OF_RANGE'],
    [[1.5, 'label'], 'ERR_OUT_OF_RANGE'],
    [[32], 'ERR_INVALID_ARG_TYPE'],
    [[32, 'label', 'context'], 'ERR_INVALID_ARG_TYPE'],
  ]
  for (const [args, code] of cases) {
    for (const end of [own, node]) t.throws(() => Reflect.apply(end.exportKeyingMaterial, end, args), { code })
  }
})

t.test('keying material that OpenSSL refuses to export is the error of Node', async (t) => {
  const tls12 = { server: { ...server, maxVersion: 'TLSv1.2' as const }, client: { ca } }
  const { client: own, server: node } = await ownClient(t, tls12)
  // RFC 5705, section 4, reserves the labels of TLS itself.
  for (const end of [own, node]) {
    t.throws(() => Reflect.apply(end.exportKeyingMaterial, end, [32, 'client finished']), {
      code: 'ERR_SSL_TLS_ILLEGAL_EXPORTER_LABEL',
    })
  }
})

t.test('what OpenSSL has no name for is told all the same', async (t) => {
  const { client: end } = await ownClient(t, { server, client: { ca, ecdhCurve: 'X25519' } })
  const facts = (changes: Partial<OpenSSL>) => new SessionFacts({ ...openssl, ...changes }, end.pump.ssl)
  t.match(facts({ EVP_PKEY_get_id: () => -1 }).getEphemeralKeyInfo(), { type: 'TLSGroup', name: /x25519/i })
  t.match(facts({ EVP_PKEY_get_id: () => -1, SSL_group_to_name: () => null }).getEphemeralKeyInfo(), {})
  const unknown = facts({
    SSL_get_shared_sigalgs: (_ssl, _index, sign) => {
      if (sign !== null) new Int32Array(sign.buffer)[0] = 1
      return 1
    },
    OBJ_nid2sn: (nid) => (nid === 1 ? 'sign' : null),
  })
  t.strictSame(unknown.getSharedSigalgs(), ['sign+UNDEF'])
  t.equal(facts({ i2d_SSL_SESSION: () => -1 }).getSession(), undefined)
  const certificate = facts({ i2d_X509: () => -1 })
  for (const read of [() => certificate.getPeerCertificate(), () => certificate.getPeerX509Certificate()]) {
    t.throws(read, { code: 'ERR_CRYPTO_OPERATION_FAILED' })
  }
})

t.test('a resumed session is told as in Node', async (t) => {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const options = { server: { ...server, maxVersion, ticketKeys: Buffer.alloc(48, 1) }, client: { ca } }
    const first = await ownClient(t, options)
    const { client: own } = await ownClient(t, { ...options, session: first.client.getSession() })
    t.equal(first.client.isSessionReused(), false)
    t.equal(own.isSessionReused(), true)
    t.strictSame(own.getPeerCertificate(true), {}, 'as in Node, the chain is not part of a saved session')
  }
})
