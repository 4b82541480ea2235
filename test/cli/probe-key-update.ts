import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import type tls from 'node:tls'
import t, { type Test } from 'tap'
import type { KeyUpdateReport } from '../../src/cli/probe-key-update.ts'
import type { RenegotiationTLSSocket } from '../../src/index.ts'
import { createServer, type OpenSSLServerOptions } from '../../src/openssl/index.ts'
import { cli } from '../fixtures/cli.ts'
import { OpenSSL, skip } from '../fixtures/openssl.ts'
import { ca, client, server as identity } from '../fixtures/pki.ts'
import { RecordScanner, RecordType } from '../fixtures/record-scanner.ts'
import { tlsServer } from '../fixtures/tls-pair.ts'

/** Probes a server on loopback. Returns the exit code, and the report that was printed as JSON. */
async function probe(t: Test, port: number, ...args: string[]): Promise<{ code: number; report: KeyUpdateReport }> {
  const directory = t.testdir({ 'ca.pem': ca, 'client.pem': client.cert, 'key.pem': client.key })
  const to = [`127.0.0.1:${port}`, '--tls', '1.3', '--servername', 'localhost', '--ca', 'ca.pem', '--json']
  const { code, stdout, stderr } = await cli(['probe', ...to, ...args], directory)
  t.equal(stderr, '')
  return { code, report: JSON.parse(stdout) }
}

async function readable(port: number, ...args: string[]): Promise<string> {
  return (await cli(['probe', `127.0.0.1:${port}`, '--tls', '1.3', ...args])).stdout
}

/** Starts a plain server of Node.js that speaks TLS 1.3. */
async function plainServer(t: Test, serve: (socket: tls.TLSSocket) => void, options: tls.TlsOptions = {}) {
  const server = await tlsServer(t, { maxVersion: 'TLSv1.3', ...options })
  server.on('secureConnection', (socket: tls.TLSSocket) => {
    t.teardown(() => socket.destroy())
    serve(socket.on('error', () => {}))
  })
  return server
}

