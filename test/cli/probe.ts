import { constants } from 'node:crypto'
import net, { type AddressInfo } from 'node:net'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { type ProbeReport, withoutRenegotiation } from '../../src/cli/probe.ts'
import { RenegotiationError } from '../../src/index.ts'
import { alertingServer } from '../fixtures/alerting-server.ts'
import { cli } from '../fixtures/cli.ts'
import { skip as noOpenSSL, OpenSSL } from '../fixtures/openssl.ts'
import { ca, client, server as identity, otherServer } from '../fixtures/pki.ts'
import { legacyServer, skip } from '../fixtures/servers.ts'
import { tlsServer } from '../fixtures/tls-pair.ts'
import { dersOf } from '../fixtures/tls12/credentials.ts'
import { RawPeer } from '../fixtures/tls12/peer.ts'
import { listen, webServer } from '../fixtures/web.ts'

/** Probes a server on loopback. Returns the exit code, and the report that was printed as JSON. */
async function probe(t: Test, port: number, ...args: string[]): Promise<{ code: number; report: ProbeReport }> {
  const directory = t.testdir({ 'ca.pem': ca, 'client.pem': client.cert, 'key.pem': client.key })
  const to = [`127.0.0.1:${port}`, '--servername', 'localhost', '--ca', 'ca.pem', '--json']
  const { code, stdout, stderr } = await cli(['probe', ...to, ...args], directory)
  t.equal(stderr, '')
  return { code, report: JSON.parse(stdout) }
}

async function readable(port: number, ...args: string[]): Promise<string> {
  const { stdout } = await cli(['probe', `127.0.0.1:${port}`, ...args])
  return stdout
}

