import { inspect } from 'node:util'

import type { PeerLimit } from './transport/transport.ts'

/**
 * Options of a stream. All are optional and all are checked before anything is
 * touched: a TypeError or a RangeError names the option and quotes its value.
 */
export interface RenegotiationOptions {
  /**
   * Milliseconds that the write in flight may take to finish before a
   * renegotiation is given up with `ERR_RENEGOTIATION_DRAIN_TIMEOUT`; the
   * stream stays open. 0: no limit. Default: 30,000.
   */
  drainTimeout?: number | undefined
  /**
   * Milliseconds that a handshake may take, ours or the peer's, before the
   * stream is destroyed with `ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT`. 0: no
   * limit. Default: 30,000.
   */
  handshakeTimeout?: number | undefined
  /**
   * How many bytes are read ahead of the application while draining or
   * handshaking, when reading must go on whether it reads or not. Beyond that,
   * backpressure again. Default: 16 MiB.
   */
  maxInboundBytes?: number | undefined
  /**
   * How many bytes may wait while the stream is not `open`. An application
   * that writes beyond it ends the stream with
   * `ERR_RENEGOTIATION_HOLD_OVERFLOW`. Default: Infinity; `write()` returning
   * false is the ordinary way to hold a sender back.
   */
  maxHeldBytes?: number | undefined
  /** Both high water marks of the stream, in bytes. Default: 65,536. */
  highWaterMark?: number | undefined
  /** The readable side's, in bytes. Default: `highWaterMark`. */
  readableHighWaterMark?: number | undefined
  /** The writable side's, in bytes. Default: `highWaterMark`. */
  writableHighWaterMark?: number | undefined
  /**
   * How many handshakes the peer may begin in how long; one more destroys the
   * stream with `ERR_RENEGOTIATION_LIMIT`. Ours never count. Default: on a TLS
   * server Node's `tls.CLIENT_RENEG_LIMIT` per `tls.CLIENT_RENEG_WINDOW` (3
   * per 600 s); elsewhere `false`, no limit.
   */
  peerLimit?: PeerLimit | false | undefined
  /**
   * Whether the peer may come out of a renegotiation with another certificate
   * than it went in with, or with none after one. Default: false; such a
   * change destroys the stream with `ERR_RENEGOTIATION_IDENTITY_CHANGED`. A
   * first certificate is no change.
   */
  allowIdentityChange?: boolean | undefined
}

/** Options of one renegotiation. */
export interface RenegotiateOptions {
  /**
   * On a server: ask the client for a certificate. Default: as the connection
   * was made; true once the client has shown one. Where this end can't ask, true
   * fails with `ERR_RENEGOTIATION_UNSUPPORTED`.
   */
  requestCert?: boolean | undefined
  /**
   * With a certificate asked for: whether one that is missing or does not
   * verify fails the renegotiation with `ERR_RENEGOTIATION_NO_CERTIFICATE`.
   * Default: true with `requestCert: true`, else as the connection was made.
   */
  rejectUnauthorized?: boolean | undefined
  /**
   * Gives up. While queued or draining, the stream goes on as before; once the
   * handshake has begun, the stream is destroyed. AbortError either way.
   */
  signal?: AbortSignal | undefined
  /** As in {@link RenegotiationOptions}, for this one. */
  drainTimeout?: number | undefined
  /** As in {@link RenegotiationOptions}, for this one. */
  handshakeTimeout?: number | undefined
}

/** {@link RenegotiationOptions} as the parts use them: checked, every default filled in. */
export interface Settings {
  readonly drainTimeout: number
  readonly handshakeTimeout: number
  readonly maxInboundBytes: number
  readonly maxHeldBytes: number
  readonly readableHighWaterMark: number
  readonly writableHighWaterMark: number
  readonly peerLimit: PeerLimit | false | undefined
  readonly allowIdentityChange: boolean
}

