/*
 * What this package uses of the private parts of Node; those of net.Socket are in node-internals-socket.ts. Each function
 * checks that the part exists; its comment says what is done without it. The names are those of lib/_tls_wrap.js
 * (lib/internal/tls/wrap.js since Node 22), lib/net.js and src/crypto/crypto_tls.cc. They are the same in Node 20 to 26.
 */
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { CertificatePolicy } from '../core/transport.ts'

/** The members of TLSWrap that are used here. */
interface Handle {
  onhandshakestart?: unknown
  onhandshakedone?: unknown
  lastHandshakeTime?: number
  handshakes?: number
  setNoDelay?: (enable: boolean) => unknown
  setVerifyMode?: (requestCert: boolean, rejectUnauthorized: boolean) => void
  verifyError?: () => Error | null
  getServername?: () => string | false
  _secureContext?: { context?: Partial<TicketContext> }
  sni_context?: Partial<TicketContext>
  _parentWrap?: ParentWrap | null
  _parent?: HandleBelow | null
  writeQueueSize?: number
}

/** The handle that a TLSWrap writes to: of TCP or a pipe, of another TLS socket, or of a JSStreamSocket. */
interface HandleBelow {
  _parent?: HandleBelow | null
  writeQueueSize?: number
}

/** A JSStreamSocket (lib/internal/js_stream_socket.js), or another TLS socket. */
interface ParentWrap {
  _handle?: {
    _parentWrap?: ParentWrap | null
    finishWrite?: (request: unknown, status: number) => void
  } | null
  doWrite?: (request: unknown, buffers: readonly Uint8Array[]) => unknown
}

/** The members of SecureContext (src/crypto/crypto_context.cc) that are used here. */
export interface TicketContext {
  getTicketKeys(): Buffer
  setTicketKeys(keys: Buffer): void
}

interface Internals {
  _handle?: Handle | null
  _parent?: object | null
  _requestCert?: boolean
  _rejectUnauthorized?: boolean
  _controlReleased?: boolean
  _securePending?: boolean
  _secureEstablished?: boolean
  _tlsOptions?: { isServer?: boolean; handshakeTimeout?: number; ALPNProtocols?: unknown }
}

function internals(socket: TLSSocket): Internals {
  return socket as unknown as Internals
}

/** Returns a private symbol of Node that is the key of a property. */
export function hiddenKey(object: object, description: string): symbol | undefined {
  return Object.getOwnPropertySymbols(object).find((key) => key.description === description)
}

/** Returns a property whose key is a private symbol of Node. */
function hidden(object: object | null | undefined, description: string): unknown {
  if (!object) return undefined
  const symbol = hiddenKey(object, description)
  return symbol && (object as Record<symbol, unknown>)[symbol]
}

/**
 * Calls `started` whenever OpenSSL begins a handshake (SSL_CB_HANDSHAKE_START), before it processes the first message.
 * If a server begins, `started` is called twice: for the HelloRequest and for the ClientHello that answers it. Calls
 * `done` whenever OpenSSL has completed a handshake (SSL_CB_HANDSHAKE_DONE), after Node's own hook and before OpenSSL
 * reads another byte. Both calls are synchronous. `before` is called before Node's own hook for a start.
 *
 * Returns a function that undoes it, or undefined without `_handle.onhandshakestart` and `onhandshakedone`. The caller
 * then has only `keylog`, which is emitted in the middle of a handshake, and `secure`, at its end.
 */
export function observeHandshakes(
  socket: TLSSocket,
  started: () => void,
  done: () => void,
  before: (handle: Handle) => void = () => {},
): (() => void) | undefined {
  const handle = internals(socket)._handle
  const { onhandshakestart, onhandshakedone } = handle ?? {}
  if (!handle || typeof onhandshakestart !== 'function' || typeof onhandshakedone !== 'function') return undefined
  const startHook = function (this: Handle, now: number): void {
    before(handle)
    onhandshakestart.call(this, now)
    if (!socket.destroyed) started()
  }
  const doneHook = function (this: Handle): void {
    onhandshakedone.call(this)
    if (!socket.destroyed) done()
  }
  handle.onhandshakestart = startHook
  handle.onhandshakedone = doneHook
  return () => {
    if (handle.onhandshakestart === startHook) handle.onhandshakestart = onhandshakestart
    if (handle.onhandshakedone === doneHook) handle.onhandshakedone = onhandshakedone
  }
}

