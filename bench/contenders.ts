import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import tls from 'node:tls'
import duplexify from 'duplexify'
import { wrapTLSSocket } from 'renegotiation-duplex'
import { connect as connectOpenSSL } from 'renegotiation-duplex/openssl'
import streamx from 'streamx'
import { ca } from '../examples/certificates.ts'
import type { Ask, Contender, Version } from './messages.ts'

/** Each as its own documentation has it. */
export const contenders: Record<Exclude<Contender, 'openssl'>, (socket: tls.TLSSocket) => Duplex> = {
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
export async function connect(port: number, ask: Ask, version: Version): Promise<tls.TLSSocket> {
  return asking(tls.connect(optionsOf(port, version)), ask)
}

/** The same by the OpenSSL of this package. */
export async function overOpenSSL(port: number, ask: Ask, version: Version): Promise<tls.TLSSocket> {
  return asking(connectOpenSSL(optionsOf(port, version)), ask)
}

function optionsOf(port: number, version: Version) {
  return { host: '127.0.0.1', port, servername: 'localhost', ca, minVersion: version, maxVersion: version }
}

async function asking<T extends tls.TLSSocket>(socket: T, ask: Ask): Promise<T> {
  await once(socket, 'secureConnect')
  socket.setNoDelay()
  socket.write(`${JSON.stringify(ask)}\n`)
  return socket
}
