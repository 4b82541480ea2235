import net from 'node:net'
import { addAbortSignal, type Duplex } from 'node:stream'
import tls, { type ConnectionOptions } from 'node:tls'
import { parseOptions, type RenegotiationOptions, refuseServerOptions } from '../core/options.ts'
import { RenegotiationTLSSocket } from '../faces/renegotiation-tls-socket.ts'
import { checkProfile } from '../transports/tls-profile.ts'
import { encodeProtocols } from './alpn.ts'
import type { OpenSSL } from './binding.ts'
import { createSecureContext } from './context.ts'
import { OpenSSLEngine } from './engine.ts'
import { judgeServer } from './judge.ts'
import type { Judge } from './judged-events.ts'
import { loadOpenSSL, type OpenSSLOptions } from './library.ts'
import { OpenSSLSocket } from './openssl-socket.ts'
import { OpenSSLTransport } from './openssl-transport.ts'
import { checkOptions } from './options.ts'
import { useSession } from './resumption.ts'
import type { SecureContext } from './secure-context.ts'
import { attempt } from './succeed.ts'
import { Wire } from './wire.ts'

/** The options of {@link connect}: those of `tls.connect()`, of the stream, and which OpenSSL to use. */
export interface OpenSSLConnectionOptions extends Omit<ConnectionOptions, 'secureContext'> {
  /** Made by `createSecureContext()` of this module. */
  secureContext?: SecureContext | undefined
  /** Whether this side stays open after the peer has ended its side, as with `net.connect()`. Default: false. */
  allowHalfOpen?: boolean | undefined
  /**
   * With TLS 1.3, and a `cert`: whether the server may ask for the certificate after the handshake.
   * @default true
   */
  postHandshakeAuth?: boolean | undefined
  /** Destroys the stream when it fires. */
  signal?: AbortSignal | undefined
  /** Both high water marks of the stream, in bytes. Default: see the options of the stream. */
  highWaterMark?: number | undefined
  /** The options of the stream. The default of `rekey` is `'auto'`. */
  renegotiation?: RenegotiationOptions | undefined
  /** Which OpenSSL to use. Default: that of Node.js, or else that of the system. */
  openssl?: OpenSSLOptions | undefined
}

type SecureConnectListener = () => void

/**
 * Connects as `tls.connect()` does, with TLS 1.2 or 1.3 by OpenSSL, and returns a stream whose `renegotiate()` does what
 * the protocol offers: a renegotiation in TLS 1.2, a key update in TLS 1.3.
 *
 * It takes the arguments of `tls.connect()`. An option that it does not support is an error.
 *
 * @throws RenegotiationError `ERR_RENEGOTIATION_UNSUPPORTED` if there is no OpenSSL; the message says what to install.
 * @throws TypeError (`ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`) or RangeError (`ERR_OUT_OF_RANGE`) for a bad option,
 *   and what `tls.createSecureContext()` throws. No connection has been made then.
 * @example
 * ```js
 * import { connect } from 'renegotiation-duplex/openssl'
 *
 * const stream = connect({ host: 'plant.example', port: 8883 })
 * stream.write('Hello\n')
 * const { kind } = await stream.renegotiate()
 * console.log(kind) // key-update
 * ```
 */
export function connect(
  options: OpenSSLConnectionOptions,
  secureConnectListener?: SecureConnectListener,
): RenegotiationTLSSocket
export function connect(
  port: number,
  host?: string,
  options?: OpenSSLConnectionOptions,
  secureConnectListener?: SecureConnectListener,
): RenegotiationTLSSocket
export function connect(
  port: number,
  options?: OpenSSLConnectionOptions,
  secureConnectListener?: SecureConnectListener,
): RenegotiationTLSSocket
export function connect(...args: unknown[]): RenegotiationTLSSocket {
  const options = optionsOf(args)
  const { renegotiation, highWaterMark, signal, timeout } = options
  parseOptions(renegotiation)
  const settings: RenegotiationOptions = { rekey: 'auto', highWaterMark, ...renegotiation }
  parseOptions(settings)
  checkOptions('connect', options)
  checkProfile('client', options)
  refuseServerOptions(settings)
  const openssl = loadOpenSSL(options.openssl)
  let stream: RenegotiationTLSSocket | undefined
  // If the signal has been aborted already, no connection is made, and the application can still add its listeners.
  if (signal?.aborted) process.nextTick(() => stream && addAbortSignal(signal, stream))
  stream = streamOf(openssl, options, settings)
  if (options.socket === undefined && timeout) stream.setTimeout(timeout)
  const listener = args.findLast((arg) => typeof arg === 'function') as SecureConnectListener | undefined
  if (listener !== undefined) stream.once('secureConnect', listener)
  if (signal?.aborted === false) addAbortSignal(signal, stream)
  return stream
}

