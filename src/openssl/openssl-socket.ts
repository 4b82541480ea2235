import { EventEmitter } from 'node:events'
import net from 'node:net'
import { getDefaultHighWaterMark } from 'node:stream'
import tls from 'node:tls'
import { invalidValue, withCode } from '../core/errors.ts'
import type { ProtocolChoice } from './alpn.ts'
import { mustBeFunction, mustBeNumber, mustBeString } from './argument.ts'
import { addMembersBelow, type Below, passOnEvents } from './below.ts'
import type { OpenSSL } from './binding.ts'
import * as c from './constants.ts'
import { type ContextOptions, createSecureContext } from './context.ts'
import type { OpenSSLEngine } from './engine.ts'
import type { Pointer } from './ffi-types.ts'
import { IdleTimer } from './idle-timer.ts'
import { useSession } from './resumption.ts'
import { SecureContext } from './secure-context.ts'
import { bindSessions } from './server-name.ts'
import { SessionFacts } from './session-facts.ts'
import { bindSession, type SessionTarget } from './session-state.ts'
import { listen, negotiate, reportKeys, reportSessions, type SSLListener } from './ssl-events.ts'
import { attempt, mustExist } from './succeed.ts'

/**
 * What lies below a stream of `renegotiation-duplex/openssl`: all of a `tls.TLSSocket` but its data. It answers for the
 * session with what OpenSSL has, and for the connection with what the socket or other Duplex below has.
 */
export class OpenSSLSocket extends EventEmitter implements SSLListener {
  readonly encrypted = true
  /** Where Node.js has the same. The faces of this package look there. */
  readonly _tlsOptions: { readonly isServer: boolean }
  readonly openssl: OpenSSL
  readonly engine: OpenSSLEngine
  readonly below: Below
  readonly server: tls.Server | undefined
  readonly readableHighWaterMark: number
  readonly writableHighWaterMark: number
  readonly readableEncoding = null
  /** Whether the first handshake is complete and judged. */
  _secureEstablished = false
  secureConnecting = true
  authorized = false
  authorizationError: Error | string | null = null
  destroyed = false
  errored: Error | null = null
  /** Why the handshake must fail. OpenSSL may have an error of its own for it. */
  failure: Error | undefined
  bytesRead = 0
  bytesWritten = 0
  renegotiationDisabled = false
  /** On a client: the server for which its sessions are. */
  sessionTarget: SessionTarget | undefined
  readonly #facts: SessionFacts
  readonly #idle = new IdleTimer(() => this.emit('timeout'))
  readonly #stopListening: () => void
  /** On a server: chooses the application protocol. Set by the server. Undefined: takes no part in ALPN. */
  protocolChoice: ProtocolChoice | undefined
  /** The option of a server. Set by the server. */
  sessionIdContext = ''
  /** On a server: the server name in the first ClientHello, '' for none. */
  #servername: string | undefined
  #isContextChosen = false
  /** Asks a server's application for a context. Set by the server. */
  askForContext:
    | ((servername: string, done: (error: Error | null, context?: SecureContext) => void) => void)
    | undefined

  constructor(openssl: OpenSSL, engine: OpenSSLEngine, below: Below, server?: tls.Server) {
    super()
    this.openssl = openssl
    this.engine = engine
    this.below = below
    this.server = server
    this._tlsOptions = { isServer: engine.isServer }
    this.readableHighWaterMark = this.writableHighWaterMark = getDefaultHighWaterMark(false)
    this.#facts = new SessionFacts(openssl, engine.ssl)
    passOnEvents(below, this)
    this.#stopListening = listen(openssl, engine.ssl, this)
    // It may be replaced later, and is freed with the SSL.
    const context = () => openssl.SSL_get_SSL_CTX(engine.ssl) as Pointer
    if (!engine.isServer) reportSessions(openssl, context())
    // Only then, because OpenSSL has work with it.
    this.on('newListener', (event) => {
      if (event === 'keylog' && !this.destroyed) reportKeys(openssl, context())
    })
  }

  // Called by OpenSSL

  keylog(line: Buffer): void {
    this.emit('keylog', line)
  }

