/*
 * What this package uses of the private parts of net.Socket, and of the options of a socket. The names are those of lib/net.js and
 * lib/internal/stream_base_commons.js. They are the same in Node 20 to 26.
 */
import net from 'node:net'
import { hiddenKey } from './node-internals.ts'

/** As much as is received at once. With twice as much as Node.js, a stream has half as much to do for each byte. */
export const SHARED_BYTES = 131_072

interface Internals {
  _handle?: { useUserBuffer?: (memory: Uint8Array) => void } | null
  [key: symbol]: unknown
}

/**
 * The option `ca` of a client of tls.connect(), or of the server of a socket. Undefined if it has none, and for other
 * sockets. Without Node's symbol for the options of a client: undefined.
 */
export function trustedOption(socket: object): unknown {
  const { server } = socket as { server?: { ca?: unknown } | null }
  const key = hiddenKey(socket, 'connect-options')
  return server?.ca ?? (key && (socket as Record<symbol, { ca?: unknown }>)[key]?.ca)
}

/** Made when it is first used. All sockets share it, because libuv calls back as soon as it has read into it. */
let memory: Buffer | undefined

/**
 * From now on, `socket` passes what it receives to `receive` in place of emitting `data`, and flows. The bytes change after
 * `receive` has returned. This is the option `onread` of net.connect(), which a server does not have. It saves the
 * allocation of 64 KiB for each read.
 *
 * Returns whether it is so. The caller has to listen for `data` otherwise: without `kBuffer`, `kBufferCb` and
 * `_handle.useUserBuffer`, with another class of socket, if data was received that nobody has read, and on Windows,
 * where the memory is handed over before there is anything to read.
 */
export function receiveIntoSharedMemory(socket: object, receive: (bytes: Buffer) => void): boolean {
  if (process.platform === 'win32' || Object.getPrototypeOf(socket) !== net.Socket.prototype) return false
  const plain = socket as net.Socket
  const internals = socket as Internals
  const buffer = hiddenKey(internals, 'kBuffer')
  const callback = hiddenKey(internals, 'kBufferCb')
  const handle = internals._handle
  // A socket that has no handle yet gets one when it connects, and then uses the memory by itself.
  if (!buffer || !callback || internals[buffer] !== null || (handle && !handle.useUserBuffer)) return false
  if (plain.readableLength > 0) return false
  memory ??= Buffer.allocUnsafeSlow(SHARED_BYTES)
  internals[buffer] = memory
  internals[callback] = (count: number, from: Buffer) => {
    receive(from.subarray(0, count))
    return true
  }
  handle?.useUserBuffer?.(memory)
  plain.resume()
  return true
}

/**
 * The TCP socket under a TLSSocket of a tls.Server: once the TLSSocket is destroyed, only this one still knows the address
 * of the peer, if it was asked for it before. Without Node's property: the TLSSocket itself.
 */
export function socketUnder(socket: net.Socket & { _parent?: unknown }): net.Socket {
  return socket._parent instanceof net.Socket ? socket._parent : socket
}