/** Starts a server of this package that speaks TLS 1.3. */
async function ownServer(
  t: Test,
  serve: (stream: RenegotiationTLSSocket) => void,
  options: OpenSSLServerOptions = {},
): Promise<number> {
  const server = createServer({ ...identity, ca, ...options }, (stream) => {
    t.teardown(() => stream.destroy())
    serve(stream.on('error', () => {}))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

/** Starts a TCP server that handles its connections with `serve`. Returns its port. */
async function tcpServer(t: Test, serve: (socket: net.Socket) => void): Promise<number> {
  const server = net.createServer((socket) => {
    t.teardown(() => socket.destroy())
    serve(socket.on('error', () => {}))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

/**
 * Lets so many encrypted records of the client through to a server. The first is its Finished. At the next one, it calls
 * `stop`, and nothing of the client reaches the server any more.
 */
async function relay(t: Test, to: number, records: number, stop: (downstream: net.Socket) => void): Promise<number> {
  return tcpServer(t, (downstream) => {
    const upstream = net.connect(to, '127.0.0.1').on('error', () => {})
    t.teardown(() => upstream.destroy())
    upstream.pipe(downstream)
    const scanner = new RecordScanner()
    let encrypted = 0
    downstream.on('data', (chunk) => {
      for (const { type, offset, start, length } of scanner.scan(chunk)) {
        if (type === RecordType.data && offset === 0 && ++encrypted === records + 1) stop(downstream)
        if (encrypted <= records) upstream.write(chunk.subarray(start, start + length))
      }
    })
  })
}

t.test('probe --tls 1.3 reports that a plain echo server of Node.js answers a key update', async (t) => {
  const { port } = await plainServer(t, (socket) => socket.pipe(socket))
  const { code, report } = await probe(t, port, '--send', 'Hello')
  t.equal(code, 0)
  t.match(report, {
    address: `127.0.0.1:${port}`,
    connections: 1,
    protocol: 'TLSv1.3',
    cipher: /^TLS_/,
    authorized: true,
    authorizationError: null,
    keyUpdate: 'answered',
    milliseconds: Number,
    keyUpdatesByServer: 0,
    certificateRequested: null,
    reason: null,
    traffic: { during: Number, after: Number },
  })
})

t.test('probe --tls 1.3 prints its result as text', async (t) => {
  const { port } = await plainServer(t, (socket) => socket.pipe(socket))
  const said = await readable(port, '--send', 'Hello')
  t.match(said, new RegExp(`^127.0.0.1:${port}: one connection, one key update$`, 'm'))
  t.match(said, /protocol +TLSv1.3, TLS_/)
  t.match(said, /certificate +not verified: /)
  t.match(said, /key update +answered; after [\d.]+ ms$/m)
  t.match(said, /server's own updates +0$/m)
  t.match(said, /late certificate +unknown; .*--cert and --key$/m)
  t.match(said, /under traffic +\d+ bytes came before it was over, \d+ after$/m)
})

t.test('probe --tls 1.3 has no result (code 3) if a server sends nothing, and so does not answer', async (t) => {
  const { port } = await plainServer(t, (socket) => socket.resume())
  const { code, report } = await probe(t, port, '--timeout', '3s')
  t.equal(code, 3)
  t.match(report, { keyUpdate: null, reason: /no answer within 3 s; .*try --http or --send/, traffic: null })
})

t.test('probe --tls 1.3 reports "answered" for openssl s_server', { skip }, async (t) => {
  const directory = t.testdir({ 'server.pem': `${identity.key}\n${identity.cert}\n` })
  const common = ['-tls1_3', '-accept', '127.0.0.1:0', '-cert', `${directory}/server.pem`]
  // With -rev, it sends each line back.
  const server = new OpenSSL('s_server', ...common, '-rev')
  t.teardown(() => server.kill())
  const [, port] = await server.says(/ACCEPT 127\.0\.0\.1:(\d+)/)
  const { code, report } = await probe(t, Number(port), '--send', 'Hello\\n')
  t.equal(code, 0)
  t.match(report, { protocol: 'TLSv1.3', authorized: true, keyUpdate: 'answered' })
})

t.test('probe --tls 1.3 reports that the server has requested a certificate', async (t) => {
  const port = await ownServer(t, (stream) => {
    stream.once('data', () => {
      stream.renegotiate({ requestCert: true }).then(
        () => stream.write('after'),
        (error) => t.error(error),
      )
    })
  })
  const { code, report } = await probe(t, port, '--send', 'Hello', '--cert', 'client.pem', '--key', 'key.pem')
  t.equal(code, 0)
  t.match(report, { keyUpdate: 'answered', certificateRequested: true, traffic: { after: 5 } })
})

t.test('probe --tls 1.3 counts the key updates of the server that it noticed', async (t) => {
  const port = await ownServer(t, (stream) => {
    stream.once('data', () => {
      stream.renegotiate().then(
        () => stream.write('after'),
        (error) => t.error(error),
      )
    })
  })
  const { report } = await probe(t, port, '--send', 'Hello')
  t.match(report, { keyUpdate: 'answered', keyUpdatesByServer: 1, traffic: { after: Number } })
})

t.test('probe --tls 1.3 reports that a server with a certificate in reach did not ask for it', async (t) => {
  const port = await ownServer(t, (stream) => stream.resume())
  const directory = t.testdir({ 'client.pem': client.cert, 'key.pem': client.key })
  const args = [`127.0.0.1:${port}`, '--tls', '1.3', '--cert', 'client.pem', '--key', 'key.pem']
  const { stdout } = await cli(['probe', ...args], directory)
  t.match(stdout, /key update +answered/)
  t.match(stdout, /late certificate +not requested during the probe$/m)
  t.match(stdout, /under traffic +not tried$/m)
})

t.test('probe --tls 1.3 reports "answered" if the server never answers the text', async (t) => {
  const port = await ownServer(t, (stream) => stream.resume())
  const { code, report } = await probe(t, port, '--send', 'anybody there?', '--timeout', '3s')
  t.equal(code, 0)
  t.match(report, { keyUpdate: 'answered', traffic: { during: 0, after: 0 } })
})

t.test('probe --tls 1.3 reports "no answer" (code 1) if the server sends data, but no answer', async (t) => {
  const server = await plainServer(t, (socket) => socket.resume())
  const accepted = once(server, 'secureConnection')
  // Only the Finished gets through. When the client sends its key update, the server sends data.
  const relayed = await relay(t, server.port, 1, () => {
    accepted.then(([socket]) => socket.write('data'))
  })
  const { code, report } = await probe(t, relayed, '--timeout', '3s')
  t.equal(code, 1)
  t.match(report, { keyUpdate: 'no answer', reason: 'no answer within 3 s, although the server sent data' })
})

t.test(
  'probe --tls 1.3 reports "connection lost" (code 1) if the server closes or breaks the connection',
  async (t) => {
    const { port } = await plainServer(t, (socket) => socket.resume())
    const ended = await probe(t, await relay(t, port, 1, (socket) => socket.end()))
    t.equal(ended.code, 1)
    t.match(ended.report, { keyUpdate: 'connection lost', reason: String })
    // A record of 32 bytes that nobody has encrypted.
    const record = Buffer.concat([Buffer.of(RecordType.data, 3, 3, 0, 32), Buffer.alloc(32)])
    const broken = await probe(t, await relay(t, port, 1, (socket) => socket.write(record)))
    t.equal(broken.code, 1)
    t.match(broken.report, { keyUpdate: 'connection lost', reason: /SSL routines.*record/ })
  },
)

t.test('probe --tls 1.3 has no result (code 3) if the server answers and closes the connection', async (t) => {
  const { port } = await plainServer(t, (socket) => {
    socket.once('data', () => socket.end('bye'))
  })
  // The Finished and the text get through.
  const { code, report } = await probe(t, await relay(t, port, 2, () => {}), '--send', 'Hello')
  t.equal(code, 3)
  t.match(report, { keyUpdate: null, reason: /answered and closed the connection; try it without traffic/ })
})

t.test('probe --tls 1.3 reports "impossible" (code 1) for a server that speaks TLS 1.2 only', async (t) => {
  const { port } = await tlsServer(t)
  const { code, report } = await probe(t, port)
  t.equal(code, 1)
  t.match(report, { protocol: null, keyUpdate: 'impossible', reason: 'it does not speak TLS 1.3; try --tls 1.2' })
  const said = await readable(port)
  t.match(said, /one connection, no key update/)
  t.match(said, /protocol +unknown/)
  t.match(said, /key update +impossible; it does not speak TLS 1.3/)
})

t.test('probe --tls 1.3 reports "impossible" for a server that chooses TLS 1.2 all the same', async (t) => {
  const port = await tcpServer(t, (socket) => {
    // ServerHello: TLS 1.2, a random, no session, ECDHE-ECDSA-AES128-GCM-SHA256, no compression, and no extension.
    const hello = Buffer.from([3, 3, ...Buffer.alloc(32, 'random'), 0, 0xc0, 0x2b, 0])
    const message = Buffer.from([2, 0, 0, hello.length, ...hello])
    socket.once('data', () => socket.write(Buffer.from([22, 3, 3, 0, message.length, ...message])))
  })
  t.match(await probe(t, port), { code: 1, report: { keyUpdate: 'impossible', reason: /does not speak TLS 1.3/ } })
})

t.test('probe --tls 1.3 has no result (code 3) if there is no answer', async (t) => {
  const port = await tcpServer(t, () => {})
  t.match(await readable(port, '--timeout', '500ms'), /key update +unknown; no connection within 0.5 s$/m)
  const { code, report } = await probe(t, port, '--timeout', '500ms')
  t.equal(code, 3)
  t.match(report, { protocol: null, keyUpdate: null, reason: 'no connection within 0.5 s', certificateRequested: null })
})
