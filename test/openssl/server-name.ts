import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import type tls from 'node:tls'
import t, { type Test } from 'tap'
import type { RenegotiationOptions, RenegotiationTLSSocket } from '../../src/index.ts'
import { SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name } from '../../src/openssl/constants.ts'
import { createSecureContext as contextBy } from '../../src/openssl/context.ts'
import {
  createSecureContext,
  createServer,
  type OpenSSLServer,
  type OpenSSLServerOptions,
} from '../../src/openssl/index.ts'
import { loadOpenSSL } from '../../src/openssl/library.ts'
import { encodeSession } from '../../src/openssl/session-state.ts'
import { connected, openSSLServer, type Version, versions } from '../fixtures/openssl-pair.ts'
import { Pump } from '../fixtures/openssl-pump.ts'
import * as pki from '../fixtures/pki.ts'
import { nextError, rejection } from '../fixtures/settled.ts'
import { AlertError } from '../fixtures/tls12/connection.ts'
import { Extension } from '../fixtures/tls12/constants.ts'
import { dersOf } from '../fixtures/tls12/credentials.ts'
import type { Session } from '../fixtures/tls12/handshake-state.ts'
import { RawPeer } from '../fixtures/tls12/peer.ts'

const openssl = loadOpenSSL()

/*
 * Two server names with different authorities for clients. The client of these tests is OpenSSL, with a certificate that
 * only the first of them trusts. A client of Node or of this package would not offer a session to another server.
 */
const OWN = 'own.example'
const FOREIGN = 'foreign.example'

async function twoNames(
  t: Test,
  version: Version,
  { byCallback = false, ...options }: OpenSSLServerOptions & { byCallback?: boolean } = {},
): Promise<OpenSSLServer & { port: number }> {
  const authorities: Record<string, string> = { [OWN]: pki.ca, [FOREIGN]: pki.rogueClient.cert }
  const contexts = Object.entries(authorities).map(
    ([name, ca]) => [name, createSecureContext({ ...pki.server, ca, maxVersion: version })] as const,
  )
  const server = await openSSLServer(t, {
    maxVersion: version,
    requestCert: true,
    ...(byCallback && { SNICallback: (name, done) => setImmediate(done, null, Object.fromEntries(contexts)[name]) }),
    ...options,
  })
  if (!byCallback) for (const [name, context] of contexts) server.addContext(name, context)
  return server
}

/** What a server has accepted, or the code of its error. */
type Outcome = { servername: unknown; authorized: boolean; resumed: boolean } | { code: string | undefined }

/**
 * Connects the client, and returns what its server makes of it, and the session that it gets. `secondName`: the name in its
 * second ClientHello, which the server requests by a HelloRetryRequest.
 */
async function dial(
  t: Test,
  server: tls.Server,
  servername: string | undefined,
  session?: Buffer,
  secondName?: string | null,
) {
  const accepted = once(server, 'secureConnection') as Promise<[tls.TLSSocket]>
  const refused = once(server, 'tlsClientError') as Promise<[NodeJS.ErrnoException]>
  const { port } = server.address() as AddressInfo
  const socket = net.connect(port, '127.0.0.1')
  // The client sends a share for the first group. The server may want the second.
  const context = contextBy(openssl, { ...pki.client, ca: pki.ca, ecdhCurve: 'X25519:P-256' })
  const pump = new Pump(t, context, socket, { role: 'client', servername, session })
  context.free()
  if (secondName !== undefined) {
    const name = secondName === null ? null : Buffer.from(`${secondName}\0`)
    openssl.SSL_ctrl(pump.ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name)
  }
  const outcome: Promise<Outcome> = Promise.race([
    accepted.then(([stream]) => {
      stream.on('error', () => {}).write('tickets')
      t.teardown(() => void stream.destroy())
      const { authorized } = stream
      return {
        servername: (stream as { servername?: unknown }).servername,
        authorized,
        resumed: stream.isSessionReused(),
      }
    }),
    refused.then(([error]) => ({ code: error.code })),
  ])
  const result = await outcome
  if ('code' in result) return { result, session: undefined }
  await pump.received('tickets')
  const own = openssl.SSL_get_session(pump.ssl)
  return { result, session: own === null ? undefined : encodeSession(openssl, own) }
}

