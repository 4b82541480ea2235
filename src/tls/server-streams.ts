import type { Socket } from 'node:net'
import tls, { type TLSSocket } from 'node:tls'
import { withoutExtendedMasterSecret } from '../core/admission.ts'
import { RenegotiationError } from '../core/errors.ts'
import type { RenegotiationOptions } from '../core/options.ts'
import type { Revocation } from '../core/revocation.ts'
import { publishRefusal, rememberPeer } from '../core/security-failure.ts'
import { RenegotiationTLSSocket } from '../faces/renegotiation-tls-socket.ts'
import { onHandshakes } from '../transports/node-internals.ts'
import { socketUnder } from '../transports/node-internals-socket.ts'
import { peerChain } from '../transports/tls-peer-certificates.ts'
import { hasExtendedMasterSecret } from '../transports/tls-session.ts'
import { tlsSocketTransport } from '../transports/tls-socket.ts'

/** Decides whether a server's connection gets a stream. Called when the socket is about to be emitted. */
export type Choose = (socket: TLSSocket) => boolean

/** Replaces each socket in the events of a TLS server with its stream. */
export class ServerStreams {
  readonly #server: tls.Server
  readonly #options: RenegotiationOptions | undefined
  readonly #choose: Choose
  readonly #streams = new WeakMap<TLSSocket, RenegotiationTLSSocket>()
  readonly #revocation: Revocation | undefined

  /** `revocation` has the lists by which all streams are judged. */
  constructor(
    server: tls.Server,
    options: RenegotiationOptions | undefined,
    choose: Choose = () => true,
    revocation?: Revocation,
  ) {
    this.#server = server
    this.#options = options
    this.#choose = choose
    this.#revocation = revocation
  }

  /**
   * Ends a connection that is about to be emitted if its peer is revoked, or if it lacks what the options require. Returns
   * the error then.
   */
  refused(socket: unknown): RenegotiationError | undefined {
    if (!(socket instanceof tls.TLSSocket)) return undefined
    const isLacking =
      this.#options?.requireExtendedMasterSecret === 'always' &&
      // A stream has been checked already.
      !(socket instanceof RenegotiationTLSSocket) &&
      !hasExtendedMasterSecret(socket)
    const revoked = () => (this.#revocation?.hasLists ? this.#revocation.revoked(peerChain(socket)) : undefined)
    const error = isLacking ? withoutExtendedMasterSecret() : revoked()
    if (error !== undefined) (this.#streams.get(socket) ?? socket).destroy()
    return error
  }

  /** Returns the arguments with which the server must emit `event`, given those of Node. */
  replaceIn(event: string | symbol, args: readonly unknown[]): readonly unknown[] {
    switch (event) {
      case 'connection':
        this.#watchFirstHandshakes()
        rememberPeer({ face: args[0] as Socket })
        return args
      case 'secureConnection':
        return [this.#streamOf(args[0] as TLSSocket), ...args.slice(1)]
      case 'tlsClientError':
        // A program may emit the event itself, with anything.
        if (args[0] instanceof Error && args[1] instanceof tls.TLSSocket) {
          publishRefusal(args[0], args[1], socketUnder(args[1]))
        }
        return args
      case 'keylog':
        if (this.#server.listeners('keylog').includes(wantKeylog)) watchFirstHandshake(args[1] as TLSSocket)
        // It comes before the first handshake is complete. Make a stream only if others than this class listen to it.
        return this.#server.listenerCount('keylog', wantKeylog) < this.#server.listenerCount('keylog')
          ? [args[0], this.#streamOf(args[1] as TLSSocket)]
          : args
      default:
        return args
    }
  }

  #streamOf(socket: TLSSocket): TLSSocket {
    const known = this.#streams.get(socket)
    if (known !== undefined) return known
    // A program may emit the event itself, with any stream.
    if (!(socket instanceof tls.TLSSocket) || !this.#choose(socket)) return socket
    if (socket instanceof RenegotiationTLSSocket) return socket
    const stream = new RenegotiationTLSSocket(socket, this.#options, tlsSocketTransport(socket), this.#revocation)
    this.#streams.set(socket, stream)
    return stream
  }

  /**
   * If the server has a listener for `newSession`, Node holds `secure` back until
   * that listener has called back, and the client can begin another handshake
   * in between. With one for `resumeSession` alone, a listener for `newSession` may
   * still come. `keylog` is the only event of a server that carries the socket
   * before `secure`. The listener must be there when Node makes the TLSSocket.
   */
  #watchFirstHandshakes(): void {
    const server = this.#server
    if (server.listenerCount('newSession') + server.listenerCount('resumeSession') === 0) return
    if (!server.listeners('keylog').includes(wantKeylog)) server.on('keylog', wantKeylog)
  }
}

/** A listener that makes Node emit `keylog`. */
function wantKeylog(): void {}

/**
 * Destroys the socket if the client begins another handshake before Node has
 * emitted `secure` for the first. Nobody would judge that handshake. If its
 * ClientHello is complete, Node also asks OpenSSL to verify a session that no
 * longer exists (`verifyError`), and Node 20 to 26 crash with a segmentation
 * fault.
 */
function watchFirstHandshake(socket: TLSSocket): void {
  // A stream comes from another emit() of this package, which has watched the socket below it.
  if (watched.has(socket) || socket instanceof RenegotiationTLSSocket || socket.getProtocol() === 'TLSv1.3') return
  watched.add(socket)
  const remove = onHandshakes(
    socket,
    () => {
      const message =
        'The client began another handshake before Node had processed the first one, so it cannot be judged'
      socket.destroy(new RenegotiationError('ERR_RENEGOTIATION_UNSUPPORTED', message))
    },
    () => {},
  )
  if (remove !== undefined) socket.prependOnceListener('secure', remove)
}

const watched = new WeakSet<TLSSocket>()
