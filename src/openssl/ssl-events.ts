/* The events of an SSL for which OpenSSL calls a function of its context. */
import { type Negotiator, protocolSelector } from './alpn.ts'
import type { OpenSSL } from './binding.ts'
import { callbacks } from './callbacks.ts'
import {
  SSL_AD_ILLEGAL_PARAMETER,
  SSL_CLIENT_HELLO_ERROR,
  SSL_CLIENT_HELLO_RETRY,
  SSL_CLIENT_HELLO_SUCCESS,
} from './constants.ts'
import type { CallbackPointer, Pointer } from './ffi-types.ts'
import { oncePerLibrary } from './once-per-library.ts'
import { serverNameIn } from './server-name.ts'
import { encodeSession } from './session-state.ts'

/** What OpenSSL calls during the handshakes of one connection. */
export interface SSLListener extends Negotiator {
  /** A line for the log of keys (SSLKEYLOGFILE). */
  keylog(line: Buffer): void
  /** On a client: a session that can be resumed, in DER. */
  newSession(session: Buffer): void
  /**
   * On a server, when a ClientHello has come, before OpenSSL looks for the session that it offers. `servername` is the
   * server name in it (SNI), '' for none. After `wait`, it is called again once `proceed()` of the engine was.
   */
  clientHello(servername: string): 'accept' | 'wait' | 'refuse'
}

interface Callbacks {
  readonly keylog: CallbackPointer
  readonly newSession: CallbackPointer
  readonly clientHello: CallbackPointer
  readonly protocol: CallbackPointer
  /** The listeners by SSL. Held weakly, so that a forgotten connection can be collected. */
  readonly listeners: Map<Pointer, WeakRef<SSLListener>>
}

const callbacksOf = oncePerLibrary(makeCallbacks)

/** After SSL_CLIENT_HELLO_RETRY, the handshake stops, and SSL_get_error(3) says SSL_ERROR_WANT_CLIENT_HELLO_CB. */
const answers = {
  accept: SSL_CLIENT_HELLO_SUCCESS,
  wait: SSL_CLIENT_HELLO_RETRY,
  refuse: SSL_CLIENT_HELLO_ERROR,
} as const

/** An int of C, for the alert illegal_parameter. */
const illegalParameter = new Uint8Array(Int32Array.of(SSL_AD_ILLEGAL_PARAMETER).buffer)

/** Lets `listener` hear of `ssl`. Returns a function that ends it, to be called before the SSL is freed. */
export function listen(openssl: OpenSSL, ssl: Pointer, listener: SSLListener): () => void {
  const { listeners } = callbacksOf(openssl)
  listeners.set(ssl, new WeakRef(listener))
  return () => void listeners.delete(ssl)
}

/** Makes a client's context report its sessions. */
export function reportSessions(openssl: OpenSSL, context: Pointer): void {
  openssl.SSL_CTX_sess_set_new_cb(context, callbacksOf(openssl).newSession)
}

/** Makes a context report its keys. */
export function reportKeys(openssl: OpenSSL, context: Pointer): void {
  openssl.SSL_CTX_set_keylog_callback(context, callbacksOf(openssl).keylog)
}

/** Makes a context report each ClientHello that a server gets. */
export function reportClientHellos(openssl: OpenSSL, context: Pointer): void {
  openssl.SSL_CTX_set_client_hello_cb(context, callbacksOf(openssl).clientHello, null)
}

/** Makes a server's context ask for the application protocol (ALPN). */
export function negotiate(openssl: OpenSSL, context: Pointer): void {
  openssl.SSL_CTX_set_alpn_select_cb(context, callbacksOf(openssl).protocol, null)
}

function makeCallbacks(openssl: OpenSSL): Callbacks {
  const listeners: Callbacks['listeners'] = new Map()
  const of = (ssl: Pointer | null) => listeners.get(ssl as Pointer)?.deref()
  return {
    listeners,
    keylog: openssl.callback(callbacks.keylog, (ssl, line) => of(ssl)?.keylog(Buffer.from(`${line}\n`)), throwLater),
    newSession: openssl.callback(
      callbacks.newSession,
      (ssl, session) => {
        const listener = of(ssl)
        const der = listener && encodeSession(openssl, session as Pointer)
        if (der !== undefined) listener?.newSession(der)
        // OpenSSL keeps the only reference.
        return 0
      },
      throwLater,
    ),
    clientHello: openssl.callback(
      callbacks.clientHello,
      (ssl, alert) => {
        const answer = of(ssl)?.clientHello(serverNameIn(openssl, ssl as Pointer))
        if (answer === 'refuse') openssl.writeAt(alert as Pointer, illegalParameter)
        return answer === undefined ? SSL_CLIENT_HELLO_SUCCESS : answers[answer]
      },
      throwLater,
    ),
    protocol: protocolSelector(openssl, of),
  }
}

/** An exception of the application must not cross OpenSSL. */
function throwLater(error: unknown): void {
  process.nextTick(() => {
    throw error
  })
}
