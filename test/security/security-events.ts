/* A hostile or broken peer, or the application, tries to make a security event that is missing, wrong, false, or there twice. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import {
  connect,
  createServer,
  type RenegotiationServer,
  type RenegotiationServerOptions,
  type RenegotiationTLSSocket,
  type SecurityEvent,
  wrapTLSSocket,
} from '../../src/index.ts'
import * as openSSL from '../../src/openssl/index.ts'
import { attackedServer } from '../fixtures/attack.ts'
import { makePEM } from '../fixtures/make-crl.ts'
import { versions } from '../fixtures/openssl-pair.ts'
import { ca, server as identity, rsaServer } from '../fixtures/pki.ts'
import { authority, constrained, expired, notPermitted } from '../fixtures/refused-pki.ts'
import { listening } from '../fixtures/security-events.ts'
import { closed, rejection } from '../fixtures/settled.ts'
import { clientOptions, tlsPair, tlsServer } from '../fixtures/tls-pair.ts'

/** What there is after another turn of the event loop, in which a second event for the same failure would come. */
async function seen(events: readonly SecurityEvent[], of: 'client' | 'server'): Promise<string[]> {
  await new Promise(setImmediate)
  return events.filter(({ role }) => role === of).map(({ name, severity, code }) => `${severity} ${name} ${code}`)
}