  newSession(session: Buffer): void {
    this.emit('session', this.#bound(session))
  }

  clientHello(servername: string): 'accept' | 'wait' | 'refuse' {
    this.engine.requestedName = servername
    if (this.#servername === undefined) {
      // All that comes later is under this name, because the context was chosen by it.
      this.#servername = servername
      bindSessions(this.openssl, this.engine.ssl, this.sessionIdContext, servername)
      this.#chooseContext(servername)
    } else if (!this._secureEstablished && servername !== this.#servername) {
      // After a HelloRetryRequest of TLS 1.3.
      return 'refuse'
    }
    return this.#isContextChosen && this.failure === undefined ? 'accept' : 'wait'
  }

  #chooseContext(servername: string): void {
    const { askForContext } = this
    this.askForContext = undefined
    if (servername === '' || askForContext === undefined) {
      this.#isContextChosen = true
      return
    }
    let isAsking = true
    const chosen = (error: Error | null, context?: SecureContext) => {
      if (this.#isContextChosen) {
        this.fail(withCode(new Error('Callback called multiple times'), 'ERR_MULTIPLE_CALLBACK'))
        return
      }
      this.#isContextChosen = true
      if (this.destroyed) return
      if (error) this.fail(error)
      else if (context !== undefined) this.#chosen(context)
      if (!isAsking) this.engine.proceed()
    }
    try {
      askForContext(servername, chosen)
    } catch (error) {
      // As with Node.js. A client must not be able to end the process.
      this.fail(error instanceof Error ? error : new Error(`SNICallback has thrown ${String(error)}`))
    }
    isAsking = false
  }

  chooseProtocol(protocols: readonly string[]): string | undefined | null {
    const { protocolChoice, servername } = this
    return protocolChoice === undefined ? null : protocolChoice(protocols, servername || '')
  }

  /** The handshake fails with `error`. May be called from inside OpenSSL. */
  fail(error: Error): void {
    this.failure ??= error
    this.engine.break(error)
  }

  // Called by the transport

  /** Counts data, which is activity. */
  received(bytes: number): void {
    this.bytesRead += bytes
    this.#idle.active()
  }

  sent(bytes: number): void {
    this.bytesWritten += bytes
    this.#idle.active()
  }

  /** The first handshake is complete, and the peer is accepted. */
  established(): void {
    this._secureEstablished = true
    this.secureConnecting = false
    // As with Node.js, unless the application has set another.
    if (this._tlsOptions.isServer) this.#idle.milliseconds ??= 0
  }

  /** Called before the engine is destroyed. After that, there is no session to tell of. */
  ended(): void {
    this.destroyed = true
    this.#idle.stop()
    this.#stopListening()
  }

  // The session

  get alpnProtocol(): string | false | null {
    return this.engine.handshaking ? null : this.#ask((facts) => facts.alpnProtocol, null)
  }

  get servername(): string | false | null {
    return this.#ask((facts) => (this.#servername ?? facts.servername) || false, null)
  }

  getCertificate() {
    return this.#ask((facts) => facts.getCertificate(), null)
  }

  getCipher() {
    return this.#ask((facts) => facts.getCipher(), undefined)
  }

  getEphemeralKeyInfo() {
    return this.#ask((facts) => facts.getEphemeralKeyInfo(), null)
  }

  getFinished() {
    return this.#ask((facts) => facts.getFinished(), undefined)
  }

  getPeerCertificate(detailed?: boolean) {
    return this.#ask((facts) => facts.getPeerCertificate(detailed), null)
  }

  getPeerFinished() {
    return this.#ask((facts) => facts.getPeerFinished(), undefined)
  }

  getPeerX509Certificate() {
    return this.#ask((facts) => facts.getPeerX509Certificate(), undefined)
  }

  getProtocol() {
    return this.#ask((facts) => facts.getProtocol(), null)
  }

  getSession() {
    const session = this.#ask((facts) => facts.getSession(), undefined)
    return session && this.#bound(session)
  }

  getSharedSigalgs() {
    return this.#ask((facts) => facts.getSharedSigalgs(), null)
  }

  getTLSTicket() {
    return this.#ask((facts) => facts.getTLSTicket(), undefined)
  }

  getX509Certificate() {
    return this.#ask((facts) => facts.getX509Certificate(), undefined)
  }

  isSessionReused() {
    return this.#ask((facts) => facts.isSessionReused(), null)
  }

  exportKeyingMaterial(length: number, label: string, context?: NodeJS.ArrayBufferView): Buffer {
    const exported = this.#ask((facts) => facts.exportKeyingMaterial(length, label, context), undefined)
    if (exported === undefined) throw withCode(new Error('The socket is destroyed'), 'ERR_TLS_INVALID_STATE')
    return exported
  }

