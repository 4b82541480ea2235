import type net from 'node:net'
import tls, { type TlsOptions } from 'node:tls'
import { connectionReset, invalidValue, withCode } from '../core/errors.ts'
import { parseOptions, type RenegotiationOptions, refuseHoldFrom } from '../core/options.ts'
import { Revocation } from '../core/revocation.ts'
import type { CRL } from '../core/revocation-input.ts'
import type { RevocationServer } from '../core/revocation-server.ts'
import type { CRLUpdateReport } from '../core/revocation-update.ts'
import { publishRefusal, rememberPeer } from '../core/security-failure.ts'
import { RenegotiationTLSSocket } from '../faces/renegotiation-tls-socket.ts'
import { serverAuthorities } from '../transports/tls-peer-certificates.ts'
import { checkProfile, hasProfile, mustHaveProfile } from '../transports/tls-profile.ts'
import { encodeProtocols, type ProtocolChoice, preferOwn } from './alpn.ts'
import { mustBeBytes } from './argument.ts'
import type { OpenSSL } from './binding.ts'
import { type ContextOptions, createSecureContext, serverContextOptions } from './context.ts'
import { OpenSSLEngine } from './engine.ts'
import { judgeClient } from './judge.ts'
import { loadOpenSSL, type OpenSSLOptions } from './library.ts'
import { OpenSSLSocket } from './openssl-socket.ts'
import { OpenSSLTransport } from './openssl-transport.ts'
import { checkOptions } from './options.ts'
import { SecureContext } from './secure-context.ts'
import { negotiate } from './ssl-events.ts'
import { setTicketKeys } from './ticket-keys.ts'
import { Wire } from './wire.ts'

/** The callback of an `SNICallback`. */
type ContextCallback = (error: Error | null, context?: SecureContext) => void

/** The options of {@link createServer}: those of `tls.createServer()`, of each stream, and which OpenSSL to use. */
export interface OpenSSLServerOptions extends Omit<TlsOptions, 'SNICallback' | 'secureContext'> {
  /** Chooses the certificate by the server name of the client. The context is one of `createSecureContext()`. */
  SNICallback?: ((servername: string, callback: ContextCallback) => void) | undefined
  /** The options of each stream. The default of `rekey` is `'auto'`. */
  renegotiation?: RenegotiationOptions | undefined
  /** Which OpenSSL to use. Default: that of Node.js, or else that of the system. */
  openssl?: OpenSSLOptions | undefined
}

type SecureConnectionListener = (socket: RenegotiationTLSSocket) => void

/**
 * Creates a server as `tls.createServer()` does, with TLS 1.2 and 1.3 by OpenSSL. Its connections are streams that can
 * update their keys while data flows in both directions, and ask a client for its certificate after the handshake.
 *
 * It takes the arguments of `tls.createServer()`. An option that it does not support is an error.
 *
 * @throws as `connect()` does.
 * @example
 * ```js
 * import { createServer } from 'renegotiation-duplex/openssl'
 *
 * const server = createServer({ key, cert, ca }, async (stream) => {
 *   await stream.renegotiate({ requestCert: true })
 *   stream.end(`Hello, ${stream.getPeerCertificate().subject.CN}`)
 * })
 * server.listen(8443)
 * ```
 */
export function createServer(secureConnectionListener?: SecureConnectionListener): OpenSSLServer
export function createServer(
  options: OpenSSLServerOptions,
  secureConnectionListener?: SecureConnectionListener,
): OpenSSLServer
export function createServer(
  options?: OpenSSLServerOptions | SecureConnectionListener | null,
  secureConnectionListener?: SecureConnectionListener,
): OpenSSLServer {
  if (typeof options === 'function') return new OpenSSLServer({}, options)
  return new OpenSSLServer(options ?? {}, secureConnectionListener)
}

/** Milliseconds for the first handshake, as with `tls.createServer()`. */
const HANDSHAKE_TIMEOUT = 120_000

/** Events of a `tls.Server` that there is no counterpart for. */
const unsupportedEvents: Readonly<Record<string, string>> = {
  newSession: 'sessions are resumed by tickets (option ticketKeys)',
  resumeSession: 'sessions are resumed by tickets (option ticketKeys)',
  OCSPRequest: 'OCSP responses are not implemented',
}

/** A `tls.Server` whose connections use OpenSSL. */
export class OpenSSLServer extends tls.Server implements RevocationServer {
  readonly #openssl: OpenSSL
  readonly #options: OpenSSLServerOptions
  readonly #protocolChoice: ProtocolChoice | undefined
  #context: SecureContext
  readonly #revocation = new Revocation()
  /** The contexts of addContext(), with the pattern of their names. */
  readonly #contexts: { readonly name: RegExp; readonly context: SecureContext }[] = []

