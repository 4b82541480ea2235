import type { ConnectionOptions, TLSSocket } from 'node:tls'
import { tls } from '../tls/plain.ts'
import type { LeftAloneReason } from './counts.ts'

/** Decides which connections are guarded. */
export class Choice {
  readonly #hosts: readonly RegExp[] | undefined

  /** `hosts`: see `RegisterOptions`. */
  constructor(hosts: readonly string[] | undefined) {
    this.#hosts = hosts?.map(pattern)
  }

  /** Why a client that is about to connect is left alone. Undefined if it is guarded. */
  againstClient(options: ConnectionOptions, host: string | undefined): LeftAloneReason | undefined {
    if (!this.#admits([options.servername, options.host ?? host ?? 'localhost'])) return 'host'
    if (offersHTTP2(options.ALPNProtocols)) return 'HTTP/2'
    if ((options.minVersion ?? tls.DEFAULT_MIN_VERSION) === 'TLSv1.3') return 'TLS 1.3'
    if ((options as { onread?: unknown }).onread != null) return 'onread'
    return undefined
  }

  /** Why a connection that a server has accepted is left alone. Undefined if it is guarded. */
  againstAccepted(socket: TLSSocket): LeftAloneReason | undefined {
    if (socket.alpnProtocol === 'h2') return 'HTTP/2'
    // Not getProtocol(): before the first handshake, it gives the newest version that the socket allows.
    if (socket.getCipher()?.version === 'TLSv1.3') return 'TLS 1.3'
    return undefined
  }

  #admits(names: readonly (string | undefined)[]): boolean {
    if (this.#hosts === undefined) return true
    return names.some((name) => name !== undefined && this.#hosts?.some((host) => host.test(name)))
  }
}

/** A host name, in which `*` stands for any characters. */
function pattern(host: string): RegExp {
  const parts = host.split('*').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`^${parts.join('.*')}$`, 'i')
}

/** A client that offers others besides is left alone as well: http2 needs the handle before one of them is chosen. */
function offersHTTP2(protocols: ConnectionOptions['ALPNProtocols']): boolean {
  if (Array.isArray(protocols)) return protocols.some((protocol) => Buffer.from(protocol).toString() === 'h2')
  if (!ArrayBuffer.isView(protocols)) return false
  // Each name comes after its length in one byte.
  const bytes = Buffer.from(protocols.buffer, protocols.byteOffset, protocols.byteLength)
  for (let i = 0; i < bytes.length; i += 1 + (bytes[i] as number)) {
    if (bytes.toString('latin1', i, i + 1 + (bytes[i] as number)) === '\x02h2') return true
  }
  return false
}
