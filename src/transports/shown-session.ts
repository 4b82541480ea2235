import { X509Certificate } from 'node:crypto'
import type { DetailedPeerCertificate, TLSSocket } from 'node:tls'
import type { Session, Transport } from '../core/transport.ts'
import { isServer } from './node-internals.ts'

/** The methods of a TLS socket that show its session, and what they return before there is one. */
const methods = {
  getCertificate: {},
  getCipher: undefined,
  getEphemeralKeyInfo: {},
  getFinished: undefined,
  getPeerCertificate: {},
  getPeerFinished: undefined,
  getPeerX509Certificate: undefined,
  // As documented by Node for a connection whose handshake is not complete.
  getProtocol: 'unknown',
  getSession: undefined,
  getSharedSigalgs: [],
  getTLSTicket: undefined,
  getX509Certificate: undefined,
  isSessionReused: false,
} as const

/** The properties of a TLS socket that show its session, and their values before there is one. */
const properties = {
  alpnProtocol: null,
  authorizationError: null,
  authorized: false,
  servername: null,
} as const

type SessionMethod = keyof typeof methods
type SessionProperty = keyof typeof properties
type Answers = Readonly<Record<string, unknown>>

export const sessionMethods = Object.keys(methods) as SessionMethod[]
export const sessionProperties = Object.keys(properties) as SessionProperty[]

/** The name under which {@link ShownSession} keeps the result of `getPeerCertificate(true)`. */
const DETAILED = 'getPeerCertificate(true)'
const DETAILED_CALL = ['getPeerCertificate', [true]] as const
const none: Answers = { ...methods, ...properties, [DETAILED]: methods.getPeerCertificate }

/** A transport whose session is shown to the application. */
export interface ShownTransport extends Transport {
  readonly shown: ShownSession
}

/**
 * What a stream shows of its TLS session: only what a completed and accepted handshake has proven.
 *
 * During a handshake, the getters of OpenSSL already show what the peer claims in it without a proof. So the values are
 * saved when a handshake begins, and shown until it is accepted. If it never is, they are shown from then on.
 */
export class ShownSession {
  readonly #socket: TLSSocket
  /** The saved values. Undefined while no handshake is in progress: those of OpenSSL are right then. */
  #frozen: Answers | undefined = none
  /** Properties whose value is not that of the socket. */
  #own: Partial<Record<SessionProperty, unknown>> | undefined
  /** The result of `getPeerCertificate(true)`, if it was called since the last handshake. */
  #detailed: unknown
  /** Callbacks of {@link whenJudged}. */
  #waiting: (() => void)[] | undefined

  constructor(socket: TLSSocket) {
    this.#socket = socket
  }