for (const version of versions) {
  for (const byCallback of [false, true]) {
    const how = byCallback ? 'SNICallback' : 'addContext()'
    t.test(`a session cannot be resumed for another server name, ${how}, ${version}`, async (t) => {
      const server = await twoNames(t, version, { byCallback })
      const { result, session } = await dial(t, server, OWN)
      t.strictSame(result, { servername: OWN, authorized: true, resumed: false })
      t.ok(session)
      const again = await dial(t, server, OWN, session)
      t.strictSame(
        again.result,
        { servername: OWN, authorized: true, resumed: true },
        'for its own name it can (control)',
      )
      t.match((await dial(t, server, FOREIGN)).result, { code: 'ECONNRESET' }, 'a full handshake is refused (control)')
      t.match((await dial(t, server, FOREIGN, session)).result, { code: 'ECONNRESET' })
      const unnamed = await dial(t, server, undefined, session)
      t.strictSame(unnamed.result, { servername: false, authorized: true, resumed: false })
      const back = await dial(t, server, OWN, unnamed.session)
      t.strictSame(back.result, { servername: OWN, authorized: true, resumed: false })
    })
  }

  t.test(`a server name may have any case, ${version}`, async (t) => {
    const server = await twoNames(t, version)
    const { result, session } = await dial(t, server, OWN.toUpperCase())
    t.strictSame(result, { servername: OWN.toUpperCase(), authorized: true, resumed: false })
    for (const offered of [undefined, session]) {
      t.match((await dial(t, server, FOREIGN.toUpperCase(), offered)).result, { code: 'ECONNRESET' })
    }
  })

  t.test(`sessions are still bound to the option sessionIdContext, ${version}`, async (t) => {
    const ticketKeys = Buffer.alloc(48, 'k')
    const options = { ...pki.server, ca: pki.ca, maxVersion: version, requestCert: true, ticketKeys }
    const servers = ['one', 'one', 'another'].map((sessionIdContext) => createServer({ ...options, sessionIdContext }))
    let session: Buffer | undefined
    for (const [index, server] of servers.entries()) {
      server.listen(0, '127.0.0.1')
      t.teardown(() => server.close())
      await once(server, 'listening')
      const { result, session: own } = await dial(t, server, OWN, session)
      t.match(result, { resumed: index === 1 })
      session ??= own
    }
  })
}

for (const byCallback of [false, true]) {
  const how = byCallback ? 'SNICallback' : 'addContext()'
  t.test(`the second ClientHello of a handshake cannot have another server name, ${how}`, async (t) => {
    const server = await twoNames(t, 'TLSv1.3', { byCallback, ecdhCurve: 'P-256' })
    const same = await dial(t, server, OWN, undefined, OWN)
    t.strictSame(same.result, { servername: OWN, authorized: true, resumed: false }, 'the same (control)')
    const refused = { code: 'ERR_SSL_CALLBACK_FAILED' }
    for (const name of [FOREIGN, null]) t.strictSame((await dial(t, server, OWN, undefined, name)).result, refused)
    t.strictSame((await dial(t, server, undefined, undefined, OWN)).result, refused)
  })
}

const scriptedClient = { key: pki.client.key, certificates: dersOf(pki.client.cert), ticket: true }

/** A scripted client of a server with two names, after the first handshake. */
async function scripted(t: Test, renegotiation: RenegotiationOptions = {}, options: OpenSSLServerOptions = {}) {
  const server = await twoNames(t, 'TLSv1.2', { renegotiation, ...options })
  const connectRaw = async (resume?: Session) => {
    const accepted = once(server, 'secureConnection') as Promise<[RenegotiationTLSSocket]>
    const raw = await RawPeer.connect({ port: server.port, servername: OWN, ...scriptedClient }, t)
    await raw.handshake({ resume })
    const [stream] = (await accepted) as [RenegotiationTLSSocket & { servername: unknown }]
    stream.on('error', () => {}).resume()
    t.teardown(() => stream.destroy())
    return { raw, stream }
  }
  return { server, connectRaw, ...(await connectRaw()) }
}

t.test('a renegotiation for another server name ends the stream, unless that is allowed', async (t) => {
  const { raw, stream } = await scripted(t)
  const failed = nextError(stream)
  await raw.renegotiate({ servername: FOREIGN }).catch(() => {})
  t.match(await failed, { code: 'ERR_RENEGOTIATION_IDENTITY_CHANGED', message: /SNI/ })
  t.equal(stream.servername, OWN)

  const allowed = await scripted(t, { allowIdentityChange: true })
  for (const servername of [OWN, FOREIGN]) {
    const over = once(allowed.stream, 'renegotiated')
    await allowed.raw.renegotiate({ servername })
    t.match(await over, [{ verified: true }], servername)
    t.equal(allowed.stream.servername, OWN)
  }
})

