import { spawn } from 'node:child_process'
import { constants, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net, { type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tls, { type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import {
  createServer,
  type RenegotiationReport,
  type RenegotiationServerOptions,
  type RenegotiationTLSSocket,
  wrapTLSSocket,
} from '../../src/index.ts'
import { alice, until } from '../fixtures/attack.ts'
import * as pki from '../fixtures/pki.ts'
import { skip } from '../fixtures/servers.ts'
import { nextError, rejection } from '../fixtures/settled.ts'
import { clientOptions } from '../fixtures/tls-pair.ts'
import { expectFinished, finish } from '../fixtures/tls12/client-handshake.ts'
import { RawPeer } from '../fixtures/tls12/peer.ts'

const serverOptions: RenegotiationServerOptions = {
  ...pki.server,
  ca: pki.ca,
  maxVersion: 'TLSv1.2',
  renegotiation: { peerLimit: false },
}

type Make = (options: RenegotiationServerOptions, listener: (stream: RenegotiationTLSSocket) => void) => tls.Server

/** The two ways to get streams on a server. */
const kinds: Record<string, Make> = {
  'createServer()': createServer,
  'wrapTLSSocket()': ({ renegotiation, ...options }, listener) =>
    tls.createServer(options, (socket) => listener(wrapTLSSocket(socket, renegotiation))),
}

/** A server, and connections to it. */
class Site {
  readonly server: tls.Server
  readonly #t: Test
  readonly #accepted: RenegotiationTLSSocket[] = []

  static async start(t: Test, make: Make, options: tls.TlsOptions = {}): Promise<Site> {
    const site = new Site(t, make, options)
    site.server.listen(0, '127.0.0.1')
    await once(site.server, 'listening')
    return site
  }

  private constructor(t: Test, make: Make, options: tls.TlsOptions) {
    this.#t = t
    this.server = make({ ...serverOptions, ...options }, (stream) => {
      t.teardown(() => stream.destroy())
      stream.on('error', () => {}).resume()
      this.#accepted.push(stream)
    })
    t.teardown(() => this.server.close())
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  /** Returns both ends of a new connection, and the sessions that its client gets. The client is a plain socket. */
  async connect(options: tls.ConnectionOptions = {}) {
    const client = tls.connect(clientOptions(this.port, options))
    this.#t.teardown(() => client.destroy())
    const sessions: Buffer[] = []
    client
      .on('error', () => {})
      .on('session', (session) => sessions.push(session))
      .resume()
    await once(client, 'secureConnect')
    return { client, sessions, stream: await this.accepted() }
  }

  async accepted(): Promise<RenegotiationTLSSocket> {
    await until(() => this.#accepted.length > 0)
    return this.#accepted.shift() as RenegotiationTLSSocket
  }

  /** Whether a new connection resumes `session`. */
  async resumes(session: Buffer | undefined, options: tls.ConnectionOptions = {}): Promise<boolean> {
    const { client, stream } = await this.connect({ ...options, session })
    stream.destroy()
    return client.isSessionReused()
  }
}

async function renegotiate(
  begins: 'server' | 'client',
  { client, stream }: { client: TLSSocket; stream: RenegotiationTLSSocket },
): Promise<RenegotiationReport> {
  const done = once(client, 'secure')
  if (begins === 'server') {
    const [report] = await Promise.all([stream.renegotiate(), done])
    return report
  }
  const renegotiated = once(stream, 'renegotiated') as Promise<[RenegotiationReport]>
  client.renegotiate({}, () => {})
  await done
  return (await renegotiated)[0]
}

for (const [name, make] of Object.entries(kinds)) {
  for (const begins of ['server', 'client'] as const) {
    t.test(`${name}: a session can be resumed after a renegotiation that the ${begins} began`, async (t) => {
      const site = await Site.start(t, make)
      const first = await site.connect()
      t.equal(await site.resumes(first.client.getSession()), true, 'without a renegotiation, the session is resumed')

      for (const connection of [first, await site.connect({ session: first.sessions[0] })]) {
        const told = connection.sessions.length
        const report = await renegotiate(begins, connection)
        t.match(report, { verified: true, resumed: false }, 'the renegotiation is a full handshake')
        t.ok(connection.client.getTLSTicket(), 'the client has a session ticket')
        t.equal(connection.sessions.length, told + 1, 'the client emits one more session')
        t.equal(await site.resumes(connection.sessions.at(-1)), true)
        t.equal(await site.resumes(connection.client.getSession()), true)
      }
    })
  }

  t.test(`${name}: a renegotiation gets the client certificate, also after a resumed handshake`, async (t) => {
    const site = await Site.start(t, make)
    const first = await site.connect()
    for (const connection of [first, await site.connect({ session: first.sessions[0] })]) {
      t.match(await connection.stream.renegotiate({ requestCert: true }), { resumed: false, authorized: true })
      t.match(connection.stream.getPeerCertificate(), { subject: { CN: 'client' } })
    }
  })

  t.test(`${name}: a client that renegotiates and offers its session gets a full handshake`, async (t) => {
    const site = await Site.start(t, make)
    const raw = await RawPeer.connect({ port: site.port, servername: 'localhost', ticket: true, ...alice }, t)
    await raw.handshake()
    const stream = await site.accepted()
    for (let i = 0; i < 3; i++) {
      const renegotiated = once(stream, 'renegotiated')
      await raw.renegotiate({ resume: raw.session })
      t.match(await renegotiated, [{ origin: 'peer', verified: true, resumed: false }])
      t.ok(raw.session?.ticket.length)
    }
  })

  t.test(`${name}: the ticket keys are unchanged after 20 connections renegotiate at once`, async (t) => {
    const site = await Site.start(t, make)
    const keys = site.server.getTicketKeys()
    const connections = []
    for (let i = 0; i < 20; i++) connections.push(await site.connect())
    for (const begins of ['server', 'client', 'server'] as const) {
      const reports = await Promise.all(connections.map((connection) => renegotiate(begins, connection)))
      t.ok(reports.every(({ resumed }) => resumed === false))
    }
    t.strictSame(site.server.getTicketKeys(), keys)
    // A ticket is useless if it is issued in the turn of another connection's ClientHello. Here, there is no other.
    const [connection] = connections as [(typeof connections)[0]]
    t.match(await renegotiate('server', connection), { resumed: false })
    t.equal(await site.resumes(connection.client.getSession()), true)
  })

  if (make === createServer) {
    t.test(`${name}: getTicketKeys() returns the server's own keys while other keys are in use`, async (t) => {
      const site = await Site.start(t, make)
      const connection = await site.connect()
      const keys = site.server.getTicketKeys()
      let seen: Buffer | undefined
      connection.stream.once('renegotiating', () => process.nextTick(() => (seen = site.server.getTicketKeys())))
      t.match(await renegotiate('client', connection), { resumed: false })
      t.strictSame(seen, keys)
    })
  }

  t.test(`${name}: ticket keys that the application sets during a renegotiation stay in use`, async (t) => {
    const site = await Site.start(t, make)
    const connection = await site.connect()
    const keys = Buffer.alloc(48, 'k')
    // Between the start of a handshake and its ClientHello.
    connection.stream.once('renegotiating', () => process.nextTick(() => site.server.setTicketKeys(keys)))
    t.match(await renegotiate('client', connection), { resumed: false })
    t.strictSame(site.server.getTicketKeys(), keys)
    t.equal(await site.resumes(connection.client.getSession()), true)
  })

  t.test(`${name}: server.secureOptions is what the application passed`, async (t) => {
    for (const secureOptions of [undefined, constants.SSL_OP_CIPHER_SERVER_PREFERENCE]) {
      const { server } = await Site.start(t, make, secureOptions === undefined ? {} : { secureOptions })
      t.equal((server as { secureOptions?: number }).secureOptions, secureOptions)
    }
  })

  t.test(`${name}: a client certificate can be requested after server.setSecureContext()`, async (t) => {
    const site = await Site.start(t, make)
    const connection = await site.connect()
    site.server.setSecureContext({ ...pki.server, ca: pki.ca, maxVersion: 'TLSv1.2' })
    const keys = site.server.getTicketKeys()
    t.match(await connection.stream.renegotiate({ requestCert: true }), { resumed: false, authorized: true })
    t.strictSame(site.server.getTicketKeys(), keys)
  })

  t.test(`${name}: with a context chosen by SNI, renegotiations are full and sessions can be resumed`, async (t) => {
    // From the first renegotiation on, this context issues the tickets, and the server's own context must accept them.
    const ticketKeys = Buffer.alloc(48, 'k')
    const same = { ticketKeys, sessionIdContext: 'same' }
    const site = await Site.start(t, make, same)
    const named = { ...pki.otherServer, ca: pki.ca, maxVersion: 'TLSv1.2', ...same } as const
    const context = tls.createSecureContext(named)
    site.server.addContext('localhost', context)
    const connection = await site.connect()
    t.strictSame(connection.client.getPeerCertificate().raw, new X509Certificate(pki.otherServer.cert).raw)
    for (let i = 0; i < 3; i++) {
      const report = await connection.stream.renegotiate({ requestCert: true })
      t.match(report, { resumed: false, authorized: true }, `renegotiation ${i + 1}`)
      t.strictSame(site.server.getTicketKeys(), ticketKeys)
      t.strictSame(context.context.getTicketKeys(), ticketKeys)
      t.equal(await site.resumes(connection.client.getSession()), true)
    }
  })

  t.test(`${name}: sessions that the application stores by id can be resumed after renegotiations`, async (t) => {
    const kept = new Map<string, Buffer>()
    const site = await Site.start(t, make, { secureOptions: constants.SSL_OP_NO_TICKET })
    site.server.on('newSession', (id: Buffer, session: Buffer, done: () => void) => {
      kept.set(id.toString('hex'), session)
      done()
    })
    site.server.on('resumeSession', (id: Buffer, done: (error: null, session: Buffer | null) => void) => {
      done(null, kept.get(id.toString('hex')) ?? null)
    })
    const first = await site.connect()
    const second = await site.connect({ session: first.client.getSession() })
    t.equal(second.client.isSessionReused(), true)
    for (const connection of [first, second]) {
      t.match(await connection.stream.renegotiate({ requestCert: true }), { resumed: false, authorized: true })
      t.match(await renegotiate('client', connection), { resumed: false })
      t.equal(await site.resumes(connection.client.getSession()), true)
    }
  })

  t.test(`${name}: a ClientHello in two parts can resume, and does not stop others from resuming`, async (t) => {
    const site = await Site.start(t, make)
    const { client } = await site.connect()
    const raw = await RawPeer.connect({ port: site.port, servername: 'localhost', ticket: true, ...alice }, t)
    await raw.handshake()
    const stream = await site.accepted()
    const rejected = rejection(stream.renegotiate({ requestCert: true }))
    await raw.expect('HelloRequest')
    const sendRest = raw.sendHandshake('ClientHello', raw.clientHello({ resume: raw.session }), { only: 40 })
    t.equal(await site.resumes(client.getSession()), true)
    sendRest()
    raw.state.resumable = raw.session
    await raw.expect('ServerHello')
    await expectFinished(raw)
    for (const _step of finish(raw, {}));
    t.match(await rejected, { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE', message: /resumed the session/ })
    t.equal(stream.state, 'open')
    const asked = stream.renegotiate({ requestCert: true })
    await raw.expect('HelloRequest')
    void raw.handshake({ resume: raw.session, fragments: 40 })
    t.match(await asked, { resumed: false, authorized: true }, 'if its records arrive together, the handshake is full')
  })

  t.test(`${name}: TLS 1.3 sessions can be resumed after a TLS 1.2 connection has renegotiated`, async (t) => {
    const site = await Site.start(t, make, { maxVersion: 'TLSv1.3' })
    const modern = await site.connect()
    await until(() => modern.sessions.length > 0)
    const old = await site.connect({ maxVersion: 'TLSv1.2' })
    t.match(await renegotiate('server', old), { resumed: false })
    t.equal(await site.resumes(modern.sessions[0]), true)
    t.equal(await site.resumes(old.client.getSession(), { maxVersion: 'TLSv1.2' }), true)
  })
}

t.test('a server socket without a tls.Server gets the client certificate in a renegotiation', async (t) => {
  const listening = net.createServer().listen(0, '127.0.0.1')
  await once(listening, 'listening')
  t.teardown(() => listening.close())
  const options = { ...pki.server, ca: pki.ca, maxVersion: 'TLSv1.2', isServer: true } as tls.TLSSocketOptions
  listening.once('connection', (raw) => {
    const stream = wrapTLSSocket(new tls.TLSSocket(raw, options)).resume()
    t.teardown(() => stream.destroy())
    listening.emit('wrapped', stream)
  })
  const wrapped = once(listening, 'wrapped') as Promise<[RenegotiationTLSSocket]>
  const client = tls.connect(clientOptions((listening.address() as AddressInfo).port)).resume()
  t.teardown(() => client.destroy())
  const [stream] = await wrapped
  t.match(await stream.renegotiate({ requestCert: true }), { resumed: false, authorized: true })
})

/** Starts a GnuTLS client, which ends the connection if it expects a session ticket and gets none. */
async function gnutlsClient(t: Test, site: Site) {
  const { cert, key } = pki.client
  const directory = mkdtempSync(join(tmpdir(), 'renegotiation-duplex-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const file = (name: string) => join(directory, name)
  for (const [name, pem] of Object.entries({ ca: pki.ca, cert, key })) writeFileSync(file(name), `${pem}\n`)
  const credentials = ['--x509cafile', file('ca'), '--x509certfile', file('cert'), '--x509keyfile', file('key')]
  const args = ['--priority', 'NORMAL:-VERS-TLS1.3', ...credentials, '--port', `${site.port}`, 'localhost']
  const client = spawn('gnutls-cli', args, { stdio: ['pipe', 'ignore', 'ignore'] })
  t.teardown(() => client.kill())
  client.stdin.on('error', () => {})
  return { send: (line: string) => client.stdin.write(`${line}\n`), stream: await site.accepted() }
}

if (skip.gnutls) t.comment(skip.gnutls)
else {
  t.test('SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION makes a GnuTLS client fail (control)', async (t) => {
    const secureOptions = constants.SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION
    const { stream } = await gnutlsClient(t, await Site.start(t, createServer, { secureOptions }))
    const failed = nextError(stream)
    await stream.renegotiate()
    t.match(await failed, { message: /alert unexpected message/ })
  })

  for (const [name, make] of Object.entries(kinds)) {
    t.test(`${name}: a GnuTLS client stays connected through three renegotiations`, async (t) => {
      for (const requestCert of [false, true]) {
        const { send, stream } = await gnutlsClient(t, await Site.start(t, make))
        for (let i = 0; i < 3; i++) {
          t.match(await stream.renegotiate({ requestCert }), { verified: true, resumed: false })
          send(`line ${i}`)
          t.equal(String((await once(stream, 'data'))[0]), `line ${i}\n`)
        }
        t.equal(stream.getPeerCertificate()?.subject?.CN, requestCert ? 'client' : undefined)
      }
    })
  }
}
