import { once } from 'node:events'
import net from 'node:net'
import type { Duplex } from 'node:stream'
import tls from 'node:tls'
import duplexify from 'duplexify'
import { wrapTLSSocket } from 'renegotiation-duplex'
import { connect as connectOpenSSL } from 'renegotiation-duplex/openssl'
import streamx from 'streamx'
import { ca } from '../examples/certificates.ts'
import type { Ask, Contender, Version } from './messages.ts'

/** Each as its own documentation has it. */
export const contenders: Record<Exclude<Contender, 'openssl' | 'tcp'>, (socket: tls.TLSSocket) => Duplex> = {
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
  // Shows that the guard can fail. The thread sleeps, so this takes longer than all else, however busy the machine is.
  slow: (socket) => {
    const stream = wrapTLSSocket(socket)
    const { write } = stream
    stream.write = (chunk: Buffer) => {
      sleepFor(chunk.length)
      return write.call(stream, chunk)
    }
    return stream.on('data', (chunk: Buffer) => sleepFor(chunk.length))
  },
}

/** How many bytes a slow stream sends or receives in a millisecond, at most. */
const SLOW = 32 * 1024
const never = new Int32Array(new SharedArrayBuffer(4))
let awake = 0

function sleepFor(bytes: number): void {
  awake += bytes
  const milliseconds = Math.floor(awake / SLOW)
  awake %= SLOW
  if (milliseconds > 0) Atomics.wait(never, 0, 0, milliseconds)
}

/** A connection to the peer, which knows what to do with it. */
export async function connect(port: number, ask: Ask, version: Version): Promise<tls.TLSSocket> {
  return asking(tls.connect(optionsOf(port, version)), 'secureConnect', ask)
}

/** The same by the OpenSSL of this package. */
export async function overOpenSSL(port: number, ask: Ask, version: Version): Promise<tls.TLSSocket> {
  return asking(connectOpenSSL(optionsOf(port, version)), 'secureConnect', ask)
}

/** The same without TLS, at the peer's other port. */
export async function overTCP(port: number, ask: Ask): Promise<net.Socket> {
  return asking(net.connect(port, '127.0.0.1'), 'connect', ask)
}

function optionsOf(port: number, version: Version) {
  return { host: '127.0.0.1', port, servername: 'localhost', ca, minVersion: version, maxVersion: version }
}

async function asking<T extends net.Socket>(socket: T, connected: string, ask: Ask): Promise<T> {
  await once(socket, connected)
  socket.setNoDelay()
  socket.write(`${JSON.stringify(ask)}\n`)
  return socket
}
