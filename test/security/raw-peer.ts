import { once } from 'node:events'
import type { Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import tls, { type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { refusesNameChange } from '../fixtures/name-change.ts'
import * as pki from '../fixtures/pki.ts'
import { nextError, rejection } from '../fixtures/settled.ts'
import { clientOptions, tlsServer } from '../fixtures/tls-pair.ts'
import { AlertError } from '../fixtures/tls12/connection.ts'
import { ContentType, Extension, Suite } from '../fixtures/tls12/constants.ts'
import { dersOf, ephemeralKey } from '../fixtures/tls12/credentials.ts'
import type { HandshakeOptions } from '../fixtures/tls12/options.ts'
import { parseALPN, parseServerName } from '../fixtures/tls12/parse.ts'
import { RawPeer } from '../fixtures/tls12/peer.ts'

/*
 * Tests of the malicious peer itself, against plain Node: Node accepts what the
 * peer does correctly, and refuses what it does wrong.
 */

const credentials = ({ key, cert }: { key: string; cert: string }) => ({ key, certificates: dersOf(cert) })
const alice = credentials(pki.client)
const mallory = credentials(pki.otherClient)
const identity = credentials(pki.server)
const pskOptions = { ciphers: 'PSK-AES128-GCM-SHA256', checkServerIdentity: () => undefined }
const psk = { identity: 'alice', key: Buffer.from('0123456789abcdef') }
const wanted = { requestCert: true, rejectUnauthorized: false }

/** The end of Node, and its first error. */
interface NodeEnd {
  socket: TLSSocket
  failure: Promise<Error>
}

function nodeEnd(t: Test, socket: TLSSocket): NodeEnd {
  t.teardown(() => socket.destroy())
  socket.on('error', () => {})
  return { socket, failure: nextError(socket) }
}

/** A raw client of a plain Node server, after the first handshake. `tcp` is the TCP socket of the server. */
async function rawClient(t: Test, server: tls.TlsOptions = {}, options: HandshakeOptions = {}) {
  const listening = await tlsServer(t, server)
  const accepted = once(listening, 'secureConnection') as Promise<[TLSSocket]>
  const connected = once(listening, 'connection') as Promise<[Socket]>
  const raw = await RawPeer.connect({ port: listening.port, ...options }, t)
  await raw.handshake()
  const [[socket], [tcp]] = await Promise.all([accepted, connected])
  return { raw, tcp, ...nodeEnd(t, socket) }
}

/** A raw server of a plain Node client, after the first handshake. */
async function rawServer(t: Test, client: tls.ConnectionOptions = {}, options: HandshakeOptions = identity) {
  const listening = await RawPeer.listen(options, t)
  const { socket, failure } = nodeEnd(t, tls.connect(clientOptions(listening.port, client)))
  const raw = await listening.accept()
  const secure = once(socket, 'secureConnect')
  await raw.handshake()
  await secure
  return { raw, socket, failure }
}

/** Checks that data flows in both directions. */
async function talks(t: Test, { raw, socket }: { raw: RawPeer; socket: TLSSocket }, word = 'hello') {
  const came = once(socket, 'data') as Promise<[Buffer]>
  raw.sendData(`${word}?`)
  t.equal((await came)[0].toString(), `${word}?`, 'Node gets data')
  const text = Buffer.concat(raw.received).toString() + word
  socket.write(word)
  t.equal((await raw.data(text.length)).toString(), text, 'the raw peer gets data')
}

/** Checks that both ends have the same Finished messages and master secret. */
function sameFinished(t: Test, { raw, socket }: { raw: RawPeer; socket: TLSSocket }) {
  t.same(socket.getFinished(), raw.verifyData[raw.peerRole], 'the raw peer received the Finished that Node sent')
  t.same(socket.getPeerFinished(), raw.verifyData[raw.role], 'Node received the Finished that the raw peer sent')
  const exported = socket.getSession()
  t.ok(exported?.includes(raw.state.master), 'both have the same master secret')
}

t.test('a raw client completes a handshake with a Node server, and data flows', async (t) => {
  const ends = await rawClient(t)
  t.equal(ends.socket.getCipher().standardName, 'TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256')
  t.same(ends.raw.state.peerCertificates[0], identity.certificates[0], 'the raw client got the certificate')
  sameFinished(t, ends)
  await talks(t, ends)
})

t.test('a raw server completes a handshake with a Node client, and data flows', async (t) => {
  const ends = await rawServer(t)
  t.equal(ends.socket.authorized, true)
  t.equal(ends.socket.getCipher().standardName, 'TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256')
  t.equal(parseServerName(ends.raw.state.clientHello?.extensions.get(Extension.serverName)), 'localhost')
  sameFinished(t, ends)
  await talks(t, ends)
})

for (const ems of [true, false]) {
  t.test(`a raw peer completes handshakes ${ems ? 'with' : 'without'} an extended master secret`, async (t) => {
    for (const ends of [await rawClient(t, {}, { ems }), await rawServer(t, {}, { ...identity, ems })]) {
      t.equal(ends.raw.state.ems, ems)
      sameFinished(t, ends)
      await talks(t, ends)
    }
  })
}

t.test('a Node server sees the ALPN and SNI of a raw client', async (t) => {
  const ALPNProtocols = ['mqtt', 'http/1.1']
  const { raw, socket } = await rawClient(t, { ALPNProtocols }, { alpn: ['x', 'mqtt'], servername: 'other.example' })
  t.equal(socket.alpnProtocol, 'mqtt')
  t.equal((socket as TLSSocket & { servername: string }).servername, 'other.example')
  t.same(parseALPN(raw.state.serverHello?.extensions.get(Extension.alpn)), ['mqtt'])
})

t.test('a Node client sees the ALPN choice of a raw server', async (t) => {
  const { socket } = await rawServer(t, { ALPNProtocols: ['http/1.1', 'mqtt'] }, { ...identity, alpn: ['mqtt'] })
  t.equal(socket.alpnProtocol, 'mqtt')
})

t.test('a raw peer uses a pre-shared key as client and as server', async (t) => {
  const asked: string[] = []
  const client = await rawClient(
    t,
    {
      ciphers: pskOptions.ciphers,
      pskCallback: (_socket, name) => {
        asked.push(name)
        return psk.key
      },
    },
    { psk },
  )
  t.same(asked, ['alice'])
  const pskCallback = (hint: string | null) => ({ psk: psk.key, identity: `alice of ${hint}` })
  const server = await rawServer(t, { ...pskOptions, pskCallback }, { psk, pskHint: 'home' })
  t.equal(server.raw.state.pskIdentity, 'alice of home')
  for (const ends of [client, server]) {
    t.equal(ends.socket.getCipher().standardName, 'TLS_PSK_WITH_AES_128_GCM_SHA256')
    sameFinished(t, ends)
    await talks(t, ends)
    ;(await ends.raw.role) === 'client'
  }
  await client.raw.renegotiate({ psk: { ...psk, identity: 'mallory' } })
  t.same(asked, ['alice', 'mallory'], 'a renegotiation may name another identity')
})

t.test('a raw client sends its certificate when it is asked for one', async (t) => {
  const { raw, socket } = await rawClient(t, wanted, alice)
  t.equal(socket.authorized, true)
  t.same(socket.getPeerCertificate().raw, alice.certificates[0])
  t.ok(raw.state.certificateRequest, 'a certificate was requested')
})

t.test('a raw client without a certificate is not authorized', async (t) => {
  const { socket } = await rawClient(t, wanted)
  t.equal(socket.authorized, false)
})

t.test('a raw server requests a client certificate', async (t) => {
  const { raw } = await rawServer(t, {}, { ...identity, requestCertificate: true })
  t.same(raw.state.peerCertificates[0], alice.certificates[0])
  await raw.renegotiate({ requestCertificate: false })
  t.same(raw.state.peerCertificates, [], 'no certificate is requested again')
})

t.test('a raw peer begins renegotiations as client and as server', async (t) => {
  for (const ends of [await rawClient(t), await rawServer(t)]) {
    for (const word of ['second', 'third']) {
      const { master } = ends.raw.state
      await ends.raw.renegotiate()
      t.notSame(ends.raw.state.master, master, 'the master secret is another one')
      await talks(t, ends, word)
      sameFinished(t, ends)
    }
  }
})

t.test('a raw peer takes part in renegotiations that Node begins', async (t) => {
  const server = await rawServer(t)
  for (const word of ['second', 'third']) {
    const done = new Promise((resolve) => server.socket.renegotiate({}, resolve))
    await server.raw.handshake()
    t.equal(await done, null)
    await talks(t, server, word)
    sameFinished(t, server)
  }
  const client = await rawClient(t)
  const done = new Promise((resolve) => client.socket.renegotiate({}, resolve))
  await client.raw.expect('HelloRequest')
  await client.raw.handshake()
  t.equal(await done, null)
  await talks(t, client)
  sameFinished(t, client)
})

t.test('a raw client can show its first certificate, or another one, in a renegotiation', async (t) => {
  const { raw, socket } = await rawClient(t, wanted)
  await raw.renegotiate(alice)
  t.same(socket.getPeerCertificate().raw, alice.certificates[0])
  await raw.renegotiate(mallory)
  t.same(socket.getPeerCertificate().raw, mallory.certificates[0])
})

t.test('a raw peer collects data that arrives during a handshake', async (t) => {
  for (const ends of [await rawClient(t), await rawServer(t)]) {
    ends.socket.write('before')
    await ends.raw.renegotiate()
    t.equal((await ends.raw.data(6)).toString(), 'before')
    await talks(t, ends)
  }
})

t.test('a Node client accepts data between ClientHello and ServerHello, and a Node server does not', async (t) => {
  const server = await rawServer(t)
  const came = once(server.socket, 'data') as Promise<[Buffer]>
  await server.raw.renegotiate({
    rewrite: (name) => {
      if (name === 'ServerHello') server.raw.sendData('in between')
      return undefined
    },
  })
  t.equal((await came)[0].toString(), 'in between')
  await talks(t, server)
  const client = await rawClient(t)
  await client.raw.renegotiate({ until: 'ClientHello' })
  client.raw.sendData('in between')
  t.match(await client.failure, { code: 'ERR_SSL_UNEXPECTED_RECORD' })
})

t.test('a raw peer splits handshake messages into records of any size', async (t) => {
  for (const fragments of [1, 7, [3, 1, 40]]) {
    for (const ends of [
      await rawClient(t, wanted, { ...alice, fragments }),
      await rawServer(t, {}, { ...identity, fragments }),
    ]) {
      await ends.raw.renegotiate()
      await talks(t, ends)
      sameFinished(t, ends)
    }
  }
})

t.test('a raw server can send every message in a TCP segment of its own', async (t) => {
  const server = await rawServer(t, {}, { ...identity, coalesce: false })
  await server.raw.renegotiate()
  await talks(t, server)
})

t.test("a raw client resumes sessions with Node's tickets, in first handshakes and renegotiations", async (t) => {
  const listening = await tlsServer(t)
  const resumed: boolean[] = []
  listening.on('secureConnection', (socket) => {
    nodeEnd(t, socket)
    resumed.push(socket.isSessionReused())
  })
  const first = await RawPeer.connect({ port: listening.port, ticket: true }, t)
  await first.handshake()
  t.ok(first.session?.ticket.length)
  const second = await RawPeer.connect({ port: listening.port }, t)
  await second.handshake({ resume: first.session })
  t.ok(second.state.resumed)
  await second.renegotiate({ resume: first.session })
  t.ok(second.state.resumed)
  const third = await RawPeer.connect({ port: listening.port, ticket: true }, t)
  await third.handshake()
  await third.renegotiate({ resume: third.session })
  t.ok(third.state.resumed)
  t.same(resumed, [false, true, false])
})

t.test('a raw server issues a session ticket, and Node resumes its session', async (t) => {
  const listening = await RawPeer.listen({ ...identity, ticket: true }, t)
  const first = nodeEnd(t, tls.connect(clientOptions(listening.port)))
  const issued = once(first.socket, 'session') as Promise<[Buffer]>
  const raw = await listening.accept()
  await raw.handshake()
  const [session] = await issued
  t.ok(session.includes(raw.state.ticket ?? 'none'), 'Node got the ticket')
  const second = nodeEnd(t, tls.connect(clientOptions(listening.port, { session })))
  const secure = once(second.socket, 'secureConnect')
  const again = await listening.accept()
  await again.handshake({ resume: raw.session })
  await secure
  t.equal(second.socket.isSessionReused(), true)
  await talks(t, { raw: again, socket: second.socket })
  sameFinished(t, { raw: again, socket: second.socket })
})

t.test('a raw peer uses ECDHE with RSA certificates', async (t) => {
  const { rsaServer: rsa } = pki
  const client = await rawClient(t, { ...rsa, ...wanted, ca: rsa.cert }, credentials(rsa))
  t.equal(client.socket.authorized, true)
  for (const signatureAlgorithm of [0x0401, 0x0804]) {
    const server = await rawServer(t, { ca: rsa.cert }, { ...credentials(rsa), signatureAlgorithm })
    t.equal(server.raw.state.serverHello?.suite, Suite.ecdheRsa)
    await talks(t, server)
  }
})

t.test('Node refuses a wrong Finished', async (t) => {
  const client = await rawClient(t)
  const refused = await rejection(client.raw.renegotiate({ verifyData: Buffer.alloc(12) }))
  t.type(refused, AlertError)
  const server = await rawServer(t)
  await server.raw.renegotiate({ verifyData: Buffer.alloc(12) })
  // The server's Finished is the last message, so its handshake does not wait for an answer.
  t.type(await rejection(server.raw.nextMessage()), AlertError)
  for (const { raw, failure } of [client, server]) {
    t.match(await failure, { code: 'ERR_SSL_DIGEST_CHECK_FAILED' })
    t.match(raw.alerts, [{ level: 'fatal', name: 'decrypt_error' }])
  }
})

t.test('Node refuses a wrong CertificateVerify', async (t) => {
  const forgeries: Record<string, HandshakeOptions> = {
    "with another client's key": { key: pki.otherClient.key },
    'with random bytes': { signature: Buffer.alloc(70, 1) },
  }
  for (const [name, forgery] of Object.entries(forgeries)) {
    const { raw, failure } = await rawClient(t, wanted)
    const error = await rejection(raw.renegotiate({ ...alice, ...forgery }))
    t.match(error, { alert: { level: 'fatal' } }, name)
    t.match(await failure, { code: /^ERR_SSL_/ })
  }
})

t.test('Node refuses a certificate without CertificateVerify', async (t) => {
  const { raw, failure } = await rawClient(t, wanted)
  await rejection(raw.renegotiate({ ...alice, certificateVerify: false }))
  t.match(raw.alerts, [{ level: 'fatal', name: 'unexpected_message' }])
  t.match(await failure, { code: /^ERR_SSL_/ })
})

t.test('Node refuses a server that does not hold the key of its certificate', async (t) => {
  const listening = await RawPeer.listen({ ...identity, key: pki.otherServer.key }, t)
  const { failure } = nodeEnd(t, tls.connect(clientOptions(listening.port)))
  const raw = await listening.accept()
  t.match(await rejection(raw.handshake()), { alert: { level: 'fatal', name: 'decrypt_error' } })
  t.match(await failure, { code: /^ERR_SSL_/ })
})

t.test('Node refuses renegotiation_info that belongs to no handshake of this connection', async (t) => {
  const client = await rawClient(t)
  await rejection(client.raw.renegotiate({ renegotiationInfo: Buffer.alloc(12) }))
  const server = await rawServer(t)
  await rejection(server.raw.renegotiate({ renegotiationInfo: Buffer.alloc(24) }))
  for (const { raw, failure } of [client, server]) {
    const name = raw.role === 'client' ? 'handshake_failure' : 'illegal_parameter'
    t.match(raw.alerts, [{ level: 'fatal', name }])
    t.match(await failure, { code: /^ERR_SSL_/ })
  }
})

t.test('after a handshake that stops at Certificate, plain Node shows an unproven certificate', async (t) => {
  const { raw, socket, tcp } = await rawClient(t, wanted, mallory)
  await raw.renegotiate({ certificates: alice.certificates, until: 'Certificate' })
  while (tcp.bytesRead < raw.socket.bytesWritten) await turn()
  t.same(socket.getPeerCertificate().raw, alice.certificates[0], 'the known weakness of plain Node')
  t.equal(socket.authorized, true, "it is the verdict on mallory's certificate")
})

t.test('a stopped handshake can be continued message by message', async (t) => {
  const ends = await rawClient(t, wanted)
  const { raw, socket } = ends
  await raw.renegotiate({ ...alice, until: 'Certificate' })
  raw.sendHandshake('ClientKeyExchange', raw.clientKeyExchange(), { fragments: [5, 0x20] })
  const complete = raw.sendHandshake('CertificateVerify', raw.certificateVerify(alice), { only: 9 })
  complete()
  raw.sendChangeCipherSpec()
  raw.sendHandshake('Finished', raw.finished())
  await raw.expect('ChangeCipherSpec')
  t.equal((await raw.expect('Finished')).verified, true)
  t.same(socket.getPeerCertificate().raw, alice.certificates[0])
  sameFinished(t, ends)
  await talks(t, ends)
})

t.test('handshake() rejects if it should stop at a message that is never sent', async (t) => {
  const listening = await tlsServer(t)
  const raw = await RawPeer.connect({ port: listening.port }, t)
  t.match(await rejection(raw.handshake({ until: 'CertificateVerify' })), { message: /without a CertificateVerify/ })
})

t.test('a raw client sends Finished and a part of the next ClientHello in one TCP segment', async (t) => {
  const ends = await rawClient(t)
  const { raw, socket } = ends
  let writes = 0
  const write = raw.socket.write
  raw.socket.write = ((bytes: Buffer) => {
    writes++
    return write.call(raw.socket, bytes)
  }) as typeof write
  let complete = () => {}
  await raw.renegotiate({
    after: (name) => {
      if (name === 'ClientHello') writes = 0
      if (name === 'Finished') complete = raw.sendHandshake('ClientHello', raw.clientHello(), { only: 5 })
    },
  })
  t.equal(writes, 1)
  sameFinished(t, ends)
  complete()
  await raw.expect('ServerHello')
  t.equal(socket.destroyed, false)
})

t.test('Node finishes a handshake before it reads a ClientHello from the same TCP segment', async (t) => {
  const { raw } = await rawClient(t)
  await raw.renegotiate({
    after: (name) => {
      if (name === 'Finished') raw.sendHandshake('ClientHello', raw.clientHello())
    },
  })
  await raw.expect('ServerHello')
  await raw.expect('Certificate')
})

t.test('Node refuses another SNI in a renegotiation, or learns it and does not call SNICallback again', async (t) => {
  const asked: string[] = []
  const SNICallback: NonNullable<tls.TlsOptions['SNICallback']> = (name, callback) => {
    asked.push(name)
    callback(null)
  }
  const refuses = await refusesNameChange(t)
  const { raw, socket } = await rawClient(t, { SNICallback }, { servername: 'localhost' })
  const error = await raw.renegotiate({ servername: 'elsewhere.example' }).catch((error) => error)
  const { _handle } = socket as TLSSocket & { _handle: { getServername(): string } }
  if (refuses) t.match(error, { alert: { name: 'illegal_parameter' } })
  else t.equal(_handle.getServername(), 'elsewhere.example')
  t.same(asked, ['localhost'])
})

t.test('a raw peer can send many records of one byte, no faster than they are read', async (t) => {
  const { raw, socket } = await rawClient(t)
  let bytes = 0
  socket.on('data', (data: Buffer) => {
    bytes += data.length
  })
  const count = 20_000
  await raw.sendSingleBytes(count)
  raw.close()
  await once(socket, 'end')
  t.equal(bytes, count)
})

t.test('alerts are logged, and reject what is waited for', async (t) => {
  const { raw, socket } = await rawServer(t)
  const waiting = raw.nextMessage()
  socket.end()
  t.match(await rejection(waiting), { alert: { level: 'warning', description: 0, name: 'close_notify' } })
  await raw.closed
  t.type(await rejection(raw.expect('ClientHello')), AlertError)
  t.same(raw.alerts, [{ level: 'warning', description: 0, name: 'close_notify' }])
})

t.test('a raw client can refuse a renegotiation', async (t) => {
  const { raw, socket, failure } = await rawClient(t)
  socket.renegotiate({}, () => {})
  await raw.expect('HelloRequest')
  raw.sendAlert('warning', 'no_renegotiation')
  t.match(await failure, { code: 'ERR_SSL_NO_RENEGOTIATION' })
})

t.test('a raw server notices that a Node client refuses a renegotiation', async (t) => {
  const { raw, socket } = await rawServer(t, { secureOptions: 1 << 30 })
  t.match(await rejection(raw.renegotiate()), { alert: { level: 'warning', name: 'no_renegotiation' } })
  await talks(t, { raw, socket })
})

t.test('socket errors of a raw peer reject its promises, and are never uncaught', async (t) => {
  const listening = await RawPeer.listen(identity, t)
  const raw = await RawPeer.connect({ port: listening.port }, t)
  const other = await listening.accept()
  const waits = [raw.nextMessage(), raw.data(1), raw.handshake()]
  other.reset()
  t.match(await raw.closed, { error: { code: 'ECONNRESET' } })
  for (const wait of waits) t.match(await rejection(wait), { code: 'ECONNRESET' })
  raw.sendData('too late')
  t.match(await rejection(raw.drained()), { code: 'ECONNRESET' })
  t.match(await rejection(raw.sendSingleBytes(1)), { code: 'ECONNRESET' })
  // Promises that nobody handles.
  void raw.handshake()
  void raw.expect('Finished')
})

t.test('two raw peers complete handshakes with each other', async (t) => {
  const listening = await RawPeer.listen({ ...identity, requestCertificate: true }, t)
  const client = await RawPeer.connect({ port: listening.port, ...alice }, t)
  const server = await listening.accept()
  for (let i = 0; i < 3; i++) await Promise.all([client.handshake(), server.handshake()])
  t.same(server.state.peerCertificates, alice.certificates)
  t.same(client.verifyData, server.verifyData)
})

t.test('reset() sends a TCP reset', async (t) => {
  const { raw, failure } = await rawClient(t)
  raw.reset()
  t.match(await failure, { code: 'ECONNRESET' })
  t.same(await raw.closed, {})
})

t.test('Node refuses plaintext records, bytes that are no record, and unknown record types', async (t) => {
  const plain = await rawClient(t)
  plain.raw.sendData('plain', { plain: true })
  t.match(await plain.failure, { code: /^ERR_SSL_/ })
  const noise = await rawClient(t)
  noise.raw.sendRaw(Buffer.from('GET / HTTP/1.0\r\n\r\n'))
  t.match(await noise.failure, { code: /^ERR_SSL_/ })
  const unknown = await rawClient(t)
  unknown.raw.sendRecord(99, Buffer.from('?'))
  t.match(await unknown.failure, { code: /^ERR_SSL_/ })
})

t.test('a rewrite can leave out a message of a handshake', async (t) => {
  const { raw, failure } = await rawClient(t)
  const rewrite: HandshakeOptions['rewrite'] = (name) => (name === 'ClientKeyExchange' ? null : undefined)
  t.match(await rejection(raw.renegotiate({ rewrite })), { alert: { name: 'unexpected_message' } })
  t.match(await failure, { code: /^ERR_SSL_/ })
})

t.test('a record under the wrong keys closes the raw peer with an error', async (t) => {
  const { raw, socket } = await rawServer(t)
  const other = await rawServer(t)
  other.raw.socket.once('data', (bytes: Buffer) => raw.socket.emit('data', bytes))
  other.socket.write('of another connection')
  t.ok((await raw.closed).error)
  t.ok(socket)
})

t.test('one ephemeral key can be used for many connections', async (t) => {
  const ecdh = ephemeralKey()
  const listening = await tlsServer(t)
  for (let i = 0; i < 3; i++) {
    const raw = await RawPeer.connect({ port: listening.port, ecdh }, t)
    await raw.handshake()
    t.equal(raw.state.ecdh, ecdh)
  }
})

t.test('a raw server can leave a ClientHello unanswered', async (t) => {
  const listening = await RawPeer.listen(identity, t)
  const { socket } = nodeEnd(t, tls.connect(clientOptions(listening.port)))
  const raw = await listening.accept()
  await raw.expect('ClientHello')
  t.equal(socket.getCipher()?.name, undefined)
  listening.destroy()
  await Promise.all([raw.closed, rejection(listening.accept())])
})

t.test('Node refuses a ChangeCipherSpec outside a handshake', async (t) => {
  const { raw, failure } = await rawClient(t)
  raw.sendRecord(ContentType.changeCipherSpec, Buffer.of(1))
  t.match(await failure, { code: /^ERR_SSL_/ })
})
