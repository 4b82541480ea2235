/* Which options of tls.connect() and tls.createServer() the OpenSSL module supports, and checks of their values. */
import { isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { invalidType, invalidValue, withCode } from '../core/errors.ts'
import { quote } from '../core/values.ts'
import { readsIntoBuffer } from '../transports/node-internals.ts'
import { mustBeDuration, mustBeFunction, mustBeNumber, mustBeObject, mustBeString, wrongValue } from './argument.ts'
import { SecureContext } from './secure-context.ts'

/** The function whose options are checked. */
export type Kind = 'connect' | 'server' | 'context'

type Check = (name: string, value: unknown) => void

const engine = 'OpenSSL 3 has deprecated engines, pass the key itself'
const psk = 'pre-shared keys are not implemented'
const trace = "listen to 'keylog' and decrypt a recording instead"

/** The documented options that are not supported, and why, or what to use instead. */
const unsupported: Readonly<Record<Kind, Readonly<Record<string, string>>>> = {
  context: {
    certificateCompression: 'certificates are sent as they are',
    clientCertEngine: engine,
    privateKeyEngine: engine,
    privateKeyIdentifier: engine,
    secureProtocol: 'use minVersion and maxVersion',
  },
  connect: {
    enableTrace: trace,
    onread: "listen to 'data' instead",
    pskCallback: psk,
    requestOCSP: 'OCSP responses are not implemented',
  },
  server: {
    enableTrace: trace,
    pauseOnConnect: 'a handshake has to read from the socket',
    pskCallback: psk,
    pskIdentityHint: psk,
  },
}

/**
 * The checks of values, unless they are undefined. Those of a secure context are made with it: see createSecureContext().
 * Where Node takes every falsy value for an absent one, so does this.
 */
const checks: Readonly<Record<Kind, Readonly<Record<string, Check>>>> = {
  context: {},
  connect: {
    ALPNProtocols: mustBeProtocols,
    checkServerIdentity: mustBeFunction,
    minDHSize: (name, value) => mustBeNumber(name, value, 1),
    timeout: (_name, value) => mustBeDuration('msecs', value),
    secureContext: ifTrue(mustBeOwnContext),
    servername: ifTrue(mustBeHostName),
    signal: mustBeSignal,
    socket: mustBeDuplexOfBytes,
  },
  server: {
    ALPNCallback: ifTrue(mustBeFunction),
    ALPNProtocols: ifTrue(mustBeProtocols),
    handshakeTimeout: ifTrue(mustBeNumber),
    secureContext: ifTrue(mustBeOwnContext),
    SNICallback: ifTrue(mustBeFunction),
  },
}

/**
 * Checks the options of `connect()` or `createServer()`, except for those of the secure context.
 *
 * A documented option of Node that is not supported must not be there, unless with a value that asks for nothing: false,
 * null or undefined. Names that Node does not know are ignored, as Node does: programs keep their own properties there.
 *
 * @throws TypeError with the code ERR_INVALID_ARG_VALUE that names an unsupported option; ERR_INVALID_ARG_TYPE for a value
 *   of the wrong type, as Node does.
 */
export function checkOptions(kind: 'connect' | 'server', options: object): void {
  mustBeObject('options', options)
  mustBeSupported('context', options)
  mustBeSupported(kind, options)
  for (const [name, check] of Object.entries(checks[kind])) {
    const value: unknown = options[name as keyof typeof options]
    if (value !== undefined) check(`options.${name}`, value)
  }
  const { ALPNCallback, ALPNProtocols } = options as Record<string, unknown>
  if (kind === 'server' && ALPNCallback && ALPNProtocols) {
    const message = 'The ALPNCallback and ALPNProtocols TLS options are mutually exclusive'
    throw withCode(new TypeError(message), 'ERR_TLS_ALPN_CALLBACK_WITH_PROTOCOLS')
  }
}

/** @throws TypeError with the code ERR_INVALID_ARG_VALUE that names an option that is not supported. */
export function mustBeSupported(kind: Kind, options: object): void {
  for (const [name, reason] of Object.entries(unsupported[kind])) {
    const value: unknown = options[name as keyof typeof options]
    // Node tests all of these for truth.
    if (value) throw invalidValue(`The option ${name} is not supported over OpenSSL: ${reason}. Got ${quote(value)}`)
  }
}

function ifTrue(check: Check): Check {
  return (name, value) => {
    if (value) check(name, value)
  }
}

function mustBeProtocols(name: string, value: unknown): void {
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return
  throw invalidType(`The "${name}" property must be an array of strings, or bytes, got ${quote(value)}`)
}

function mustBeSignal(_name: string, value: unknown): void {
  if (value instanceof AbortSignal) return
  throw invalidType(`The "signal" argument must be an instance of AbortSignal, got ${quote(value)}`)
}

/** Text would not be what the peer has sent. */
function mustBeDuplexOfBytes(_name: string, value: unknown): void {
  const { pipe, write, destroy, readableObjectMode, writableObjectMode, readableEncoding } = value as Duplex
  if (typeof pipe !== 'function' || typeof write !== 'function' || typeof destroy !== 'function') {
    throw invalidType(`The option socket must be a Duplex, got ${quote(value)}`)
  }
  if (readableObjectMode || writableObjectMode) throw invalidValue('The option socket must not be in object mode')
  if (readableEncoding)
    throw invalidValue(`The option socket must not have an encoding set, it has '${readableEncoding}'`)
  if (readsIntoBuffer(value as Duplex)) {
    throw invalidValue(
      'The option socket must not be made with the option onread, or carry another stream of this module',
    )
  }
}

function mustBeOwnContext(_name: string, value: unknown): void {
  if (value instanceof SecureContext) return
  throw invalidValue(
    `The option secureContext must be a SecureContext of this module. Pass ca, cert and key instead, got ${quote(value)}`,
  )
}

function mustBeHostName(name: string, value: unknown): void {
  mustBeString(name, value)
  if (isIP(value) === 0) return
  throw wrongValue(name, value, 'Setting the TLS ServerName to an IP address is not permitted.')
}
