import { X509Certificate } from 'node:crypto'
import type { DetailedPeerCertificate, TLSSocket } from 'node:tls'
import type { Session } from '../core/transport.ts'
import { isServer } from './node-internals.ts'

/** Methods of a TLS socket that tell of its session, and what they return before there is one. */
const methods = {
  getCertificate: {},
  getCipher: undefined,
  getEphemeralKeyInfo: {},
  getFinished: undefined,
  getPeerCertificate: {},
  getPeerFinished: undefined,
  getPeerX509Certificate: undefined,
  // What Node's documentation says of a connection whose handshake is not complete.
  getProtocol: 'unknown',
  getSession: undefined,
  getSharedSigalgs: [],
  getTLSTicket: undefined,
  getX509Certificate: undefined,
  isSessionReused: false,
} as const

/** Properties of a TLS socket that tell of its session, and their values before there is one. */
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

/** {@link ShownSession} keeps the answer of `getPeerCertificate(true)` under this name. */
const DETAILED = 'getPeerCertificate(true)'
const DETAILED_CALL = ['getPeerCertificate', [true]] as const
const none: Answers = { ...methods, ...properties, [DETAILED]: methods.getPeerCertificate }

/**
 * What a stream says of its TLS session: what the last handshake that was judged
 * good has proven. While another handshake runs, OpenSSL's own getters already
 * tell of that one, of what the peer claims and has not proven. So the answers
 * are taken when a handshake begins, and given until it has been judged good.
 * If that never happens, they are given for ever.
 */
export class ShownSession {
  readonly #socket: TLSSocket
  /** The answers of the session before the handshake that runs. Undefined while none runs: then OpenSSL's are right. */
  #frozen: Answers | undefined = none
  /** Properties whose value is not the socket's own. */
  #own: Partial<Record<SessionProperty, unknown>> | undefined
  /** The answer of `getPeerCertificate(true)`, if somebody has asked for it since the last handshake. */
  #detailed: unknown
  /** What waits for the handshake to be judged good. */
  #waiting: (() => void)[] | undefined

  constructor(socket: TLSSocket) {
    this.#socket = socket
  }

  /** A handshake has begun, and its first message has not been looked at. */
  freeze(): void {
    if (this.#frozen !== undefined) return
    const answers: Record<string, unknown> = {}
    for (const name of sessionMethods) if (name !== 'getPeerX509Certificate') answers[name] = this.#ask(name, [])
    for (const name of sessionProperties) answers[name] = this.property(name)
    // Converting a chain is work that grows with it, up to 60 ms for a message of 5 bytes. Node itself does it for a
    // server's chain with every handshake. A client's is given without its issuers, unless somebody has asked before;
    // and the X509Certificate of either, which is made when somebody asks.
    answers[DETAILED] = this.#detailed ?? answers['getPeerCertificate']
    if (this.#detailed === undefined && !isServer(this.#socket)) answers[DETAILED] = this.#ask(...DETAILED_CALL)
    this.#frozen = answers
  }

  /**
   * The first handshake is complete. Its SNI and ALPN hold for the connection:
   * `servername` of Node follows the SNI of any later ClientHello, though nobody
   * chooses a context by it, and `alpnProtocol` is false after any renegotiation.
   */
  established(): void {
    if (this.#frozen !== none) return
    const { servername, alpnProtocol } = this.#socket as TLSSocket & { servername?: unknown }
    this.#own = { servername, alpnProtocol, ...this.#own }
    this.#thaw()
  }

  /** A handshake that began was given up before the peer had a part in it: the session is what it was. */
  unchanged(): void {
    this.#thaw()
  }

  /** A later handshake was judged good: `session` is what it has proven. */
  accept({ authorized = false, authorizationError }: Session): void {
    // A server's `authorized` of Node stays true after a certificate that does not verify. A client's is right: Node has
    // verified chain and host name, or neither ever.
    if (isServer(this.#socket)) {
      const error = authorized ? null : (codeOf(authorizationError) ?? this.#socket.authorizationError)
      this.#own = { ...this.#own, authorized, authorizationError: error }
    }
    this.#thaw()
  }

  /** Calls `judged` when no handshake runs that has not been judged yet: now, or in a turn of its own. */
  whenJudged(judged: () => void): void {
    if (this.#frozen === undefined) {
      judged()
    } else {
      this.#waiting ??= []
      this.#waiting.push(judged)
    }
  }

  /**
   * What the method `name` returns.
   *
   * @throws Error for `exportKeyingMaterial` while a handshake runs: with the code ERR_TLS_INVALID_STATE, as Node does
   *   during the first.
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
    // An object of its own for each who asks.
    return frozen === none ? structuredClone(answer) : answer
  }

  property(name: SessionProperty): unknown {
    const frozen = this.#frozen
    if (frozen !== undefined && frozen !== none) return frozen[name]
    if (this.#own !== undefined && name in this.#own) return this.#own[name]
    return frozen === undefined ? this.#socket[name] : none[name]
  }

  /** Some set what is a plain property of Node's own socket. */
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
 * On a client, that of Node 20 to 24 takes the certificate out of OpenSSL's
 * chain (X509Certificate::GetPeerCert: sk_X509_delete), and the next to ask
 * finds none.
 */
function x509Certificate(peerCertificate: unknown): X509Certificate | undefined {
  const { raw, issuerCertificate } = (peerCertificate ?? {}) as Partial<DetailedPeerCertificate>
  if (raw === undefined) return undefined
  const certificate = new X509Certificate(raw)
  // The issuer of a root is the root itself in the one form, and none in the other.
  const hasIssuer = issuerCertificate !== undefined && issuerCertificate.raw !== raw
  Object.defineProperty(certificate, 'issuerCertificate', {
    configurable: true,
    get: () => (hasIssuer ? x509Certificate(issuerCertificate) : undefined),
  })
  return certificate
}

/** `authorizationError` of Node is the code of OpenSSL's error. */
function codeOf(error: Error | string | undefined): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : error
}
