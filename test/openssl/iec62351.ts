import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { Authority } from '../../examples/iec104-link/authority.ts'
import { iec62351, type RenegotiationTLSSocket } from '../../src/index.ts'
import { connect, createServer } from '../../src/openssl/index.ts'
import { nextError } from '../fixtures/settled.ts'

const authority = new Authority('test CA')
const profile = (changes: object = {}) => {
  const { key, cert } = authority.issue('station')
  return iec62351({ renegotiateEveryMs: 43_200_000, ca: authority.cert, key, cert, ...changes })
}

async function pair(t: Test, atServer: object, atClient: object) {
  const server = createServer(atServer)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const accepting = once(server, 'secureConnection') as Promise<[RenegotiationTLSSocket]>
  const client = connect({ host: '127.0.0.1', port, ...atClient })
  t.teardown(() => client.destroy())
  const [[stream]] = await Promise.all([accepting, once(client, 'secureConnect')])
  t.teardown(() => stream.destroy())
  for (const end of [client, stream]) end.on('error', () => {}).resume()
  return { client, stream }
}

t.test('the options of iec62351() are for OpenSSL as well: full handshakes at both ends', async (t) => {
  const short = { renegotiateEveryMs: [20, 60], allowShortIntervalsForTests: true }
  const crl = authority.revoke([])
  const { client, stream } = await pair(t, { ...profile(short), crl }, { ...profile(short), crl })
  t.match([client.getProtocol(), client.authorized, stream.authorized], ['TLSv1.2', true, true])
  for (let i = 0; i < 5; i++) {
    const [report] = await once(stream, 'renegotiated')
    t.match(report, { resumed: false, verified: true, authorized: true, extendedMasterSecret: true })
  }
})

t.test('resumeEveryMs: abbreviated handshakes of the server between full ones', async (t) => {
  const short = { renegotiateEveryMs: 400, allowShortIntervalsForTests: true }
  const { stream } = await pair(t, profile({ ...short, resumeEveryMs: 40 }), profile())
  const resumed: unknown[] = []
  while (resumed.filter((isResumed) => !isResumed).length < 2) {
    const [report] = await once(stream, 'renegotiated')
    t.equal(report.authorized, true)
    resumed.push(report.resumed)
  }
  t.ok(resumed.includes(true), `resumed: ${resumed.join(', ')}`)
})

t.test('a peer without the extended master secret is refused', async (t) => {
  const { key, cert } = authority.issue('server')
  // 1 is SSL_OP_NO_EXTENDED_MASTER_SECRET.
  const server = tls.createServer({ key, cert, maxVersion: 'TLSv1.2', secureOptions: 1 })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  server.on('secureConnection', (socket) => socket.on('error', () => {}))
  const client = connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, ...profile() })
  t.match(await nextError(client), { code: 'ERR_RENEGOTIATION_UNSUPPORTED', message: /RFC 7627/ })
})

t.test('options of which one was replaced are refused', async (t) => {
  for (const make of [connect, createServer] as ((options: object) => unknown)[]) {
    t.throws(() => make({ port: 1, ...profile(), rejectUnauthorized: false }), {
      name: 'TypeError',
      message: /^rejectUnauthorized must be as iec62351\(\) has set it, got false/,
    })
  }
  t.throws(() => connect({ port: 1, ...profile({ resumeEveryMs: 1 }) }), { message: /^resumeEveryMs is for a server/ })
})

t.test('setSecureContext() of a server needs such options as well', async (t) => {
  const server = createServer(profile())
  const { key, cert } = authority.issue('another')
  t.throws(() => server.setSecureContext({ key, cert }), { name: 'TypeError', message: /^setSecureContext\(\) of / })
  server.setSecureContext(profile())
  const plain = createServer({ key, cert })
  plain.setSecureContext({ key, cert })
})
