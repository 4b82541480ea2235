import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import tls from 'node:tls'
import duplexify from 'duplexify'
import { wrapTLSSocket } from 'renegotiation-duplex'
import streamx from 'streamx'
import { ca } from '../examples/certificates.ts'
import type { Ask, Contender } from './messages.ts'

/** Each as its own documentation has it. */
export const contenders: Record<Contender, (socket: tls.TLSSocket) => Duplex> = {
  plain: (socket) => socket,
  // What differs without any difference.
  again: (socket) => socket,
  ours: (socket) => wrapTLSSocket(socket),
  duplexify: (socket) => duplexify(socket, socket),
  streamx: (socket) => {
    const stream = new streamx.Duplex({
      read: (done) => {
        socket.resume()
        done(null)
      },
      write: (chunk: Buffer, done) => void socket.write(chunk, (error) => done(error ?? null)),
      final: (done) => void socket.end(() => done(null)),
      destroy: (done) => {
        socket.destroy()
        done(null)
      },
    })
    socket.on('data', (chunk) => stream.push(chunk) || socket.pause())
    socket.on('end', () => stream.push(null))
    return stream as unknown as Duplex
  },
}

/** A connection to the peer, which knows what to do with it. */
export async function connect(port: number, ask: Ask, options: tls.ConnectionOptions = {}): Promise<tls.TLSSocket> {
  const socket = tls.connect({
    ...options,
    host: '127.0.0.1',
    port,
    servername: 'localhost',
    ca,
    maxVersion: 'TLSv1.2',
  })
  await once(socket, 'secureConnect')
  socket.setNoDelay()
  socket.write(`${JSON.stringify(ask)}\n`)
  return socket
}