/**
 * As {@link observeHandshakes}. Also switches off Node's limit of handshakes (ERR_TLS_SESSION_ATTACK), which would
 * count those of a server twice.
 */
export function onHandshakes(socket: TLSSocket, started: () => void, done: () => void): (() => void) | undefined {
  return observeHandshakes(socket, started, done, (handle) => {
    // With 0, Node's own hook takes this for the first handshake, and checks nothing. If renegotiation is disabled, the
    // check must run.
    if (!renegotiationDisabled(socket)) handle.lastHandshakeTime = 0
  })
}

let warned = false

/** Warns once that {@link onHandshakes} does not work in this release of Node. */
export function warnWithoutHook(): void {
  if (warned) return
  warned = true
  process.emitWarning(
    "This Node.js doesn't tell when a TLS handshake starts. Renegotiations begun here work; those that the peer " +
      'begins are seen too late to be guarded.',
    { type: 'RenegotiationWarning', code: 'RENEGOTIATION_NO_HANDSHAKE_HOOK' },
  )
}

/**
 * Whether a second handshake began before {@link onHandshakes} was called. It may be over or not. Node counts
 * handshakes on a server (`_handle.handshakes`). Without that count, and on a client: false.
 */
export function hasBegunAnother(socket: TLSSocket): boolean {
  return (internals(socket)._handle?.handshakes ?? 0) > 0
}

/**
 * Whether the first handshake is complete, and Node has emitted `secure` or is emitting it. The public
 * `secureConnecting` is not used: it stays true on a server's socket that tls.createServer() did not make. Without
 * `_secureEstablished`: whether OpenSSL has the Finished of both ends, which is a little earlier.
 */
export function isSecured(socket: TLSSocket): boolean {
  const { _secureEstablished } = internals(socket)
  return _secureEstablished ?? Boolean(socket.getFinished() && socket.getPeerFinished())
}

/**
 * Whether OpenSSL has completed a handshake and Node has not emitted `secure` for it yet, because a server waits for
 * its `newSession` listener to call back. Without `_securePending`: false.
 */
export function isSecurePending(socket: TLSSocket): boolean {
  return internals(socket)._securePending === true
}

/** Whether `socket.disableRenegotiation()` was called. Without Node's symbol for it: false. */
export function renegotiationDisabled(socket: TLSSocket): boolean {
  return hidden(socket, 'disable-renegotiation') === true
}

/**
 * Calls `failed` for TLS errors that Node emits only as `_tlsError`, without closing the socket. It does that for
 * sockets made by `new tls.TLSSocket()`, and on a server until the first handshake is complete (the server then emits
 * `tlsClientError`). Without `_controlReleased`: does nothing.
 */
export function onHiddenErrors(socket: TLSSocket, failed: (error: Error) => void): void {
  if (internals(socket)._controlReleased !== false) return
  socket.on('_tlsError', (error: Error) => {
    if (!internals(socket)._controlReleased && !socket.destroyed) failed(error)
  })
}

/** The handle, to which Node's http2 binds. Null without it, and when the socket is closed. */
export function handleOf(socket: TLSSocket): object | null {
  return internals(socket)._handle ?? null
}

/** Whether the socket is a client that offers only HTTP/2 (ALPN). Without `_tlsOptions`: false. */
export function offersOnlyHTTP2(socket: TLSSocket): boolean {
  const { isServer, ALPNProtocols } = internals(socket)._tlsOptions ?? {}
  return (
    isServer !== true && ALPNProtocols instanceof Uint8Array && Buffer.from(ALPNProtocols).toString() === '\u0002h2'
  )
}