  constructor(options: OpenSSLServerOptions, listener: SecureConnectionListener | undefined) {
    if (parseOptions(options.renegotiation).holdFrom === 'answer') refuseHoldFrom()
    checkOptions('server', options)
    checkProfile('server', options)
    const openssl = loadOpenSSL(options.openssl)
    // The streams decide when a connection ends.
    const below = { ...options, SNICallback: undefined, allowHalfOpen: true } as TlsOptions
    super(below, listener as ((socket: tls.TLSSocket) => void) | undefined)
    this.#openssl = openssl
    this.#options = options
    this.#protocolChoice = protocolChoice(options)
    this.#context = this.#contextOf(options)
    // In place of Node's own listener, which makes a TLSSocket.
    this.removeAllListeners('connection')
    this.on('connection', (socket) => this.#accept(socket))
    this.on('close', () => this.#revocation.stop())
    this.on('newListener', (event) => {
      const reason = unsupportedEvents[event]
      if (reason !== undefined) throw invalidValue(`The event ${event} is not supported over OpenSSL: ${reason}`)
    })
  }

  /** Other certificates for clients that request a server name, in any case. `*` stands for one label. */
  override addContext(hostname: string, context: ContextOptions | SecureContext | tls.SecureContext): void {
    if (!hostname) {
      const message = '"servername" is required parameter for Server.addContext'
      throw withCode(new Error(message), 'ERR_TLS_REQUIRED_SERVER_NAME')
    }
    const pattern = hostname.replace(/[.^$+?\-\\[\]{}]/g, '\\$&').replaceAll('*', '[^.]*')
    const own = context instanceof SecureContext ? context : this.#contextOf(context as ContextOptions)
    this.#contexts.push({ name: new RegExp(`^${pattern}$`, 'i'), context: own })
  }

  /** Other certificates and keys for new connections. */
  override setSecureContext(options: tls.SecureContextOptions): void {
    if (#options in this && hasProfile(this.#options)) mustHaveProfile(options)
    super.setSecureContext(options)
    // Node calls it in its constructor as well.
    if (#context in this) this.#context = this.#contextOf({ ...this.#options, ...options })
  }

  updateCRL(crl: CRL): Promise<CRLUpdateReport> {
    return this.#revocation.update(crl, (beside) => serverAuthorities(this, beside))
  }

  override getTicketKeys(): Buffer<ArrayBuffer> {
    return Buffer.from(this.#context.ticketKeys as Buffer)
  }

  override setTicketKeys(keys: Buffer): void {
    mustBeBytes('buffer', keys)
    setTicketKeys(this.#context, keys)
  }

  #contextOf(options: ContextOptions): SecureContext {
    const { requestCert, rejectUnauthorized } = this.#options
    const all = { ...serverContextOptions(options), requestCert, rejectUnauthorized }
    const context = createSecureContext(this.#openssl, all as ContextOptions)
    if (this.#protocolChoice !== undefined) negotiate(this.#openssl, context.pointer)
    return context
  }

  #accept(below: net.Socket): void {
    const { requestCert, rejectUnauthorized, allowHalfOpen = false, renegotiation } = this.#options
    const settings = { rekey: 'auto', ...renegotiation } as const
    const engine = new OpenSSLEngine(this.#openssl, {
      context: this.#context.pointer,
      isServer: true,
      requestCert: requestCert === true,
      rejectUnauthorized: rejectUnauthorized !== false,
    })
    const socket = new OpenSSLSocket(this.#openssl, engine, below, this)
    socket.protocolChoice = this.#protocolChoice
    socket.sessionIdContext = this.#context.sessionIdContext
    socket.askForContext = (servername, done) => this.#choose(servername, done)
    const transport = new OpenSSLTransport(socket, judgeClient, allowHalfOpen, (this as { ca?: unknown }).ca)
    const plain = socket as unknown as tls.TLSSocket
    const stream = new RenegotiationTLSSocket(plain, settings, transport, this.#revocation)
    new Wire(engine, below)
    rememberPeer({ face: below })
    this.#watchHandshake(stream, socket, below)
  }

  /** Emits `secureConnection`, or `tlsClientError` if the handshake fails. */
  #watchHandshake(stream: RenegotiationTLSSocket, socket: OpenSSLSocket, below: net.Socket): void {
    const { handshakeTimeout } = this.#options
    const timer = setTimeout(() => {
      stream.destroy(withCode(new Error('TLS handshake timeout'), 'ERR_TLS_HANDSHAKE_TIMEOUT'))
    }, handshakeTimeout || HANDSHAKE_TIMEOUT)
    const over = () => {
      clearTimeout(timer)
      // In a renegotiation, the protocol stays as it is.
      socket.protocolChoice = undefined
      stream.off('error', failed).off('close', closed)
    }
    const failed = (error: Error) => {
      over()
      publishRefusal(error, socket, below)
      this.emit('tlsClientError', error, stream)
    }
    const closed = () => failed(connectionReset('socket hang up'))
    stream.on('error', failed).on('close', closed)
    stream.once('secure', () => {
      over()
      this.emit('secureConnection', stream)
    })
    if (this.listenerCount('keylog') > 0) stream.on('keylog', (line: Buffer) => this.emit('keylog', line, stream))
  }

  #choose(servername: string, done: ContextCallback): void {
    const { SNICallback } = this.#options
    const chosen = (error: Error | null, context?: SecureContext | null) => {
      if (context && !(context instanceof SecureContext)) {
        done(invalidValue('SNICallback must pass a context of createSecureContext() of this module'))
        return
      }
      done(error, context ?? undefined)
    }
    if (SNICallback) SNICallback.call(this, servername, chosen)
    else chosen(null, this.#contexts.findLast(({ name }) => name.test(servername))?.context)
  }
}

function protocolChoice({ ALPNCallback, ALPNProtocols }: OpenSSLServerOptions): ProtocolChoice | undefined {
  if (ALPNCallback) return (protocols, servername) => ALPNCallback({ servername, protocols: [...protocols] })
  const encoding = encodeProtocols(ALPNProtocols)
  return encoding && preferOwn(encoding)
}
