import t from 'tap'
import type { ContextOptions } from '../../src/openssl/context.ts'
import {
  acceptEveryCertificate,
  verifyError,
  verifyErrorCode,
  verifyErrorMessage,
  verifyMode,
} from '../../src/openssl/verify.ts'
import { type EndOptions, nodeEnds, openssl, ownClient, ownServer } from '../fixtures/openssl-ends.ts'
import { emptyList, intermediate, leaf, leafRevoked, root, rootList } from '../fixtures/openssl-pki.ts'
import { ca, client, rogueClient, server } from '../fixtures/pki.ts'

const asked = { requestCert: true, rejectUnauthorized: false }
const chain = { key: leaf.key, cert: `${leaf.cert}\n${intermediate}` }

/** Trust in a certificate of the peer, by what is wrong with it. */
const cases: Record<string, { peer: ContextOptions; trust: ContextOptions; code: string | null }> = {
  'a good certificate': { peer: server, trust: { ca }, code: null },
  'a good chain': { peer: chain, trust: { ca: root }, code: null },
  'a certificate of an unknown authority': {
    peer: server,
    trust: { ca: root },
    code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  },
  'a certificate that is trusted by nobody': { peer: server, trust: {}, code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' },
  'a self-signed certificate': { peer: rogueClient, trust: { ca }, code: 'DEPTH_ZERO_SELF_SIGNED_CERT' },
  'a chain without its root': { peer: chain, trust: { ca }, code: 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY' },
  'a chain whose root is not trusted': {
    peer: { ...chain, cert: `${chain.cert}\n${root}` },
    trust: { ca },
    code: 'SELF_SIGNED_CERT_IN_CHAIN',
  },
  'a trusted intermediate authority': {
    peer: { key: leaf.key, cert: leaf.cert },
    trust: { ca: intermediate },
    code: 'UNABLE_TO_GET_ISSUER_CERT',
  },
  'a trusted intermediate authority with allowPartialTrustChain': {
    peer: { key: leaf.key, cert: leaf.cert },
    trust: { ca: intermediate, allowPartialTrustChain: true },
    code: null,
  },
  'a certificate that is not revoked': {
    peer: chain,
    trust: { ca: root, crl: [rootList, emptyList] },
    code: null,
  },
  'a revoked certificate': { peer: chain, trust: { ca: root, crl: [rootList, leafRevoked] }, code: 'CERT_REVOKED' },
  'a certificate without a list': { peer: chain, trust: { ca: root, crl: rootList }, code: 'UNABLE_TO_GET_CRL' },
  'a list without an authority': { peer: server, trust: { crl: rootList }, code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' },
}

for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
  for (const [name, { peer, trust, code }] of Object.entries(cases)) {
    t.test(`${name} over ${maxVersion}`, async (t) => {
      const toClient: EndOptions = { server: { ...peer, maxVersion }, client: trust }
      const node = await nodeEnds(t, toClient)
      const own = await ownClient(t, toClient)
      const nothing = node.client.authorizationError ?? null
      t.same(nothing, code, 'a client of Node')
      t.same(verifyError(openssl, own.client.pump.ssl)?.code ?? null, code, 'our client')

      const toServer: EndOptions = { server: { ...server, ...trust, ...asked, maxVersion }, client: peer }
      const { server: nodeServer } = await nodeEnds(t, toServer)
      const { server: ownEnd } = await ownServer(t, toServer)
      // The servers of Node do not pass allowPartialTrustChain on to their context.
      const expected = trust.allowPartialTrustChain ? 'UNABLE_TO_GET_ISSUER_CERT' : code
      t.same(nodeServer.authorizationError ?? null, expected, 'a server of Node')
      t.same(verifyError(openssl, ownEnd.pump.ssl)?.code ?? null, code, 'our server')
    })
  }
}

t.test('a peer without a certificate is an error', async (t) => {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const options: EndOptions = { server: { ...server, ca, ...asked, maxVersion }, client: { ca } }
    const { server: end } = await ownServer(t, options)
    const { server: node } = await nodeEnds(t, options)
    t.match(verifyError(openssl, end.pump.ssl), {
      message: 'unable to get issuer certificate',
      code: 'UNABLE_TO_GET_ISSUER_CERT',
    })
    t.same(node.authorizationError, 'UNABLE_TO_GET_ISSUER_CERT')
  }
})

t.test('a resumed session of TLS 1.3 needs no certificate', async (t) => {
  const ticketKeys = Buffer.alloc(48, 1)
  const options: EndOptions = { server: { ...server, ca, ...asked, ticketKeys }, client: { ca } }
  const node = await nodeEnds(t, options)
  const first = await ownServer(t, options)
  t.ok(node.server.authorizationError, 'the first one does')
  const session = first.client.getSession() as Buffer
  const second = await ownServer(t, { ...options, client: { ca, session } as ContextOptions })
  t.equal(second.server.isSessionReused(), true)
  t.equal(verifyError(openssl, second.server.pump.ssl), null)
})

t.test('a client without a certificate is refused during the handshake if that is required', async (t) => {
  const options: EndOptions = {
    server: { ...server, ca, requestCert: true, maxVersion: 'TLSv1.2' },
    client: { ca },
  }
  await t.rejects(ownServer(t, options), { code: 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE' })
})

t.test('before a handshake, the peer has not proven anything', async (t) => {
  const { client: end } = await ownClient(t, { server, client: { ca, ...client } })
  const ssl = openssl.SSL_new(openssl.SSL_get_SSL_CTX(end.pump.ssl))!
  t.equal(verifyError(openssl, ssl)?.code, 'UNABLE_TO_GET_ISSUER_CERT')
  openssl.SSL_free(ssl)
})

t.test('a peer that proved a pre-shared key needs no certificate', async (t) => {
  const { client: end } = await ownClient(t, { server: { ...server, maxVersion: 'TLSv1.2' }, client: { ca } })
  const NID_auth_psk = 1048
  const psk = { ...openssl, SSL_get0_peer_certificate: () => null, SSL_CIPHER_get_auth_nid: () => NID_auth_psk }
  t.equal(verifyError(psk, end.pump.ssl), null)
})

t.test('the code of an error is its name in Node', async (t) => {
  t.equal(verifyErrorCode(21), 'UNABLE_TO_VERIFY_LEAF_SIGNATURE')
  t.equal(verifyErrorCode(79), 'INVALID_CA')
  t.equal(verifyErrorCode(1), 'UNSPECIFIED')
  t.equal(verifyErrorCode(24), 'UNSPECIFIED', 'a new meaning in OpenSSL 3, of which Node does not know')
  t.equal(verifyErrorMessage(openssl, 10), 'certificate has expired')
})

t.test('the mode of a server follows its options', async (t) => {
  t.equal(verifyMode({}), 0)
  t.equal(verifyMode({ rejectUnauthorized: true }), 0)
  t.equal(verifyMode({ requestCert: true }), 3)
  t.equal(verifyMode({ requestCert: true, rejectUnauthorized: undefined }), 3)
  t.equal(verifyMode({ requestCert: true, rejectUnauthorized: false }), 1)
})

t.test('there is one callback for all connections', async (t) => {
  t.equal(acceptEveryCertificate(openssl), acceptEveryCertificate(openssl))
})
