/*
 * The other end of every connection, in a process of its own: a plain socket,
 * but where it is to renegotiate.
 */
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import tls from 'node:tls'
import { wrapTLSSocket } from 'renegotiation-duplex'
import { server as identity } from '../examples/certificates.ts'
import type { Ask } from './messages.ts'
import { haveObjects } from './objects.ts'

haveObjects()
process.on('disconnect', () => process.exit())
const welcome = (socket: net.Socket) => {
  socket.on('error', () => {}).setNoDelay()
  socket.once('data', (first: Buffer) => {
    const end = first.indexOf('\n') + 1
    serve(socket, JSON.parse(first.toString('utf8', 0, end)) as Ask, first.length - end)
  })
}
const [port, tcpPort] = await Promise.all([tls.createServer(identity, welcome), net.createServer(welcome)].map(listen))
process.send?.({ port, tcpPort })

async function listen(server: net.Server): Promise<number> {
  await once(server.listen(0, '127.0.0.1', 511), 'listening')
  return (server.address() as AddressInfo).port
}

function serve(socket: net.Socket, what: Ask, already: number): void {
  switch (what.ask) {
    case 'sink': {
      let left = what.bytes - already
      socket.on('data', (chunk: Buffer) => {
        left -= chunk.length
        if (left === 0) socket.write('k')
      })
      if (left === 0) socket.write('k')
      break
    }
    case 'marks': {
      let bytes = already
      socket.on('data', (chunk: Buffer) => {
        const marks = Math.floor((bytes + chunk.length) / what.every) - Math.floor(bytes / what.every)
        bytes += chunk.length
        if (marks > 0) socket.write('k'.repeat(marks))
      })
      break
    }
    case 'source': {
      const chunk = Buffer.alloc(what.chunk, 'x')
      let left = what.bytes
      const send = () => {
        for (let more = true; more && left > 0; left -= chunk.length) {
          more = socket.write(left < chunk.length ? chunk.subarray(0, left) : chunk)
        }
      }
      socket.on('drain', send)
      send()
      break
    }
    case 'echo':
      // Over TCP, the first question can come together with the line before it.
      if (already > 0) socket.write('x'.repeat(already))
      socket.pipe(socket)
      break
    case 'guarded':
      wrapTLSSocket(socket as tls.TLSSocket, { peerLimit: false })
        .on('error', () => {})
        .resume()
      break
  }
}