/** Checks `options` and fills in the defaults. Throws a TypeError or a RangeError. */
export function parseOptions(options: RenegotiationOptions = {}): Settings {
  mustBeObject('options', options)
  const highWaterMark = bytes(options, 'highWaterMark') ?? 64 * 1024
  return {
    drainTimeout: milliseconds(options, 'drainTimeout') ?? 30_000,
    handshakeTimeout: milliseconds(options, 'handshakeTimeout') ?? 30_000,
    maxInboundBytes: bytes(options, 'maxInboundBytes', Infinity) ?? 16 * 1024 * 1024,
    maxHeldBytes: bytes(options, 'maxHeldBytes', Infinity) ?? Infinity,
    readableHighWaterMark: bytes(options, 'readableHighWaterMark') ?? highWaterMark,
    writableHighWaterMark: bytes(options, 'writableHighWaterMark') ?? highWaterMark,
    peerLimit: peerLimit(options.peerLimit),
    allowIdentityChange: flag(options, 'allowIdentityChange') ?? false,
  }
}

/** Checks the options of one renegotiation. Throws a TypeError or a RangeError. */
export function parseRenegotiateOptions(options: RenegotiateOptions = {}): RenegotiateOptions {
  mustBeObject('options', options)
  const { signal } = options
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new TypeError(`signal must be an AbortSignal, got ${quote(signal)}`)
  }
  return {
    requestCert: flag(options, 'requestCert'),
    rejectUnauthorized: flag(options, 'rejectUnauthorized'),
    drainTimeout: milliseconds(options, 'drainTimeout'),
    handshakeTimeout: milliseconds(options, 'handshakeTimeout'),
    signal,
  }
}

/** setTimeout's own limit; beyond it Node fires after one millisecond. */
const MAX_TIMEOUT = 2 ** 31 - 1

/** The option of that name, checked. */
export function milliseconds<K extends string>(from: { [name in K]?: unknown }, name: K): number | undefined {
  return number(name, from[name], 0, MAX_TIMEOUT)
}

function bytes<K extends string>(
  from: { [name in K]?: unknown },
  name: K,
  max = Number.MAX_SAFE_INTEGER,
): number | undefined {
  return number(name, from[name], 0, max, true)
}

/** The option of that name, checked. */
export function integer<K extends string>(from: { [name in K]?: unknown }, name: K): number | undefined {
  return number(name, from[name], Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, true)
}

function number(name: string, value: unknown, min: number, max: number, whole = false): number | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'number') throw new TypeError(`${name} must be a number, got ${quote(value)}`)
  if (!(value >= min && value <= max) || (whole && value !== Infinity && !Number.isInteger(value))) {
    throw new RangeError(`${name} must be ${whole ? 'an integer' : 'a number'} from ${min} to ${max}, got ${value}`)
  }
  return value
}

/** The option of that name, checked. */
export function flag<K extends string>(from: { [name in K]?: unknown }, name: K): boolean | undefined {
  const value: unknown = from[name]
  if (value === undefined || typeof value === 'boolean') return value
  throw new TypeError(`${name} must be a boolean, got ${quote(value)}`)
}

function peerLimit(value: unknown): PeerLimit | false | undefined {
  if (value === undefined || value === false) return value
  mustBeObject('peerLimit', value)
  const { max, windowMs } = value as Partial<PeerLimit>
  if (max === undefined || windowMs === undefined) {
    throw new TypeError(`peerLimit must be false or { max, windowMs }, got ${quote(value)}`)
  }
  number('peerLimit.max', max, 0, Number.MAX_SAFE_INTEGER, true)
  number('peerLimit.windowMs', windowMs, 0, Infinity)
  return { max, windowMs }
}

/** Throws a TypeError where it is none. */
export function mustBeObject(name: string, value: unknown): void {
  if (value === null || typeof value !== 'object') throw new TypeError(`${name} must be an object, got ${quote(value)}`)
}

/** A value as an error message shows it. */
export function quote(value: unknown): string {
  return inspect(value, { depth: 0, breakLength: Infinity })
}
