/*
 * Everything here that rests on Node's private parts, and nowhere else. Each
 * function looks whether the part is there and, if not, does what can be done
 * without it; its comment says what that is. The names are those of
 * lib/_tls_wrap.js (lib/internal/tls/wrap.js since Node 22), lib/net.js and
 * src/crypto/crypto_tls.cc, the same on Node 20 to 26.
 */
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { CertificatePolicy } from '../core/transport.ts'

/** TLSWrap, as far as it is used. */
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
}

/** lib/internal/js_stream_socket.js, or another TLS socket. */
interface ParentWrap {
  _handle?: {
    _parentWrap?: ParentWrap | null
    finishWrite?: (request: unknown, status: number) => void
  } | null
  doWrite?: (request: unknown, buffers: readonly Uint8Array[]) => unknown
}

/** SecureContext of src/crypto/crypto_context.cc, as far as it is used. */
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

/** A property whose key is a symbol of Node's own. */
function hidden(object: object | null | undefined, description: string): unknown {
  if (!object) return undefined
  const symbol = Object.getOwnPropertySymbols(object).find((key) => key.description === description)
  return symbol && (object as Record<symbol, unknown>)[symbol]
}

/**
 * Calls `started` whenever OpenSSL begins a handshake (SSL_CB_HANDSHAKE_START),
 * before it looks at the handshake's first message. A server's own comes twice,
 * for the HelloRequest and for the ClientHello that answers it. Calls `done`
 * whenever OpenSSL has completed one (SSL_CB_HANDSHAKE_DONE), before it reads
 * another byte, after what Node does then. Both are called synchronously.
 *
 * Also switches off Node's count of handshakes, against which a server's own
 * would count twice each (ERR_TLS_SESSION_ATTACK).
 *
 * Returns how to undo it; undefined where `_handle.onhandshakestart` and
 * `onhandshakedone` are not there. Then `keylog` tells of a handshake, but only
 * in its middle, and `secure` of its end.
 */