/** Whether the socket belongs to a server. Without `_tlsOptions`: false. */
export function isServer(socket: TLSSocket): boolean {
  return internals(socket)._tlsOptions?.isServer === true
}

/**
 * Stops later handshakes from changing the socket's timeout. If the TLS options have a `handshakeTimeout`, as those of
 * tls.createServer() always do, Node sets the timeout to 0 after every handshake (`_finishInit`), not only after the
 * first. Returns false without `_tlsOptions`: the caller must then restore the timeout after each handshake.
 */
export function keepTimeout(socket: TLSSocket): boolean {
  const options = internals(socket)._tlsOptions
  if (!options) return false
  if (options.handshakeTimeout) options.handshakeTimeout = 0
  return true
}

/** Why a socket cannot renegotiate for which {@link mendJavaScriptStream} has returned false. */
export const NOT_MENDED =
  'The TLS socket runs on a stream in JavaScript instead of a net.Socket, ' +
  'where Node may fail an assertion of its own in a renegotiation under traffic'

/**
 * Makes renegotiation possible for a socket on a Duplex in JavaScript (directly, or below another TLS socket). Returns
 * whether the socket can renegotiate.
 *
 * JSStreamSocket asserts that there is one write at a time, empty writes included. TLSWrap does not keep to that: it
 * treats an empty write separately (`current_empty_write_`), and sends the messages of a handshake while it is pending.
 * `socket.renegotiate()` makes empty writes, so under traffic the assertion fails and ends the process. Here an empty
 * write does not reach the stream: it completes in the next turn of the event loop, before all later writes.
 *
 * Without the private parts: returns false.
 */
export function mendJavaScriptStream(socket: TLSSocket): boolean {
  let stream = internals(socket)._handle?._parentWrap
  while (stream?._handle?._parentWrap) stream = stream._handle._parentWrap
  if (stream?.constructor.name !== 'JSStreamSocket') return true
  const { doWrite, _handle: handle } = stream
  if (typeof doWrite !== 'function' || typeof handle?.finishWrite !== 'function') return false
  stream.doWrite = function (request: unknown, buffers: readonly Uint8Array[]): unknown {
    if (buffers.some(({ length }) => length > 0)) return doWrite.call(this, request, buffers)
    setImmediate(() => handle.finishWrite?.(request, 0))
    return 0
  }
  return true
}

/**
 * The sockets below this one, from the nearest to the one at the bottom. If one of them was destroyed and has not
 * closed yet, destroying this socket is a segmentation fault (TLSWrap's `close` calls destroySSL while the handle below
 * may still call back). Node also does not emit `close` for this socket if the one at the bottom was destroyed below
 * another TLS socket. Without `_parentWrap`: none.
 */
export function socketsBelow(socket: TLSSocket): Socket[] {
  const below: Socket[] = []
  let next = internals(socket)._handle?._parentWrap
  while (next) {
    below.push(next as unknown as Socket)
    next = next._handle?._parentWrap
  }
  return below
}

/**
 * How many encrypted bytes the socket keeps (`enc_out_`) although the handle at the bottom, of TCP or a pipe, waits for
 * nothing to be sent. TLSWrap then passes them on as soon as native immediates run. Without `_parent` and
 * `writeQueueSize`, and on a stream in JavaScript: 0.
 */
export function strandedBytes(socket: TLSSocket): number {
  const handle = internals(socket)._handle
  let bottom: HandleBelow | null | undefined = handle
  while (bottom?._parent) bottom = bottom._parent
  return bottom?.writeQueueSize === 0 ? (handle?.writeQueueSize ?? 0) : 0
}

/** Whether the socket was made with the option `onread`, so that it emits no `data`. Without Node's symbol: false. */
export function readsIntoBuffer(socket: object): boolean {
  return Boolean(hidden(socket, 'kBuffer'))
}