  /** Saves the values. Called when a handshake has begun, before its first message is processed. */
  freeze(): void {
    if (this.#frozen !== undefined) return
    const answers: Record<string, unknown> = {}
    for (const name of sessionMethods) if (name !== 'getPeerX509Certificate') answers[name] = this.#ask(name, [])
    for (const name of sessionProperties) answers[name] = this.property(name)
    // Converting a long chain takes time, up to 60 ms for a message of 5 bytes. Node itself does it for a server's
    // chain with every handshake. A client's chain is saved without its issuers, unless it was read before.
    // X509Certificates are made when they are requested.
    answers[DETAILED] = this.#detailed ?? answers['getPeerCertificate']
    if (this.#detailed === undefined && !isServer(this.#socket)) answers[DETAILED] = this.#ask(...DETAILED_CALL)
    this.#frozen = answers
  }

  /**
   * Shows the session of the first handshake. Its SNI and ALPN are kept for the whole connection: Node's `servername`
   * follows the SNI of later ClientHellos, though no context is chosen by it, and its `alpnProtocol` is false after any
   * renegotiation.
   */
  established(): void {
    if (this.#frozen !== none) return
    const { servername, alpnProtocol } = this.#socket as TLSSocket & { servername?: unknown }
    this.#own = { servername, alpnProtocol, ...this.#own }
    this.#thaw()
  }

  /** Shows the session as before. Called when a handshake was given up before the peer took part in it. */
  unchanged(): void {
    this.#thaw()
  }

  /** Shows the session of a later handshake, which was accepted. */
  accept({ authorized = false, authorizationError }: Session): void {
    // On a server, Node's `authorized` stays true after an invalid certificate. On a client it is right: Node verifies
    // chain and host name with every handshake, or never.
    if (isServer(this.#socket)) {
      const error = authorized ? null : (codeOf(authorizationError) ?? this.#socket.authorizationError)
      this.#own = { ...this.#own, authorized, authorizationError: error }
    }
    this.#thaw()
  }

  /** Calls `judged` when no handshake is in progress: at once, or asynchronously when it was accepted or given up. */
  whenJudged(judged: () => void): void {
    if (this.#frozen === undefined) {
      judged()
    } else {
      this.#waiting ??= []
      this.#waiting.push(judged)
    }
  }

  /**
   * Returns the result of the method `name`.
   *
   * @throws Error for `exportKeyingMaterial` during a handshake, with the code ERR_TLS_INVALID_STATE, as Node does
   *   during the first one.
   */
  method(name: SessionMethod | 'exportKeyingMaterial', args: readonly unknown[]): unknown {
    const frozen = this.#frozen
    const isDetailed = name === 'getPeerCertificate' && Boolean(args[0])
    if (frozen === undefined || (frozen === none && this.#socket.destroyed)) {
      const answer = this.#ask(name, args)
      if (isDetailed) this.#detailed = answer
      return answer
    }
    if (name === 'exportKeyingMaterial') {
      const message = 'Keying material cannot be exported while a handshake is in progress'
      throw Object.assign(new Error(message), { code: 'ERR_TLS_INVALID_STATE' })
    }
    if (name === 'getPeerX509Certificate') return x509Certificate(frozen[DETAILED])
    const answer = frozen[isDetailed ? DETAILED : name]
    // Each caller gets its own copy.
    return frozen === none ? structuredClone(answer) : answer
  }

  property(name: SessionProperty): unknown {
    const frozen = this.#frozen
    if (frozen !== undefined && frozen !== none) return frozen[name]
    if (this.#own !== undefined && name in this.#own) return this.#own[name]
    return frozen === undefined ? this.#socket[name] : none[name]
  }

  /** Sets a property, which is a plain property of Node's socket that an application may set. */
  setProperty(name: SessionProperty, value: unknown): void {
    this.#own = { ...this.#own, [name]: value }
    if (this.#frozen !== undefined && this.#frozen !== none) this.#frozen = { ...this.#frozen, [name]: value }
  }

  #thaw(): void {
    const waiting = this.#waiting
    this.#frozen = this.#waiting = this.#detailed = undefined
    for (const judged of waiting ?? []) process.nextTick(judged)
  }

  #ask(name: SessionMethod | 'exportKeyingMaterial', args: readonly unknown[]): unknown {
    const socket = this.#socket
    if (name === 'getPeerX509Certificate' && !isServer(socket)) return x509Certificate(socket.getPeerCertificate(true))
    return Reflect.apply(socket[name], socket, args)
  }
}

/**
 * Makes an X509Certificate from the result of `getPeerCertificate(true)`. On a client, getPeerX509Certificate() of Node
 * 20 to 24 removes the certificate from OpenSSL's chain (X509Certificate::GetPeerCert calls sk_X509_delete), so that
 * later callers find none.
 */
function x509Certificate(peerCertificate: unknown): X509Certificate | undefined {
  const { raw, issuerCertificate } = (peerCertificate ?? {}) as Partial<DetailedPeerCertificate>
  if (raw === undefined) return undefined
  const certificate = new X509Certificate(raw)
  // A root is its own issuer in getPeerCertificate(), and has none as an X509Certificate.
  const hasIssuer = issuerCertificate !== undefined && issuerCertificate.raw !== raw
  Object.defineProperty(certificate, 'issuerCertificate', {
    configurable: true,
    get: () => (hasIssuer ? x509Certificate(issuerCertificate) : undefined),
  })
  return certificate
}

/** Node's `authorizationError` is the code of OpenSSL's error. */
function codeOf(error: Error | string | undefined): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : error
}