export function onHandshakes(socket: TLSSocket, started: () => void, done: () => void): (() => void) | undefined {
  const handle = internals(socket)._handle
  const { onhandshakestart, onhandshakedone } = handle ?? {}
  if (!handle || typeof onhandshakestart !== 'function' || typeof onhandshakedone !== 'function') return undefined
  const startHook = function (this: Handle, now: number): void {
    // Node's own hook takes it for the first handshake then, and checks nothing. With renegotiation disabled its
    // check is wanted.
    if (!renegotiationDisabled(socket)) handle.lastHandshakeTime = 0
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

let warned = false

/** Warns once that {@link onHandshakes} can do nothing in this Node. */
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
 * Whether another handshake has begun after the first one, and before anybody
 * listened by {@link onHandshakes}; it may be over, or not. Node counts them on
 * a server (`_handle.handshakes`). Without that count, and on a client: false.
 */
export function hasBegunAnother(socket: TLSSocket): boolean {
  return (internals(socket)._handle?.handshakes ?? 0) > 0
}

/**
 * Whether Node has taken note of the end of the first handshake, and `secure`
 * has been or is being emitted. `secureConnecting` stays true on a server's
 * socket that tls.createServer didn't make. Without `_secureEstablished`:
 * whether OpenSSL has both ends' Finished, which comes a little earlier.
 */
export function isSecured(socket: TLSSocket): boolean {
  const { _secureEstablished } = internals(socket)
  return _secureEstablished ?? Boolean(socket.getFinished() && socket.getPeerFinished())
}

/**
 * Whether OpenSSL has completed a handshake and Node has not emitted `secure`
 * for it yet: a server waits until its `newSession` listener has called back.
 * Without `_securePending`: false.
 */
export function isSecurePending(socket: TLSSocket): boolean {
  return internals(socket)._securePending === true
}

/** Whether `socket.disableRenegotiation()` was called. Without Node's symbol for it: false. */
export function renegotiationDisabled(socket: TLSSocket): boolean {
  return hidden(socket, 'disable-renegotiation') === true
}

/**
 * Calls `failed` for the errors of TLS that Node keeps to itself: of a socket
 * that somebody has made by `new tls.TLSSocket()` it emits them as `_tlsError`
 * only, and leaves the socket open. A server does that until the first handshake
 * is complete, and tells of them by `tlsClientError`. Without `_controlReleased`:
 * does nothing.
 */
export function onHiddenErrors(socket: TLSSocket, failed: (error: Error) => void): void {
  if (internals(socket)._controlReleased !== false) return
  socket.on('_tlsError', (error: Error) => {
    if (!internals(socket)._controlReleased && !socket.destroyed) failed(error)
  })
}

/** What Node's own http2 binds to. Null without it, and when the socket is closed. */
export function handleOf(socket: TLSSocket): object | null {
  return internals(socket)._handle ?? null
}

/** Whether it is a client that offers HTTP/2 and nothing else (ALPN). Without `_tlsOptions`: false. */
export function offersOnlyHTTP2(socket: TLSSocket): boolean {
  const { isServer, ALPNProtocols } = internals(socket)._tlsOptions ?? {}
  return (
    isServer !== true && ALPNProtocols instanceof Uint8Array && Buffer.from(ALPNProtocols).toString() === '\u0002h2'
  )
}

/** Whether it is the server's end. Without `_tlsOptions` it is taken for a client's. */
export function isServer(socket: TLSSocket): boolean {
  return internals(socket)._tlsOptions?.isServer === true
}

/**
 * Every completed handshake sets the socket's timeout to 0 where the TLS
 * options have a handshakeTimeout, which all of tls.createServer's have
 * (`_finishInit`). Only the first one should. False without `_tlsOptions`: then
 * the timeout has to be put back after each.
 */
export function keepTimeout(socket: TLSSocket): boolean {
  const options = internals(socket)._tlsOptions
  if (!options) return false
  if (options.handshakeTimeout) options.handshakeTimeout = 0
  return true
}

/**
 * Where the socket's bytes go through a Duplex in JavaScript instead of the
 * kernel, directly or below another TLS socket: lets it renegotiate. Returns
 * false where it can't.
 *
 * JSStreamSocket takes one write at a time and asserts it, and counts an empty
 * one like any other. TLSWrap does not: it keeps an empty write apart
 * (`current_empty_write_`), and while that is on its way it sends whatever a
 * handshake has to send. `socket.renegotiate()` makes empty writes; under
 * traffic the assertion is the end of the process. Here an empty write takes no
 * turn on the stream: it is done in the next turn of the event loop, ahead of
 * all writes that come after it. Without the private parts: false.
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
 * The sockets on which somebody made this one, from the nearest to the one at
 * the bottom. If one of them was destroyed and has not closed yet, to destroy
 * this one is a segmentation fault (TLSWrap's `close`: destroySSL, while the
 * handle below still has something to tell). And Node does not emit `close` for
 * this one if the one at the bottom was destroyed below another TLS socket.
 * Without `_parentWrap`: none.
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

/** Whether the socket was made with the option `onread`, and emits no `data`. Without Node's symbol for it: false. */
export function readsIntoBuffer(socket: TLSSocket): boolean {
  return Boolean(hidden(socket, 'kBuffer'))
}

/**
 * Nagle's algorithm makes each small flight of a handshake wait for the ACK of
 * the data before it, about 40 ms (RFC 896 and RFC 1122, 4.2.3.2 together).
 * Switches it off without a trace in what `socket.setNoDelay()` remembers, or
 * back to what that says. Without the private parts: does nothing, and a
 * renegotiation under load is slower.
 */
export function suspendNagle(socket: TLSSocket, suspended: boolean): void {
  const { _handle: handle, _parent: parent } = internals(socket)
  const chosen = hidden(socket, 'kSetNoDelay')
  if (typeof chosen !== 'boolean') return
  handle?.setNoDelay?.(suspended || chosen || hidden(parent, 'kSetNoDelay') === true)
}

/**
 * Whether Node itself verifies the peer anew with every handshake, chain and
 * host name, as it does for a client of `tls.connect()`. Without Node's symbol
 * for that one's options: false.
 */
export function verifiesServer(socket: TLSSocket): boolean {
  return hidden(socket, 'connect-options') !== undefined
}

/** What a server's connection asks of its client. On a client: undefined. Without the private parts: asks nothing. */
export function certificatePolicy(socket: TLSSocket): CertificatePolicy | undefined {
  if (!isServer(socket)) return undefined
  const { _requestCert, _rejectUnauthorized } = internals(socket)
  return { requestCert: _requestCert === true, rejectUnauthorized: _rejectUnauthorized === true }
}

/**
 * Puts a server's policy back after a renegotiation that had its own:
 * `socket.renegotiate(options)` makes its options permanent. A client that has
 * shown a certificate goes on being asked for it all the same, or it would come
 * out of its own next handshake with none. Without the private parts, every
 * handshake goes on asking as the last one did.
 */
export function restoreCertificatePolicy(socket: TLSSocket, policy: CertificatePolicy, shown: boolean): void {
  const own = internals(socket)
  own._requestCert = policy.requestCert
  own._rejectUnauthorized = policy.rejectUnauthorized
  own._handle?.setVerifyMode?.(policy.requestCert || shown, policy.rejectUnauthorized)
}

/**
 * OpenSSL's verdict on the peer's certificate, null where it is good. Node
 * keeps it in `authorized` and `authorizationError`, but on a server only for
 * sockets of tls.createServer, and a later failure doesn't take `authorized`
 * back. Without `verifyError`: what those two say.
 */
export function verifyError(socket: TLSSocket): Error | null {
  const handle = internals(socket)._handle
  if (typeof handle?.verifyError === 'function') return handle.verifyError()
  return socket.authorized ? null : (socket.authorizationError ?? new Error('The certificate was not verified'))
}

/**
 * On a server: the name that the last ClientHello asked for (SNI), undefined
 * where it named none. Without `getServername`: Node's `servername`, which
 * follows it where the server chooses contexts by name.
 */
export function requestedName(socket: TLSSocket): string | undefined {
  const handle = internals(socket)._handle
  const { servername } = socket as { servername?: string | false | null }
  return (typeof handle?.getServername === 'function' ? handle.getServername() : servername) || undefined
}

/**
 * The contexts with whose keys OpenSSL may decrypt a ticket on this server's
 * socket. It is the one that the socket was made with, until a renegotiation in
 * which the client names a server (SNI): then it is the one that was chosen by
 * name (SelectSNIContextCallback). The server may have another by now
 * (`server.setSecureContext()`), so its own getTicketKeys() and setTicketKeys()
 * won't do. Without the private parts: none.
 */
export function ticketContexts(socket: TLSSocket): TicketContext[] {
  const { _secureContext: made, sni_context: named } = internals(socket)._handle ?? {}
  return [made?.context, named].filter(hasTicketKeys)
}

function hasTicketKeys(context: Partial<TicketContext> | undefined): context is TicketContext {
  return typeof context?.getTicketKeys === 'function' && typeof context.setTicketKeys === 'function'
}
