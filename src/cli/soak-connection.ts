/*
 * Makes the connection of a soak, at either end.
 */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import type { RenegotiationOptions, RenegotiationTLSSocket } from '../index.ts'
import type { Orders } from './soak-messages.ts'

/** A pre-shared key made for this run, with ECDHE. So TLS 1.2 needs no certificate. */
const CIPHERS = 'ECDHE-PSK-CHACHA20-POLY1305'
/** The least milliseconds after which a key update counts as not answered. */
const UNANSWERED = 1000

/** Listens on a free port and accepts one connection. */
export async function accept(orders: Orders, listening: (port: number) => void): Promise<RenegotiationTLSSocket> {
  const { createServer } = await tls(orders)
  const server = createServer({ ...common(orders), ...ownOptions(orders, (psk) => psk) })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  listening((server.address() as AddressInfo).port)
  const [socket] = (await once(server, 'secureConnection')) as [RenegotiationTLSSocket]
  server.close()
  return socket
}

/** Connects to the other process, or to the server of the user. */
export async function open(orders: Orders): Promise<RenegotiationTLSSocket> {
  const { connect } = await tls(orders)
  const { peer } = orders
  if (peer.kind === 'own') {
    const to = { host: '127.0.0.1', port: peer.port as number, checkServerIdentity: () => undefined }
    return connect({ ...common(orders), ...to, ...ownOptions(orders, (psk) => ({ psk, identity: 'soak' })) })
  }
  return connect({
    ...common(orders),
    host: peer.host,
    port: peer.port,
    ...(peer.servername !== undefined && { servername: peer.servername }),
    ca: peer.ca,
    cert: peer.cert,
    key: peer.key,
    rejectUnauthorized: !peer.insecure,
  })
}

type TLS = Pick<typeof import('../index.ts'), 'connect' | 'createServer'>

/** The functions for this version of TLS. TLS 1.2 does not load OpenSSL by FFI. */
function tls({ tls }: Orders): Promise<TLS> {
  // Their types differ in options that are not used here.
  return tls === '1.3' ? (import('../openssl/index.ts') as Promise<unknown> as Promise<TLS>) : import('../index.ts')
}

function common({ tls, everyMs }: Orders) {
  const rekey = { everyMs }
  const renegotiation: RenegotiationOptions =
    tls === '1.3'
      ? // Both ends may update their keys as often as they are told.
        { rekey, peerLimit: false, handshakeTimeout: Math.max(UNANSWERED, everyMs[1]) }
      : { rekey }
  return {
    minVersion: tls === '1.3' ? ('TLSv1.3' as const) : undefined,
    maxVersion: `TLSv${tls}` as const,
    // In the mode `echo`, one end still receives after it has sent its last byte.
    allowHalfOpen: true,
    renegotiation,
  }
}

/** How the two processes recognize each other. `answer` makes the result of a pskCallback. */
function ownOptions<T>({ tls, peer }: Orders, answer: (psk: Buffer) => T) {
  const { key, cert } = peer as { key: string; cert?: string }
  if (tls === '1.3') return { key, cert, ca: cert, requestCert: true }
  return { ciphers: CIPHERS, pskCallback: () => answer(Buffer.from(key, 'hex')) }
}