async function start(t: Test, server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

const trusted = [ca, authority.cert, constrained.cert]
interface Stack {
  readonly stack: string
  readonly connect: (options: tls.ConnectionOptions) => RenegotiationTLSSocket
  readonly createServer: (options: RenegotiationServerOptions) => RenegotiationServer
}

const stacks: readonly Stack[] = [
  { stack: 'Node', connect, createServer },
  { stack: 'OpenSSL', ...openSSL } as unknown as Stack,
]

for (const { stack, createServer, connect } of stacks) {
  for (const version of versions) {
    const only = { minVersion: version, maxVersion: version } as const

    for (const [who, event] of [
      [notPermitted, 'error certificate-invalid UNSPECIFIED'],
      [expired, 'error certificate-expired CERT_HAS_EXPIRED'],
    ] as const) {
      t.test(`${stack}, ${version}: ${event} at a server and at a client`, async (t) => {
        const events = listening(t)
        const server = createServer({ ...identity, ca: trusted, requestCert: true, ...only })
        const failed = once(server, 'tlsClientError')
        const port = await start(t, server)
        tls.connect(clientOptions(port, { ...who, ca })).on('error', () => {})
        await failed
        t.same(await seen(events, 'server'), [event])

        const far = await tlsServer(t, { ...who, ...only })
        for (const early of [false, true]) {
          events.length = 0
          const stream = connect(clientOptions(far.port, { ca: trusted })).on('error', () => {})
          if (early) stream.write('early')
          await closed(stream)
          t.same(await seen(events, 'client'), [event])
        }
      })
    }

    t.test(`${stack}, ${version}: a revoked client whose certificate does not verify either`, async (t) => {
      const events = listening(t)
      const server = createServer({ ...identity, ca: trusted, requestCert: true, rejectUnauthorized: false, ...only })
      const port = await start(t, server)
      await server.updateCRL(makePEM(constrained, { revoked: [notPermitted.cert] }))
      const failed = once(server, 'tlsClientError')
      tls.connect(clientOptions(port, { ...notPermitted, ca })).on('error', () => {})
      await failed
      t.same(await seen(events, 'server'), ['alert certificate-revoked ERR_RENEGOTIATION_REVOKED'])
    })

    t.test(`${stack}, ${version}: a client whose own check refuses the server`, async (t) => {
      const events = listening(t)
      const { port } = await tlsServer(t, only)
      const own = Object.assign(new Error('another key'), { code: 'of the peer:\n<8>1 forged' })
      await closed(connect(clientOptions(port, { checkServerIdentity: () => own })).on('error', () => {}))
      t.same(await seen(events, 'client'), ['error certificate-invalid undefined'])
    })

    t.test(`${stack}, ${version}: a server requires a certificate of a client that has written early`, async (t) => {
      const events = listening(t)
      const server = await tlsServer(t, { requestCert: true, ...only })
      server.on('tlsClientError', () => {})
      const stream = connect(clientOptions(server.port, { key: undefined, cert: undefined }))
      stream.on('error', () => {}).resume()
      stream.write('early')
      await closed(stream)
      // Since OpenSSL 3.2, the first one is SSL/TLS_ALERT_HANDSHAKE_FAILURE.
      const expected =
        version === 'TLSv1.2'
          ? /^error handshake-failed ERR_SSL_SSL[\w/]*_ALERT_HANDSHAKE_FAILURE$/
          : /^error certificate-rejected ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED$/
      const [event, ...more] = await seen(events, 'client')
      t.match(event, expected)
      t.same(more, [])
    })
  }

  t.test(`${stack}: a server's DH parameters are too small`, async (t) => {
    const events = listening(t)
    const ciphers = 'DHE-RSA-AES128-GCM-SHA256'
    const { port } = await tlsServer(t, { ...rsaServer, ciphers, dhparam: 'auto' })
    const options = { ciphers, minDHSize: 8192, rejectUnauthorized: false, maxVersion: 'TLSv1.2' } as const
    await closed(connect(clientOptions(port, options)).on('error', () => {}))
    t.same(await seen(events, 'client'), ['error handshake-failed ERR_TLS_DH_PARAM_SIZE'])
  })

  t.test(`${stack}: a server that speaks no TLS`, async (t) => {
    const events = listening(t)
    const port = await start(
      t,
      net.createServer((socket) => socket.on('error', () => {}).end('220 ready\r\n')),
    )
    for (const early of [false, true]) {
      events.length = 0
      const stream = connect(clientOptions(port)).on('error', () => {})
      if (early) stream.write('early')
      await closed(stream)
      t.same(await seen(events, 'client'), ['error handshake-failed ERR_SSL_WRONG_VERSION_NUMBER'])
    }
  })

  t.test(`${stack}: errors and other values of the application are no events, and end the connection`, async (t) => {
    const events = listening(t)
    const server = createServer({ ...identity, maxVersion: 'TLSv1.2' })
    const port = await start(t, server)
    const coded = (code: string) => Object.assign(new Error('x'), { code })
    const values = [
      ...[coded('INVALID_CA'), coded('CERT_REVOKED'), coded('ERR_SSL_OF_ANOTHER_CONNECTION'), coded('CRL_x')],
      ...[new Error('CERT_REVOKED'), new Error('UNABLE_TO_SAVE it'), 'CERT_REVOKED', 42],
    ]
    for (const value of values) {
      const accepted = once(server, 'secureConnection') as Promise<[RenegotiationTLSSocket]>
      const client = tls.connect(clientOptions(port)).on('error', () => {})
      const [stream] = await accepted
      stream.on('error', () => {}).destroy(value as Error)
      client.resume()
      await Promise.all([closed(stream), closed(client)])
    }
    await new Promise(setImmediate)
    t.same(events, [])
  })
}

t.test('an error that is no Error, of a transport', async (t) => {
  const events = listening(t)
  const { client, server } = await tlsPair(t)
  const stream = wrapTLSSocket(client).on('error', () => {})
  client.emit('error', 'text')
  await Promise.all([closed(stream), closed(server.on('error', () => {}).resume())])
  t.same(events, [])
})

t.test('a client that attempts another version in a renegotiation', async (t) => {
  const events = listening(t)
  const { raw, stream } = await attackedServer(t, { server: { minVersion: 'TLSv1.2' } })
  await rejection(raw.renegotiate({ version: 0x0301 }))
  await closed(stream)
  t.match(await seen(events, 'server'), [/^alert version-change ERR_RENEGOTIATION_REFUSED$/])
  t.equal(events.length, 1)
})

t.test('a client without secure renegotiation', async (t) => {
  const events = listening(t)
  const { raw, stream } = await attackedServer(t, { raw: { renegotiationInfo: false } })
  const renegotiated = rejection(stream.renegotiate())
  await raw.expect('HelloRequest')
  raw.handshake().catch(() => {})
  await renegotiated
  await closed(stream)
  t.same(await seen(events, 'server'), ['error no-secure-renegotiation ERR_RENEGOTIATION_REFUSED'])
})

t.test('a client sends a record that is damaged', async (t) => {
  const events = listening(t)
  const { raw, stream } = await attackedServer(t)
  raw.sendData('plain', { plain: true })
  await closed(stream)
  t.match(await seen(events, 'server'), [/^error tls-failed ERR_SSL_/])
  t.equal(events.length, 1)
})

t.test('a client that stops in a renegotiation, while the application writes on', async (t) => {
  const events = listening(t)
  const { raw, stream } = await attackedServer(t, { renegotiation: { maxHeldBytes: 1000 } })
  const renegotiated = rejection(stream.renegotiate())
  await raw.expect('HelloRequest')
  stream.write(Buffer.alloc(1001))
  await renegotiated
  await closed(stream)
  t.same(await seen(events, 'server'), ['error hold-overflow ERR_RENEGOTIATION_HOLD_OVERFLOW'])
})

t.test('each attempt of a client is one event', async (t) => {
  const events = listening(t)
  const server = createServer({ ...identity, maxVersion: 'TLSv1.2' })
  const port = await start(t, server)
  for (let count = 0; count < 200; count++) {
    const failed = once(server, 'tlsClientError')
    const socket = net.connect(port, '127.0.0.1', () => socket.end('GET / HTTP/1.0\r\n\r\n')).on('error', () => {})
    await failed
    socket.destroy()
  }
  t.same(await seen(events, 'server'), Array(200).fill('error handshake-failed ERR_SSL_HTTP_REQUEST'))
})

t.test('a subscriber that throws is an uncaught exception, and harms neither the stream nor other subscribers', (t) => {
  const program = `
    import { subscribe } from 'node:diagnostics_channel'
    import { publishSecurityEvent } from ${JSON.stringify(new URL('../../src/core/security-events.js', import.meta.url))}
    process.on('uncaughtException', (error) => console.log(error.message))
    subscribe('renegotiation-duplex:security', () => { throw new Error('of the subscriber') })
    subscribe('renegotiation-duplex:security', ({ name }) => console.log(name))
    publishSecurityEvent('handshake-failed')
    console.log('goes on')
  `
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
  t.equal(stdout, 'goes on\nhandshake-failed\nof the subscriber\n')
  t.end()
})
