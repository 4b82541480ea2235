import tls, { type TlsOptions } from 'node:tls'
import { parseOptions, type RenegotiationOptions } from '../core/options.ts'
import { Revocation } from '../core/revocation.ts'
import type { CRL } from '../core/revocation-input.ts'
import type { RevocationServer } from '../core/revocation-server.ts'
import type { CRLUpdateReport } from '../core/revocation-update.ts'
import type { RenegotiationTLSSocket } from '../faces/renegotiation-tls-socket.ts'
import { ownTicketKeys } from '../transports/full-handshake.ts'
import { serverAuthorities } from '../transports/tls-peer-certificates.ts'
import { checkProfile, hasProfile, mustHaveProfile } from '../transports/tls-profile.ts'
import { ServerStreams } from './server-streams.ts'

/** The options of {@link createServer}: those of `tls.createServer()`, and those of each stream. */
export interface RenegotiationServerOptions extends TlsOptions {
  /** The options of each stream. */
  renegotiation?: RenegotiationOptions | undefined
}

/** The server of {@link createServer}: a `tls.Server` that checks its connections by revocation lists. */
export interface RenegotiationServer extends tls.Server, RevocationServer {}

type SecureConnectionListener = (socket: RenegotiationTLSSocket) => void

/**
 * Creates a `tls.Server` whose connections are streams that can renegotiate
 * while data flows in both directions, for example to ask a client for its
 * certificate.
 *
 * It takes the same arguments as `tls.createServer()`. The events
 * `secureConnection` and `keylog` carry a `RenegotiationTLSSocket`. A
 * renegotiation needs TLS 1.2 or lower: set `maxVersion`.
 *
 * @throws what `tls.createServer()` throws.
 * @throws TypeError (`ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`) or
 *   RangeError (`ERR_OUT_OF_RANGE`) for a bad `renegotiation`.
 * @example
 * ```js
 * const [key, cert] = [readFileSync('key.pem'), readFileSync('cert.pem')]
 * const server = createServer({ key, cert, maxVersion: 'TLSv1.2' }, (stream) => stream.pipe(stream))
 * server.listen(8443)
 * ```
 */
export function createServer(secureConnectionListener?: SecureConnectionListener): RenegotiationServer
export function createServer(
  options: RenegotiationServerOptions,
  secureConnectionListener?: SecureConnectionListener,
): RenegotiationServer
export function createServer(
  options?: RenegotiationServerOptions | SecureConnectionListener | null,
  secureConnectionListener?: SecureConnectionListener,
): RenegotiationServer {
  if (typeof options === 'function') return new GuardedServer({}, options)
  return new GuardedServer(options ?? {}, secureConnectionListener)
}

class GuardedServer extends tls.Server implements RevocationServer {
  readonly #streams: ServerStreams
  readonly #hasProfile: boolean
  readonly #revocation = new Revocation()

  constructor(options: RenegotiationServerOptions, listener: SecureConnectionListener | undefined) {
    parseOptions(options.renegotiation)
    checkProfile('server', options)
    super(options, listener as (socket: tls.TLSSocket) => void)
    this.#streams = new ServerStreams(this, options.renegotiation, undefined, this.#revocation)
    this.#hasProfile = hasProfile(options)
  }

  /** Node calls it in its constructor as well. */
  override setSecureContext(options: tls.SecureContextOptions): void {
    if (#hasProfile in this && this.#hasProfile) mustHaveProfile(options)
    super.setSecureContext(options)
  }

  /** The server's own keys, also in a turn in which a renegotiation has others in their place. */
  override getTicketKeys(): ReturnType<tls.Server['getTicketKeys']> {
    return ownTicketKeys(super.getTicketKeys())
  }

  updateCRL(crl: CRL): Promise<CRLUpdateReport> {
    return this.#revocation.update(crl, (beside) => serverAuthorities(this, beside))
  }

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    if (event === 'close') this.#revocation.stop()
    const refused = event === 'secureConnection' ? this.#streams.refused(args[0]) : undefined
    if (refused !== undefined) return this.emit('tlsClientError', refused, args[0])
    return super.emit(event as string, ...this.#streams.replaceIn(event, args))
  }
}
