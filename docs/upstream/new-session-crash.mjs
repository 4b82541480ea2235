// A TLS server with requestCert and an asynchronous `newSession` listener can be crashed by any client.
//
// While the listener has not called back, Node holds `secure` back (TLSSocket._securePending), but goes on reading. A
// client that sends its next ClientHello right behind its Finished is then in the middle of a second handshake when the
// listener calls back. The server now verifies the certificate (TLSWrap::VerifyError) of a session that OpenSSL has only
// begun to make: a segmentation fault. The client needs no certificate that the server trusts.
//
// The server runs in a process of its own. What ended it is printed.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import tls from 'node:tls'
import { fileURLToPath } from 'node:url'
import { ca, server as identity, stranger } from './certificates.mjs'
import { RawClient } from './raw-client.mjs'

const CALLBACK_MS = 200
/** How long the server has to survive. */
const SURVIVAL_MS = 2000

function serve() {
  const server = tls.createServer({
    ...identity,
    ca,
    requestCert: true,
    maxVersion: 'TLSv1.2',
  })
  // As where sessions are kept in a database. OpenSSL makes one for a client that takes no tickets.
  server.on('newSession', (_id, _data, done) => setTimeout(done, CALLBACK_MS))
  server.on('tlsClientError', () => {})
  server.on('secureConnection', (socket) => socket.on('error', () => {}).resume())
  server.listen(0, '127.0.0.1', () => process.send(server.address().port))
  process.on('disconnect', () => process.exit())
}

async function attack() {
  const server = fork(fileURLToPath(import.meta.url), ['serve'])
  const [port] = await once(server, 'message')
  const peer = await RawClient.connect(port, stranger)
  await peer.begin()
  peer.finish()
  peer.clientHello()
  peer.flush()
  const timer = setTimeout(() => server.disconnect(), SURVIVAL_MS)
  const [code, signal] = await once(server, 'exit')
  clearTimeout(timer)
  peer.destroy()
  console.log('the server ended with:', { code, signal })
  const crashed = code !== 0
  console.log(
    crashed
      ? `DEFECT: one client crashed the server (${signal ?? code}, Node ${process.version})`
      : `no defect: the server lived on (Node ${process.version})`,
  )
  process.exitCode = crashed ? 0 : 1
}

if (process.argv[2] === 'serve') serve()
else await attack()
