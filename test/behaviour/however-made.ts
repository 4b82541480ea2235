/*
 * Tests each failure with sockets that were made by tls.connect() and
 * tls.createServer(), and with sockets that were made by `new tls.TLSSocket()`, as
 * for STARTTLS. Node does not emit the errors of the latter. A stream emits the
 * same error at once, however its socket was made.
 */
import { constants } from 'node:crypto'
import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { type RenegotiationTLSSocket, wrapTLSSocket } from '../../src/index.ts'
import { ca, client as clientPki, server as serverPki } from '../fixtures/pki.ts'
import { closed, nextError, rejection } from '../fixtures/settled.ts'

type Role = 'client' | 'server'
type Make = 'by tls' | 'by new tls.TLSSocket()'

interface Ends {
  stream: RenegotiationTLSSocket
  /** A plain socket. */
  peer: tls.TLSSocket
  /** The TCP connection below the peer's. */
  below: Socket
  /** From now on, the last byte of everything that the peer sends is changed on its way. */
  tamper(): void
}

const failures: readonly {
  what: string
  peer?: tls.SecureContextOptions
  roles?: readonly Role[]
  happens(ends: Ends): unknown
  error: object
}[] = [
  {
    what: 'the peer refuses a renegotiation',
    peer: { secureOptions: constants.SSL_OP_NO_RENEGOTIATION },
    happens: ({ stream }) => stream.renegotiate(),
    error: { code: 'ERR_RENEGOTIATION_REFUSED', cause: { code: /NO_RENEGOTIATION/ } },
  },
  {
    what: 'a record was changed on its way',
    happens({ peer, tamper }) {
      tamper()
      peer.write('data')
    },
    error: { code: /^ERR_SSL_(CIPHER_OPERATION_FAILED|DECRYPTION_FAILED_OR_BAD_RECORD_MAC)$/ },
  },
  {
    what: "the peer's handshake was changed on its way",
    happens({ stream, tamper }) {
      tamper()
      return stream.renegotiate()
    },
    error: { code: 'ERR_RENEGOTIATION_REFUSED', cause: { code: /^ERR_SSL_/ } },
  },
  {
    what: 'the peer resets the connection',
    happens: ({ below }) => below.resetAndDestroy(),
    error: { code: 'ECONNRESET' },
  },
  {
    what: 'the peer resets the connection during a renegotiation',
    happens({ stream, below }) {
      stream.once('renegotiating', () => below.resetAndDestroy())
      return stream.renegotiate()
    },
    error: { code: 'ECONNRESET' },
  },
  {
    what: 'the peer does not answer a renegotiation in time',
    happens({ stream, peer }) {
      peer.pause()
      stream.once('renegotiating', () => void (peer as { _handle?: { readStop(): void } })._handle?.readStop())
      return stream.renegotiate({ handshakeTimeout: 50 })
    },
    error: { code: 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT' },
  },
  {
    what: 'the client lacks a required certificate',
    roles: ['server'],
    happens: ({ stream }) => stream.renegotiate({ requestCert: true }),
    error: { code: 'ERR_RENEGOTIATION_NO_CERTIFICATE' },
  },
]

for (const { what, peer, roles = ['client', 'server'] as const, happens, error } of failures) {
  for (const role of roles) {
    for (const make of ['by tls', 'by new tls.TLSSocket()'] as const) {
      const maker = { client: 'by tls.connect()', server: 'by tls.createServer()' }[role]
      t.test(`a ${role} made ${make === 'by tls' ? maker : make} fails and closes if ${what}`, async (t) => {
        const ends = await pair(t, role, make, peer)
        const { stream } = ends
        stream.resume()
        const failed = nextError(stream)
        const promise = happens(ends)
        const rejected = promise instanceof Promise ? rejection(promise) : undefined
        t.match(await failed, error)
        if (rejected !== undefined) t.match((await rejected).code, /^ERR_RENEGOTIATION_/)
        await closed(stream)
        t.ok(stream.socket.destroyed)
      })
    }
  }
}

t.test('a STARTTLS server without a session id context can request a client certificate', async (t) => {
  const { stream } = await pair(t, 'server', 'by new tls.TLSSocket()', clientPki)
  stream.resume()
  t.match(await stream.renegotiate({ requestCert: true }), { peerCertificateChanged: true, verified: true })
  t.equal(stream.getPeerCertificate().subject.CN, 'client')
})

t.test(
  'a plain socket made by new tls.TLSSocket() emits no error for a bad record, and stays open (control)',
  async (t) => {
    const { stream, peer, tamper } = await pair(
      t,
      'client',
      'by new tls.TLSSocket()',
      {},
      (socket) => socket as RenegotiationTLSSocket,
    )
    const heard: string[] = []
    for (const event of ['error', 'close', 'end']) stream.on(event, () => heard.push(event))
    stream.resume()
    const hidden = once(stream, '_tlsError')
    tamper()
    peer.write('data')
    await hidden
    await new Promise((resolve) => setImmediate(resolve))
    t.same(heard, [])
    t.equal(stream.destroyed, false)
  },
)

/** Returns a stream of that role, and its plain peer behind a relay. */
async function pair(
  t: Test,
  role: Role,
  make: Make,
  ofPeer: tls.SecureContextOptions = {},
  wrap: (socket: tls.TLSSocket) => RenegotiationTLSSocket = wrapTLSSocket,
): Promise<Ends> {
  const { near, far, tamper } = await connection(t)
  const ofServer = {
    ...serverPki,
    ca,
    maxVersion: 'TLSv1.2',
    ...(role === 'client' && ofPeer),
  } as const
  const ofClient = { ca, maxVersion: 'TLSv1.2', ...(role === 'server' && ofPeer) } as const
  const made =
    role === 'client'
      ? { client: clientOn(near, make, ofClient), server: serverOn(far, 'by tls', ofServer) }
      : { client: clientOn(far, 'by tls', ofClient), server: serverOn(near, make, ofServer) }
  const [client, server] = await Promise.all([made.client, made.server])
  const [socket, peer] = role === 'client' ? [client, server] : [server, client]
  peer.on('error', () => {}).resume()
  const stream = wrap(socket)
  t.teardown(() => {
    stream.on('error', () => {}).destroy()
    peer.destroy()
  })
  return { stream, peer, below: far, tamper }
}

async function clientOn(socket: Socket, make: Make, options: tls.SecureContextOptions): Promise<tls.TLSSocket> {
  if (make === 'by tls') {
    const client = tls.connect({ socket, servername: 'localhost', ...options })
    await once(client, 'secureConnect')
    return client
  }
  const client = new tls.TLSSocket(socket, { secureContext: tls.createSecureContext(options) })
  // The handshake of such a client begins with its first write.
  client.write('')
  await once(client, 'secure')
  return client
}

async function serverOn(socket: Socket, make: Make, options: tls.SecureContextOptions): Promise<tls.TLSSocket> {
  if (make === 'by tls') {
    const listener = tls.createServer(options)
    listener.emit('connection', socket)
    return (await once(listener, 'secureConnection'))[0]
  }
  const server = new tls.TLSSocket(socket, { isServer: true, secureContext: tls.createSecureContext(options) })
  await once(server, 'secure')
  return server
}

/** Both ends of a TCP connection with a relay between them. */
async function connection(t: Test): Promise<{ near: Socket; far: Socket; tamper(): void }> {
  let tampers = false
  const [nearer, farther] = [net.createServer(), net.createServer()]
  const [near, atNear] = await connected(nearer)
  const [atFar, far] = await connected(farther)
  const sockets = [near, atNear, atFar, far]
  atNear.pipe(atFar)
  atFar.on('data', (data) => {
    if (tampers) data[data.length - 1] = (data[data.length - 1] as number) ^ 1
    atNear.write(data)
  })
  atFar.on('end', () => atNear.end())
  atFar.on('error', () => atNear.resetAndDestroy())
  for (const socket of [atNear, near, far]) socket.on('error', () => {})
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
  })
  return {
    near,
    far,
    tamper() {
      tampers = true
    },
  }
}

async function connected(listener: net.Server): Promise<[Socket, Socket]> {
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const socket = net.connect((listener.address() as AddressInfo).port, '127.0.0.1')
  const [[accepted]] = await Promise.all([once(listener, 'connection'), once(socket, 'connect')])
  listener.close()
  return [socket, accepted]
}