/** The options of all forms of tls.connect(): options; path and options; port, host and options. */
function optionsOf(args: readonly unknown[]): OpenSSLConnectionOptions {
  const objects = args.filter((arg): arg is object => typeof arg === 'object' && arg !== null)
  const [first, second] = args
  const place: { path?: unknown; port?: unknown; host?: unknown } = {}
  if (typeof first === 'string' && !(Number(first) >= 0)) place.path = first
  else if (first !== objects[0]) {
    place.port = first
    if (typeof second === 'string') place.host = second
  }
  return Object.assign({}, place, ...objects)
}

/** Makes the parts of a connection. If one of them cannot be made, the others are destroyed. */
function streamOf(
  openssl: OpenSSL,
  options: OpenSSLConnectionOptions,
  settings: RenegotiationOptions,
): RenegotiationTLSSocket {
  const engine = engineOf(openssl, options)
  try {
    if (options.session) useSession(openssl, engine.ssl, options.session, options)
    const below = options.socket ?? connectBelow(options)
    const socket = new OpenSSLSocket(openssl, engine, below)
    socket.sessionTarget = options
    const transport = new OpenSSLTransport(socket, judgeOf(options), options.allowHalfOpen === true, options.ca)
    const stream = new RenegotiationTLSSocket(socket as unknown as tls.TLSSocket, settings, transport)
    new Wire(engine, below)
    return stream
  } catch (error) {
    engine.destroy()
    throw error
  }
}

function engineOf(openssl: OpenSSL, options: OpenSSLConnectionOptions): OpenSSLEngine {
  const { secureContext, ALPNProtocols, servername, cert, pfx, postHandshakeAuth = true } = options
  const protocols = encodeProtocols(ALPNProtocols)
  const context = secureContext ?? createSecureContext(openssl, options)
  try {
    const engine = new OpenSSLEngine(openssl, {
      context: context.pointerFor(openssl),
      isServer: false,
      servername: servername || undefined,
    })
    const { ssl } = engine
    // Unlike others, this function returns 0 for success.
    if (protocols !== undefined)
      attempt(openssl, () => 1 - openssl.SSL_set_alpn_protos(ssl, protocols, protocols.length))
    if (postHandshakeAuth && (cert || pfx || secureContext)) openssl.SSL_set_post_handshake_auth(ssl, 1)
    return engine
  } finally {
    // The SSL has a reference of its own.
    if (secureContext === undefined) context.free()
  }
}

/** Opens the connection that carries TLS. */
function connectBelow(options: OpenSSLConnectionOptions): Duplex {
  const { timeout, signal, highWaterMark, ...others } = options
  return net.connect({ ...others, allowHalfOpen: true } as net.NetConnectOpts)
}

function judgeOf(options: OpenSSLConnectionOptions): Judge {
  const { servername, host, socket, checkServerIdentity = tls.checkServerIdentity, minDHSize = 1024 } = options
  const hostBelow = (socket as { _host?: string } | undefined)?._host
  return judgeServer({
    hostname: servername || host || hostBelow || 'localhost',
    // As in Node.js, the environment has no effect if the option is there, even if it is undefined.
    rejectUnauthorized: { rejectUnauthorized: !allowsUnauthorized(), ...options }.rejectUnauthorized !== false,
    checkServerIdentity,
    minDHSize,
  })
}

let hasWarned = false

/** Whether the environment switches verification off, as documented by Node.js. Warns once, with the text of Node.js. */
function allowsUnauthorized(): boolean {
  const isAllowed = process.env['NODE_TLS_REJECT_UNAUTHORIZED'] === '0'
  if (isAllowed && !hasWarned) {
    hasWarned = true
    process.emitWarning(
      "Setting the NODE_TLS_REJECT_UNAUTHORIZED environment variable to '0' makes TLS connections and HTTPS requests insecure by disabling certificate verification.",
    )
  }
  return isAllowed
}
