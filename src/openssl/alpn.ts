/* Application protocols (ALPN, RFC 7301): their encoding, and a server's choice. */
import { outOfRange, withCode } from '../core/errors.ts'
import { wrongValue } from './argument.ts'
import type { OpenSSL } from './binding.ts'
import { callbacks } from './callbacks.ts'
import * as c from './constants.ts'
import type { CallbackFunction, CallbackPointer, Pointer } from './ffi-types.ts'
import { bytesOf } from './pem.ts'

/**
 * A server's choice among the protocols of a client.
 *
 * @param protocols those of the client, in its order of preference.
 * @param servername the server name (SNI) that the client has requested. Empty if it has not requested any.
 * @returns one of the protocols, or undefined to refuse the connection with an alert.
 */
export type ProtocolChoice = (protocols: readonly string[], servername: string) => string | undefined

/** A connection of a server that takes part in ALPN. */
export interface Negotiator {
  /** Chooses as {@link ProtocolChoice} does. Null: takes no part in ALPN. */
  chooseProtocol(protocols: readonly string[]): string | undefined | null
  /** Gets what {@link chooseProtocol} has thrown, or the error for a choice that the client does not have. */
  fail(error: Error): void
}

/** The longest name that has room for its length. */
const MAX_BYTES = 255

/**
 * Encodes the option `ALPNProtocols` as the callbacks and functions of OpenSSL need it: each name after its length.
 *
 * @param protocols names, or what is encoded already.
 * @returns undefined for a value of another type, which Node ignores.
 * @throws TypeError with the code ERR_INVALID_ARG_VALUE for an empty name or an invalid encoding; RangeError with the code
 *   ERR_OUT_OF_RANGE for a name of more than 255 bytes.
 */
export function encodeProtocols(protocols: unknown): Buffer | undefined {
  if (ArrayBuffer.isView(protocols)) {
    const encoding = Buffer.from(bytesOf(protocols as Buffer))
    decodeProtocols(encoding)
    return encoding
  }
  if (!Array.isArray(protocols)) return undefined
  const parts = protocols.map((protocol: string, i) => {
    const name = Buffer.from(protocol)
    if (name.length === 0) throw wrongValue(`protocols[${i}]`, protocol, 'must be a non-empty string')
    if (name.length <= MAX_BYTES) return Buffer.from([name.length, ...name])
    throw outOfRange(
      `The byte length of the protocol at index ${i} exceeds the maximum length. It must be <= 255. Received ${name.length}`,
    )
  })
  return Buffer.concat(parts)
}

/** The names in an encoding. As in Node, each byte is one character. */
export function decodeProtocols(encoding: Buffer): string[] {
  const protocols: string[] = []
  for (let rest = encoding; rest.length > 0; ) {
    const end = 1 + (rest[0] as number)
    if (end === 1) throw wrongValue('ALPNProtocols', encoding, 'must not contain zero-length protocol')
    if (end > rest.length) throw wrongValue('ALPNProtocols', encoding, 'contains truncated protocol')
    protocols.push(rest.toString('latin1', 1, end))
    rest = rest.subarray(end)
  }
  return protocols
}

/** The choice of a server with the option `ALPNProtocols`: the first of its own that the client has. */
export function preferOwn(encoding: Buffer): ProtocolChoice {
  const own = decodeProtocols(encoding)
  return (protocols) => own.find((protocol) => protocols.includes(protocol))
}

/** A callback for SSL_CTX_set_alpn_select_cb(3). `of` finds who chooses for a connection, if anybody does. */
export function protocolSelector(
  openssl: OpenSSL,
  of: (ssl: Pointer | null) => Negotiator | undefined,
): CallbackPointer {
  const select: CallbackFunction<typeof callbacks.alpnSelect> = (ssl, out, outLength, list, length) => {
    const negotiator = of(ssl)
    if (negotiator === undefined) return c.SSL_TLSEXT_ERR_NOACK
    try {
      const protocols = decodeProtocols(openssl.bytesAt(list as Pointer, length))
      const chosen = negotiator.chooseProtocol(protocols)
      if (chosen === undefined) return c.SSL_TLSEXT_ERR_ALERT_FATAL
      if (chosen === null) return c.SSL_TLSEXT_ERR_NOACK
      const place = protocols.indexOf(chosen)
      if (place === -1) throw invalidChoice(chosen, protocols)
      // The result is the address of the name in the list of the client, after its length.
      const before = protocols.slice(0, place).reduce((sum, { length }) => sum + 1 + length, 0)
      const address = new BigUint64Array([(list as Pointer) + BigInt(before + 1)])
      openssl.writeAt(out as Pointer, new Uint8Array(address.buffer))
      openssl.writeAt(outLength as Pointer, Uint8Array.of(chosen.length))
      return c.SSL_TLSEXT_ERR_OK
    } catch (error) {
      negotiator.fail(error as Error)
      return c.SSL_TLSEXT_ERR_ALERT_FATAL
    }
  }
  // What fail() throws has nowhere to go.
  return openssl.callback(callbacks.alpnSelect, select, String)
}

/** The error of Node for an ALPNCallback that returns something else. */
function invalidChoice(chosen: string, protocols: readonly string[]): TypeError {
  const offered = protocols.join(', ')
  const message = `ALPN callback returned a value (${chosen}) that did not match any of the client's offered protocols (${offered})`
  return withCode(new TypeError(message), 'ERR_TLS_ALPN_CALLBACK_INVALID_RESULT')
}