/** Starts a TCP server that handles its connections with `serve`. Returns its port. */
async function tcpServer(t: Test, serve: (socket: net.Socket) => void): Promise<number> {
  const server = net.createServer((socket) => {
    t.teardown(() => socket.destroy())
    socket.on('error', () => {})
    serve(socket)
  })
  server.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

for (const [args, expected, code] of [
  [['-client_renegotiation'], 'allowed', 0],
  [[], 'refused', 1],
] as const) {
  t.test(`probe reports "${expected}" for openssl s_server ${args.join(' ')}`, { skip: noOpenSSL }, async (t) => {
    const directory = t.testdir({ 'server.pem': `${identity.key}\n${identity.cert}\n` })
    const common = ['-accept', '127.0.0.1:0', '-cert', `${directory}/server.pem`]
    const server = new OpenSSL('s_server', ...common, ...args)
    t.teardown(() => server.kill())
    const [, port] = await server.says(/ACCEPT 127\.0\.0\.1:(\d+)/)
    const result = await probe(t, Number(port))
    t.equal(result.code, code)
    t.match(result.report, {
      address: `127.0.0.1:${port}`,
      connections: 1,
      attempts: 1,
      protocol: 'TLSv1.2',
      cipher: String,
      authorized: true,
      authorizationError: null,
      secureRenegotiation: true,
      clientInitiated: expected,
      traffic: null,
    })
    if (expected === 'allowed') t.match(result.report, { reason: null, milliseconds: Number })
    else t.match(result.report, { reason: /refused/, milliseconds: null })
  })
}

t.test('probe makes one connection and one attempt to renegotiate, and prints its result as text', async (t) => {
  let renegotiations = 0
  const { port, sockets } = await listen(t, {}, (socket) => {
    socket.resume()
    socket.on('renegotiating', () => renegotiations++)
  })
  const said = await readable(port)
  t.match(said, new RegExp(`^127.0.0.1:${port}: one connection, one attempt to renegotiate$`, 'm'))
  t.match(said, /protocol +TLSv1.2, /)
  t.match(said, /certificate +not verified: /)
  t.match(said, /secure renegotiation +yes \(RFC 5746\)/)
  t.match(said, /client-initiated +allowed; new keys after [\d.]+ ms$/m)
  t.match(said, /under traffic +not tried/)
  t.equal(sockets.length, 1)
  t.equal(renegotiations, 1)
})

t.test('probe prints that the certificate was verified, if it is valid', async (t) => {
  const { port } = await listen(t, {}, (socket) => socket.resume())
  const directory = t.testdir({ 'ca.pem': ca })
  const { stdout } = await cli(['probe', `localhost:${port}`, '--ca', 'ca.pem'], directory)
  t.match(stdout, /certificate +verified/)
})

t.test('probe --http renegotiates during a request, and counts the bytes of the response', async (t) => {
  const requests: string[] = []
  const { port } = await webServer(t, (request, response) => {
    requests.push(`${request.headers.host}${request.url}`)
    response.end('x'.repeat(1000))
  })
  const { code, report } = await probe(t, port, '--http', '/status')
  t.equal(code, 0)
  t.match(report, { clientInitiated: 'allowed', traffic: { during: Number, after: Number } })
  t.ok((report.traffic?.during ?? 0) + (report.traffic?.after ?? 0) > 2000)
  t.same(requests, [`127.0.0.1:${port}/status`, `127.0.0.1:${port}/status`])
  t.match(await readable(port, '--http'), /under traffic +\d+ bytes came before it was over, \d+ after/)
  t.equal(requests.at(-1), `127.0.0.1:${port}/`)
})

t.test('probe --http has no result (code 3) if the server answers and closes before it renegotiates', async (t) => {
  const server = await tlsServer(t)
  let secured = false
  server.on('secureConnection', (socket: tls.TLSSocket) => {
    secured = true
    socket.on('error', () => {}).once('data', () => socket.end('bye'))
  })
  const port = await tcpServer(t, (socket) => {
    const upstream = net.connect(server.port, '127.0.0.1')
    t.teardown(() => upstream.destroy())
    upstream.pipe(socket)
    // After the first handshake, only application data gets through, so that the server answers the request first.
    socket.on('data', (chunk) => {
      if (!secured) upstream.write(chunk)
      else if (chunk[0] === 23) upstream.write(chunk.subarray(0, 5 + chunk.readUInt16BE(3)))
    })
  })
  const { code, report } = await probe(t, port, '--http')
  t.equal(code, 3)
  t.match(report, { clientInitiated: null, reason: /answered and closed/, traffic: { during: 3, after: 0 } })
})

t.test('probe --send sends the text before and after the renegotiation, with \\r and \\n replaced', async (t) => {
  let received = ''
  const { port } = await listen(t, {}, (socket) => {
    socket.on('data', (chunk) => {
      received += chunk
      socket.write(chunk)
    })
  })
  const { report } = await probe(t, port, '--send', 'PING\\r\\n')
  t.equal(received, 'PING\r\nPING\r\n')
  t.match(report, { clientInitiated: 'allowed', traffic: { after: Number } })
})

t.test('probe --send reports "allowed" if the server renegotiates but never answers the text', async (t) => {
  const { port } = await listen(t, {}, (socket) => socket.resume())
  const { code, report } = await probe(t, port, '--send', 'anybody there?', '--timeout', '3s')
  t.equal(code, 0)
  t.match(report, { clientInitiated: 'allowed', traffic: { during: 0, after: 0 } })
})

t.test('probe shows the certificate of --cert and --key if the server requests one', async (t) => {
  const { port, sockets } = await listen(t, { requestCert: true }, (socket) => socket.resume())
  const { code } = await probe(t, port, '--cert', 'client.pem', '--key', 'key.pem')
  t.equal(code, 0)
  t.equal(sockets[0]?.authorized, true)
})

t.test('probe reports "no answer" if the server does not answer the renegotiation in time', async (t) => {
  const server = await tlsServer(t)
  const port = await tcpServer(t, (socket) => {
    const upstream = net.connect(server.port, '127.0.0.1')
    t.teardown(() => upstream.destroy())
    socket.pipe(upstream).pipe(socket)
    // From now on, nothing of the client reaches the server.
    server.once('secureConnection', () => socket.unpipe(upstream))
  })
  const { code, report } = await probe(t, port, '--timeout', '3s')
  t.equal(code, 1)
  t.match(report, { attempts: 1, clientInitiated: 'no answer', reason: /did not finish in time/ })
})

t.test('probe reports "connection lost" if the server closes the connection instead of renegotiating', async (t) => {
  const server = await tlsServer(t)
  server.on('secureConnection', (socket: tls.TLSSocket) => {
    socket.on('error', () => {})
    // Node's own hook for a handshake that begins.
    const { _handle } = socket as unknown as { _handle: { onhandshakestart: () => void } }
    _handle.onhandshakestart = () => socket.destroy()
    socket.resume()
  })
  const { code, report } = await probe(t, server.port)
  t.equal(code, 1)
  t.match(report, { attempts: 1, clientInitiated: 'connection lost', reason: String })
})

t.test('probe reports that the server showed another certificate in the renegotiation', async (t) => {
  const server = await tlsServer(t)
  server.on('secureConnection', (socket: tls.TLSSocket) => {
    socket.setKeyCert(tls.createSecureContext(otherServer))
    socket.resume()
  })
  const { code, report } = await probe(t, server.port)
  t.equal(code, 0)
  t.match(report, {
    attempts: 1,
    clientInitiated: 'allowed',
    certificateChanged: true,
    reason: /another certificate/,
    milliseconds: Number,
  })
  t.match(
    await readable(server.port),
    /client-initiated +allowed; new keys after [\d.]+ ms; it came out with another certificate, which .* by default$/m,
  )
})

/**
 * Starts a server that sends a HelloRequest together with the end of a handshake, so that the client cannot begin the
 * next one. It does that `times` times.
 */
async function beginning(t: Test, times: number) {
  const listening = await RawPeer.listen({ key: identity.key, certificates: dersOf(identity.cert) }, t)
  let handshakes = 0
  const serve = async () => {
    const raw = await listening.accept()
    const after = (step: string) => {
      if (step === 'Finished' && handshakes < times) raw.sendHandshake('HelloRequest')
    }
    for (; ; handshakes++) await raw.handshake({ after })
  }
  const served = serve().catch(() => handshakes)
  return { port: listening.port, served }
}

t.test('probe still renegotiates if the server has begun a renegotiation first', async (t) => {
  const { port, served } = await beginning(t, 1)
  const { code, report } = await probe(t, port)
  t.equal(code, 0)
  t.match(report, { attempts: 1, clientInitiated: 'allowed' })
  t.equal(await served, 3, 'there were three handshakes: the first, that of the server, and that of probe')
})

t.test('probe has no result (code 3) if the server begins a renegotiation each time', async (t) => {
  const { port, served } = await beginning(t, Infinity)
  const { code, report } = await probe(t, port)
  t.equal(code, 3)
  t.match(report, { attempts: 0, clientInitiated: null, reason: /began one itself each time/ })
  t.ok(Number(await served) >= 3)
})

t.test('probe has no result (code 3) if the server closes the connection before the attempt', async (t) => {
  const server = await tlsServer(t)
  server.on('secureConnection', (socket: tls.TLSSocket) => socket.on('error', () => {}).end())
  const port = await tcpServer(t, (socket) => {
    const upstream = net.connect(server.port, '127.0.0.1').on('error', () => {})
    t.teardown(() => upstream.destroy())
    socket.pipe(upstream)
    upstream.once('data', (firstFlight) => {
      socket.write(firstFlight)
      // The rest is sent at once, so that the ends of the handshake and of the connection are read together.
      const rest: Buffer[] = []
      upstream.on('data', (chunk) => rest.push(chunk)).on('end', () => socket.end(Buffer.concat(rest)))
    })
  })
  const { code, report } = await probe(t, port)
  t.equal(code, 3)
  t.match(report, { attempts: 0, clientInitiated: null, reason: /closed the connection before/ })
})

for (const [level, description, alert, expected] of [
  [1, 100, 'no_renegotiation (OpenSSL)', 'refused'],
  [2, 40, 'handshake_failure', 'refused'],
  [2, 10, 'unexpected_message (Go, wolfSSL)', 'refused'],
  [2, 80, 'internal_error', 'connection lost'],
] as const) {
  t.test(`probe reports "${expected}" if the server answers with the alert ${alert}`, async (t) => {
    const { code, report } = await probe(t, await alertingServer(t, level, description))
    t.equal(code, 1)
    t.match(report, { attempts: 1, clientInitiated: expected, reason: String })
  })
}

t.test('probe has no result (code 3) if the OpenSSL configuration on its side forbids renegotiation', async (t) => {
  const { port } = await listen(t, {}, (socket) => socket.resume())
  const sections = ['nodejs_conf = all', '[all]', 'ssl_conf = ssl', '[ssl]', 'system_default = contexts', '[contexts]']
  const directory = t.testdir({ 'openssl.cnf': `${sections.join('\n')}\nOptions = NoRenegotiation\n` })
  const { NODE_OPTIONS } = process.env
  process.env['NODE_OPTIONS'] = `${NODE_OPTIONS ?? ''} --openssl-config=${directory}/openssl.cnf`
  t.teardown(() => {
    if (NODE_OPTIONS === undefined) delete process.env['NODE_OPTIONS']
    else process.env['NODE_OPTIONS'] = NODE_OPTIONS
  })
  const { code, stdout } = await cli(['probe', `127.0.0.1:${port}`, '--json'])
  t.equal(code, 3)
  t.match(JSON.parse(stdout), { attempts: 0, clientInitiated: null, reason: /could not begin a renegotiation: / })
})

t.test('withoutRenegotiation() reports a legacy peer, a drain timeout and unexpected data', async (t) => {
  const legacy = new Error('error:0A000152:SSL routines::unsafe legacy renegotiation disabled')
  t.match(withoutRenegotiation(new RenegotiationError('ERR_RENEGOTIATION_REFUSED', 'A legacy peer', legacy), 1, 0), {
    secureRenegotiation: false,
    clientInitiated: 'impossible',
    reason: /^A legacy peer: .*unsafe legacy renegotiation disabled$/,
  })
  // There is no server for this case: a write exceeds the timeout only if all buffers on the way are full.
  const drain = new RenegotiationError('ERR_RENEGOTIATION_DRAIN_TIMEOUT', 'The write in flight did not finish in time')
  t.same(withoutRenegotiation(drain, 0, 0), { reason: 'The write in flight did not finish in time' })
  const record = new Error('error:0A0000F4:SSL routines::unexpected record')
  t.match(withoutRenegotiation(new RenegotiationError('ERR_RENEGOTIATION_PEER_DATA', 'Data', record), 1, 5), {
    clientInitiated: 'connection lost',
    reason: /^Data: .*unexpected record$/,
  })
})

t.test('probe reports "impossible" for a server that speaks TLS 1.3 only', async (t) => {
  const server = await tlsServer(t, { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' })
  const { code, report } = await probe(t, server.port)
  t.equal(code, 1)
  t.match(report, {
    attempts: 0,
    protocol: null,
    authorized: null,
    secureRenegotiation: null,
    clientInitiated: 'impossible',
    reason: /TLS 1.3 only/,
  })
  const said = await readable(server.port)
  t.match(said, /one connection, no attempt to renegotiate/)
  t.match(said, /protocol +unknown/)
  t.match(said, /certificate +unknown/)
  t.match(said, /secure renegotiation +unknown/)
  t.match(said, /client-initiated +impossible; it speaks TLS 1.3 only/)
})

t.test('probe reports "impossible" for a server without secure renegotiation (RFC 5746)', async (t) => {
  const port = await tcpServer(t, (socket) => {
    // ServerHello: TLS 1.2, a random, no session, ECDHE-ECDSA-AES128-GCM-SHA256, no compression, and no extension.
    const hello = Buffer.from([3, 3, ...Buffer.alloc(32, 'random'), 0, 0xc0, 0x2b, 0])
    const message = Buffer.from([2, 0, 0, hello.length, ...hello])
    socket.once('data', () => socket.write(Buffer.from([22, 3, 3, 0, message.length, ...message])))
  })
  const { code, report } = await probe(t, port)
  t.equal(code, 1)
  t.match(report, {
    attempts: 0,
    protocol: null,
    secureRenegotiation: false,
    clientInitiated: 'impossible',
    reason: /RFC 5746/,
  })
  t.match(await readable(port), /secure renegotiation +no$/m)
})

t.test('probe reports "impossible" for a GnuTLS server without RFC 5746', { skip: skip.gnutls }, async (t) => {
  const { port } = await legacyServer(t)
  const { code, report } = await probe(t, port)
  t.equal(code, 1)
  t.match(report, { secureRenegotiation: false, clientInitiated: 'impossible', reason: /RFC 5746/ })
  t.match(await readable(port), /secure renegotiation +no/)
})

t.test('probe can renegotiate with a server that speaks TLS 1.0 only', async (t) => {
  const server = await tlsServer(t, { minVersion: 'TLSv1', maxVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' })
  server.on('secureConnection', (socket: tls.TLSSocket) => socket.resume())
  const { code, report } = await probe(t, server.port)
  t.equal(code, 0)
  t.match(report, { protocol: 'TLSv1', clientInitiated: 'allowed' })
})

t.test('probe prints "refused" for a server with SSL_OP_NO_RENEGOTIATION', async (t) => {
  const server = await tlsServer(t, { secureOptions: constants.SSL_OP_NO_RENEGOTIATION })
  server.on('secureConnection', (socket: tls.TLSSocket) => socket.on('error', () => {}).resume())
  t.match(await readable(server.port), /client-initiated +refused; The renegotiation was refused: .*no renegotiation/)
})

t.test('probe has no result (code 3) if there is no TLS server, no answer or no such host', async (t) => {
  const port = await tcpServer(t, (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  const plain = await probe(t, port)
  t.equal(plain.code, 3)
  t.match(plain.report, { attempts: 0, clientInitiated: null, reason: String })
  const deaf = await probe(t, await tcpServer(t, () => {}), '--timeout', '500ms')
  t.equal(deaf.code, 3)
  t.match(deaf.report, { reason: 'no connection within 0.5 s' })
  const { code, stdout } = await cli(['probe', 'nowhere.invalid:443'])
  t.equal(code, 3)
  t.match(stdout, /client-initiated +unknown; getaddrinfo/)
})