t.test('a client may leave the server name out of a renegotiation, and send it again later', async (t) => {
  const { raw, stream } = await scripted(t)
  for (const servername of [undefined, OWN, undefined]) {
    const over = once(stream, 'renegotiated')
    await raw.renegotiate({ servername: servername as string })
    t.match(await over, [{ verified: true }])
    t.equal(stream.servername, OWN)
  }
})

t.test('a session of a renegotiation for another server name cannot be resumed for that name', async (t) => {
  // Clients without a name are for the same authorities as those with a foreign one.
  const options = { ca: pki.rogueClient.cert }
  for (const allowIdentityChange of [false, true]) {
    for (const servername of [undefined, FOREIGN]) {
      const { server, raw, stream } = await scripted(t, { allowIdentityChange }, options)
      const over = servername && !allowIdentityChange ? nextError(stream) : once(stream, 'renegotiated')
      const { session } = raw
      await raw.renegotiate({ servername: servername as string }).catch(() => {})
      await over
      t.not(raw.session, session, 'the client has another ticket')
      const refused = once(server, 'tlsClientError')
      const again = await RawPeer.connect({ port: server.port, ...scriptedClient }, t)
      await again.handshake({ servername: servername as string, resume: raw.session }).catch(() => {})
      t.equal(again.state.resumed, false)
      await refused
    }
  }
})

t.test('a client that has resumed its session is verified by the authorities of its server name', async (t) => {
  // The authorities of clients without a name accept the client, and those of its name do not.
  const options: OpenSSLServerOptions = { requestCert: false, ca: pki.ca }
  for (const servername of [FOREIGN, undefined]) {
    const server = await twoNames(t, 'TLSv1.2', options)
    const client = { port: server.port, servername: FOREIGN, ...scriptedClient }
    const first = await RawPeer.connect(client, t)
    await first.handshake()
    const accepted = once(server, 'secureConnection') as Promise<[RenegotiationTLSSocket]>
    const raw = await RawPeer.connect(client, t)
    await raw.handshake({ resume: first.session })
    t.equal(raw.state.resumed, true)
    const [stream] = (await accepted) as [RenegotiationTLSSocket & { servername: unknown }]
    stream.on('error', () => {}).resume()
    t.equal(stream.servername, FOREIGN)
    const rejected = rejection(stream.renegotiate({ requestCert: true }))
    await raw.expect('HelloRequest')
    await raw.renegotiate({ servername: servername as string }).catch(() => {})
    t.match(await rejected, { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE' })
  }
})

t.test('a malformed server name ends the handshake, and nothing else', async (t) => {
  const asked: string[] = []
  const server = await openSSLServer(t, {
    maxVersion: 'TLSv1.2',
    SNICallback(name, done) {
      asked.push(name)
      done(null)
    },
  })
  const longest = Buffer.alloc(60_000, '-').toString('hex')
  const bodies = {
    'of 256 bytes': `0103 00 0100 ${'61'.repeat(256)}`,
    'of 60,000 bytes': `ea63 00 ea60 ${longest}`,
    empty: '',
    'too short': '0001',
    'a list with no name': '0000',
    'of another type': '00 04 01 0001 61',
    'longer than the extension': '00 04 00 0009 61',
    'with a zero byte': '00 05 00 0002 6100',
    'one of two': '00 08 00 0001 61 00 0001 62',
  }
  for (const [how, hex] of Object.entries(bodies)) {
    const body = Buffer.from(hex.replaceAll(' ', ''), 'hex')
    const refused = once(server, 'tlsClientError') as Promise<[NodeJS.ErrnoException]>
    const raw = await RawPeer.connect({ port: server.port, extensions: [[Extension.serverName, body]] }, t)
    t.type(await raw.handshake().catch((error) => error), AlertError, how)
    t.match(await refused, [{ code: /^ERR_SSL_/ }], how)
  }
  t.strictSame(asked, [], 'no callback gets such a name')
  const client = connected(t, server.port)
  await once(client, 'secureConnect')
  t.strictSame(asked, ['localhost'])
})
