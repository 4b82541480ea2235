import { callbacks } from './callbacks.ts'
import { SSL_CB_LOOP } from './constants.ts'
import type { Pointer } from './ffi-types.ts'
import type { OpenSSL } from './library.ts'
import { oncePerLibrary } from './once-per-library.ts'

/** A handshake message after the first handshake of TLS 1.3 that was read or written completely. */
export type Message = 'key-update' | 'finished-read' | 'finished-written'

/** What OpenSSL calls a state in which it has just read or written that message. */
const messages: Record<string, Message> = {
  'TLSv1.3 read client key update': 'key-update',
  'TLSv1.3 read server key update': 'key-update',
  'SSLv3/TLS read finished': 'finished-read',
  'SSLv3/TLS write finished': 'finished-written',
}

/** Gets the messages of one connection. Must not throw. */
export interface MessageListener {
  message(message: Message): void
}

/** The native functions that OpenSSL calls. They are made once per library, because they cannot be freed. */
export interface SSLCallbacks {
  /**
   * For SSL_set_info_callback(3). OpenSSL calls it for each handshake message, but not for records of data. The numbers
   * of the states differ between versions of OpenSSL, their names do not.
   */
  readonly info: Pointer
  /** Who gets the messages of which SSL. A listener must not hold the engine, or that would never be collected. */
  readonly listeners: Map<Pointer, MessageListener>
}

/** Returns the callbacks of a library. */
export const sslCallbacks = oncePerLibrary(makeCallbacks)

/** A listener has thrown. OpenSSL must not see it, and there is no caller to tell. */
const warn = (error: unknown) => process.emitWarning(error as Error)

function makeCallbacks(openssl: OpenSSL): SSLCallbacks {
  const listeners: SSLCallbacks['listeners'] = new Map()
  const states = new Map<number, Message | undefined>()
  const info = (address: Pointer | null, where: number): void => {
    const ssl = address as Pointer
    if ((where & SSL_CB_LOOP) === 0) return
    const state = openssl.SSL_get_state(ssl)
    if (!states.has(state)) states.set(state, messages[openssl.SSL_state_string_long(ssl) as string])
    const message = states.get(state)
    if (message !== undefined) listeners.get(ssl)?.message(message)
  }
  return {
    info: openssl.callback(callbacks.info, info, warn),
    listeners,
  }
}