  // What an application can set

  /** Throws Node's own errors for bad arguments. The stream above renegotiates. */
  renegotiate(options: object, callback: (error: Error | null) => void): boolean | undefined {
    return tls.TLSSocket.prototype.renegotiate.call({ destroyed: true } as never, options, callback)
  }

  disableRenegotiation(): void {
    this.renegotiationDisabled = true
  }

  enableTrace(): never {
    throw invalidValue(
      "enableTrace() is not supported over OpenSSL: listen to 'keylog' and decrypt a recording instead",
    )
  }

  /** The size of the records that are sent: 512 to 16,384 bytes. Returns whether OpenSSL accepts it. */
  setMaxSendFragment(bytes: number): boolean {
    mustBeNumber('size', bytes)
    return this.#control(c.SSL_CTRL_SET_MAX_SEND_FRAGMENT, bytes) === 1
  }

  /** On a client, before the handshake: the server name to request (SNI). */
  setServername(name: string): void {
    mustBeString('name', name)
    if (this._tlsOptions.isServer)
      throw withCode(new Error('Cannot issue SNI from a TLS server-side socket'), 'ERR_TLS_SNI_FROM_SERVER')
    const text = Buffer.from(`${name}\0`)
    attempt(this.openssl, () => this.#control(c.SSL_CTRL_SET_TLSEXT_HOSTNAME, c.TLSEXT_NAMETYPE_host_name, text))
  }

  /** On a server: the certificate for later handshakes. A context, or the options of one. */
  setKeyCert(context: SecureContext | ContextOptions): void {
    const own = context instanceof SecureContext ? context : createSecureContext(this.openssl, context)
    const { openssl, engine } = this
    try {
      openssl.ERR_clear_error()
      mustExist(openssl, openssl.SSL_set_SSL_CTX(engine.ssl, own.pointerFor(openssl)))
      if (this.protocolChoice !== undefined) negotiate(openssl, own.pointer)
      if (this.listenerCount('keylog') > 0) reportKeys(openssl, own.pointer)
    } finally {
      // The SSL has a reference of its own.
      if (own !== context) own.free()
    }
  }

  /** On a client, before the handshake: the session to resume, as the event `session` brings it. */
  setSession(session: string | Buffer): void {
    useSession(this.openssl, this.engine.ssl, session, this.sessionTarget ?? {})
  }

  // The connection

  get connecting(): boolean {
    return this.below.connecting ?? false
  }

  get pending(): boolean {
    return this.below.pending ?? false
  }

  address(): object {
    return this.below.address?.() ?? {}
  }

  getTypeOfService(): number {
    return (this.below as { getTypeOfService?(): number }).getTypeOfService?.() ?? 0
  }

  get timeout(): number | undefined {
    return this.#idle.milliseconds
  }

  setTimeout(milliseconds: number, callback?: () => void): this {
    if (this.destroyed) return this
    this.#idle.set(milliseconds)
    // The face listens itself.
    if (callback !== undefined) mustBeFunction('callback', callback)
    return this
  }

  /** Throws Node's error: the handle of a TLS socket cannot be reset. */
  resetAndDestroy(): this {
    if (!this.destroyed) net.Socket.prototype.resetAndDestroy.call({ _handle: {} } as never)
    return this
  }

  /** For the faces of this package: nothing is read here. */
  read(): null {
    return null
  }

  isPaused(): boolean {
    return false
  }

  /** Uses the context that the application has chosen. If that fails, so does the handshake, not the application. */
  #chosen(context: SecureContext): void {
    try {
      this.setKeyCert(context)
    } catch (error) {
      this.fail(error as Error)
    }
  }

  #control(command: number, value: number, bytes: Buffer | null = null): number {
    return this.openssl.SSL_ctrl(this.engine.ssl, command, value, bytes)
  }

  /** A client's session, bound to the name for which the server was checked. */
  #bound(session: Buffer): Buffer {
    return this.sessionTarget === undefined ? session : bindSession(session, this.sessionTarget)
  }

  #ask<T, D>(question: (facts: SessionFacts) => T, afterwards: D): T | D {
    return this.destroyed ? afterwards : question(this.#facts)
  }
}

addMembersBelow(OpenSSLSocket.prototype)
