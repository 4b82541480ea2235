import tls, { type ConnectionOptions, type TLSSocket } from 'node:tls'
import { parseOptions, type RenegotiationOptions } from '../core/options.ts'
import type { RenegotiationTLSSocket } from '../faces/renegotiation-tls-socket.ts'
import { wrapTLSSocket } from './wrap-tls-socket.ts'

/** tls.connect's options, and those of the stream. */
export interface RenegotiationConnectionOptions extends ConnectionOptions {
  /** As net.connect() has it. Default: false. */
  allowHalfOpen?: boolean | undefined
  renegotiation?: RenegotiationOptions | undefined
}

type SecureConnectListener = () => void

/** Node's own, for good: somebody may put ours in its place. */
const connectPlain = tls.connect as (...args: unknown[]) => TLSSocket

/**
 * `tls.connect()`, with all of its signatures; what it returns can renegotiate
 * in the middle of traffic, where the options allow TLS 1.2 at most.
 *
 * @throws what tls.connect() throws, and TypeError or RangeError for a bad
 *   `renegotiation`; nothing is left behind then.
 */
export function connect(
  options: RenegotiationConnectionOptions,
  secureConnectListener?: SecureConnectListener,
): RenegotiationTLSSocket
export function connect(
  port: number,
  host?: string,
  options?: RenegotiationConnectionOptions,
  secureConnectListener?: SecureConnectListener,
): RenegotiationTLSSocket
export function connect(
  port: number,
  options?: RenegotiationConnectionOptions,
  secureConnectListener?: SecureConnectListener,
): RenegotiationTLSSocket
export function connect(...args: unknown[]): RenegotiationTLSSocket {
  const listener = args.findLast((arg) => typeof arg === 'function') as SecureConnectListener | undefined
  const options = args.find((arg): arg is RenegotiationConnectionOptions => typeof arg === 'object' && arg !== null)
  parseOptions(options?.renegotiation)
  // With the listener on the socket below, it would be called with every handshake.
  const socket = connectPlain(...args.filter((arg) => arg !== listener))
  try {
    const stream = wrapTLSSocket(socket, options?.renegotiation)
    if (listener !== undefined) stream.once('secureConnect', listener)
    return stream
  } catch (error) {
    socket.destroy()
    throw error
  }
}