/**
 * Switches Nagle's algorithm off, or back to what the application has chosen. It does not change the setting that
 * `socket.setNoDelay()` remembers. With Nagle's algorithm, each small flight of a handshake waits about 40 ms for the
 * ACK of the data before it (RFC 896 together with RFC 1122, 4.2.3.2). Without the private parts: does nothing, and a
 * renegotiation under load is slower.
 */
export function suspendNagle(socket: TLSSocket, suspended: boolean): void {
  const { _handle: handle, _parent: parent } = internals(socket)
  const chosen = hidden(socket, 'kSetNoDelay')
  if (typeof chosen !== 'boolean') return
  handle?.setNoDelay?.(suspended || chosen || hidden(parent, 'kSetNoDelay') === true)
}

/**
 * Whether Node verifies the peer (chain and host name) after every handshake, as it does for a client of
 * `tls.connect()`. Without Node's symbol for the options of such a client: false.
 */
export function verifiesServer(socket: TLSSocket): boolean {
  return hidden(socket, 'connect-options') !== undefined
}

/** Whether a server requests and requires a certificate. Undefined on a client. Without the private parts: neither. */
export function certificatePolicy(socket: TLSSocket): CertificatePolicy | undefined {
  if (!isServer(socket)) return undefined
  const { _requestCert, _rejectUnauthorized } = internals(socket)
  return { requestCert: _requestCert === true, rejectUnauthorized: _rejectUnauthorized === true }
}

/**
 * Restores a server's policy after a renegotiation that had its own, because `socket.renegotiate(options)` makes its
 * options permanent. A client that has shown a certificate is still asked for it (`shown`); otherwise it would have
 * none after the next handshake that it begins. Without the private parts: the options of the last renegotiation stay.
 */
export function restoreCertificatePolicy(socket: TLSSocket, policy: CertificatePolicy, shown: boolean): void {
  const own = internals(socket)
  own._requestCert = policy.requestCert
  own._rejectUnauthorized = policy.rejectUnauthorized
  own._handle?.setVerifyMode?.(policy.requestCert || shown, policy.rejectUnauthorized)
}

/**
 * Why OpenSSL did not verify the peer's certificate, or null if it did. Node's `authorized` and `authorizationError`
 * are not enough: on a server they are set only for sockets of tls.createServer(), and `authorized` stays true after a
 * later failure. Without `verifyError`: what these two say.
 */
export function verifyError(socket: TLSSocket): Error | null {
  const handle = internals(socket)._handle
  if (typeof handle?.verifyError === 'function') return handle.verifyError()
  return socket.authorized ? null : (socket.authorizationError ?? new Error('The certificate was not verified'))
}

/**
 * On a server: the server name in the last ClientHello (SNI), or undefined if it had none. Without `getServername`:
 * Node's `servername`, which follows it if the server chooses contexts by name.
 */
export function requestedName(socket: TLSSocket): string | undefined {
  const handle = internals(socket)._handle
  const { servername } = socket as { servername?: string | false | null }
  return (typeof handle?.getServername === 'function' ? handle.getServername() : servername) || undefined
}

/**
 * The contexts whose keys OpenSSL may use to decrypt a ticket on this server's socket. At first that is the context
 * that the socket was made with. From a renegotiation on in which the client names a server (SNI), it is the context
 * that was chosen by name (SelectSNIContextCallback). The server's own getTicketKeys() and setTicketKeys() cannot be
 * used, because the server may have another context by now (`server.setSecureContext()`). Without the private parts:
 * none.
 */
export function ticketContexts(socket: TLSSocket): TicketContext[] {
  const { _secureContext: made, sni_context: named } = internals(socket)._handle ?? {}
  return [made?.context, named].filter(hasTicketKeys)
}

function hasTicketKeys(context: Partial<TicketContext> | undefined): context is TicketContext {
  return typeof context?.getTicketKeys === 'function' && typeof context.setTicketKeys === 'function'
}
