// destroy() of a TLS socket crashes the process, if the socket below it has just been destroyed.
//
// tls.connect({ socket }) puts TLS on a socket that exists already. Where that socket is destroyed with an error, the TLS
// socket emits the same error. A listener that destroys the TLS socket then, as many do, ends the process: TLSWrap's close()
// finds that the handle below is gone and frees the SSL object at once, while that handle still has something to tell.
//
// The client runs in a process of its own. What ended it is printed.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import tls from 'node:tls'
import { fileURLToPath } from 'node:url'
import { ca, server as identity } from './certificates.mjs'

async function crash() {
  const server = tls.createServer(identity, (socket) => socket.on('error', () => {}).resume())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = net.connect(server.address().port, '127.0.0.1')
  await once(socket, 'connect')
  const client = tls.connect({ socket, ca, servername: 'localhost', checkServerIdentity: () => undefined })
  await once(client, 'secureConnect')
  client.on('error', () => client.destroy())
  client.on('close', () => setTimeout(() => process.exit(), 100))
  client.resume()
  socket.destroy(new Error('the connection below has failed'))
}

async function watch() {
  const child = fork(fileURLToPath(import.meta.url), ['crash'])
  const [code, signal] = await once(child, 'exit')
  console.log('the client ended with:', { code, signal })
  const crashed = code !== 0
  console.log(
    crashed
      ? `DEFECT: destroy() crashed the client (${signal ?? code}, Node ${process.version})`
      : `no defect: the client lived on (Node ${process.version})`,
  )
  process.exitCode = crashed ? 0 : 1
}

if (process.argv[2] === 'crash') await crash()
else await watch()
