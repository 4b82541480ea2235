import type { ConnectionOptions } from 'node:tls'
import { parseOptions, type RenegotiationOptions, refuseServerOptions } from '../core/options.ts'
import { rememberPeer } from '../core/security-failure.ts'
import type { RenegotiationTLSSocket } from '../faces/renegotiation-tls-socket.ts'
import { checkProfile } from '../transports/tls-profile.ts'
import { connectPlain, optionsOf } from './plain.ts'
import { wrapTLSSocket } from './wrap-tls-socket.ts'

/** The options of {@link connect}: those of `tls.connect()`, and those of the stream. */
export interface RenegotiationConnectionOptions extends ConnectionOptions {
  /**
   * Whether this side stays open after the peer has ended its side, until the
   * application ends it, as with `net.connect()`.
   *
   * @default false
   */
  allowHalfOpen?: boolean | undefined
  /** The options of the stream. */
  renegotiation?: RenegotiationOptions | undefined
}

type SecureConnectListener = () => void

/**
 * Connects as `tls.connect()` does, and returns a stream that can renegotiate
 * while data flows in both directions.
 *
 * It takes the same arguments, in all forms of `tls.connect()`. A renegotiation
 * needs TLS 1.2 or lower, and Node.js prefers TLS 1.3: set `maxVersion`.
 *
 * @throws what `tls.connect()` throws.
 * @throws TypeError (`ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`) or
 *   RangeError (`ERR_OUT_OF_RANGE`) for a bad `renegotiation`. No connection has
 *   been made then.
 * @example
 * ```js
 * const stream = connect({ host: 'plant.example', port: 8883, maxVersion: 'TLSv1.2' })
 * stream.on('error', (error) => console.error(error.code, error.message))
 * stream.pipe(process.stdout)
 * stream.write('Hello\n')
 * const { verified } = await stream.renegotiate()
 * ```
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
  return connectGuarded(args)
}

/** As {@link connect}, with `defaults` for a connection that has no options of its own. */
export function connectGuarded(args: readonly unknown[], defaults?: RenegotiationOptions): RenegotiationTLSSocket {
  const options: RenegotiationConnectionOptions = optionsOf(args) ?? {}
  const { renegotiation = defaults } = options
  parseOptions(renegotiation)
  checkProfile('client', options)
  refuseServerOptions(renegotiation)
  const listener = args.findLast((arg) => typeof arg === 'function') as SecureConnectListener | undefined
  // Not passed to Node: on the socket below, the listener would be called with every handshake.
  const socket = connectPlain(args.filter((arg) => arg !== listener))
  try {
    const stream = wrapTLSSocket(socket, renegotiation)
    socket.once('connect', () => rememberPeer({ face: socket }))
    if (listener !== undefined) stream.once('secureConnect', listener)
    return stream
  } catch (error) {
    socket.destroy()
    throw error
  }
}
