import t from 'tap'
import { trustedOption } from '../../src/transports/node-internals-socket.ts'
import { serverAuthorities, trustedBy } from '../../src/transports/tls-peer-certificates.ts'
import { authority, intermediate, server, stranger } from '../fixtures/revocation-pki.ts'

const subjects = (certificates: readonly { subject: string }[]) => certificates.map(({ subject }) => subject)

t.test('without the option ca, the root certificates of Node are trusted', async (t) => {
  t.ok(trustedBy(undefined).length > 50)
  const source = { rootCertificates: [authority.cert], getCACertificates: () => [stranger.cert] }
  t.same(subjects(trustedBy(undefined, source)), ['CN=stranger'])
  t.same(subjects(trustedBy(undefined, { rootCertificates: [authority.cert] })), ['CN=plant authority'])
  t.same(subjects(trustedBy(intermediate.cert, source)), ['CN=intermediate authority'])
})

t.test('a server trusts its ca, and its own chain may have an authority in between', async (t) => {
  const options = { ca: authority.cert, cert: server.cert + intermediate.cert }
  const { trusted, others } = serverAuthorities(options, trustedBy(stranger.cert))
  t.same(subjects(trusted), ['CN=plant authority'])
  t.same(subjects(others), ['CN=stranger', 'CN=localhost', 'CN=intermediate authority'])
})

t.test('the option ca is that of the server, or of the client', async (t) => {
  t.equal(trustedOption({ server: { ca: 'of the server' } }), 'of the server')
  t.equal(trustedOption({ [Symbol('connect-options')]: { ca: 'of the client' } }), 'of the client')
  t.equal(trustedOption({ [Symbol('connect-options')]: undefined }), undefined)
  t.equal(trustedOption({ server: {} }), undefined)
  t.equal(trustedOption({ server: null }), undefined)
})
