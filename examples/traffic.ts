/*
 * What the examples of metrics and of syslog observe: a connection that
 * renegotiates under traffic, one that renegotiates too often, and a client
 * without a certificate.
 */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import tls from 'node:tls'
import { connect, createServer, type RenegotiationTLSSocket } from 'renegotiation-duplex'
import * as certificates from './certificates.ts'

/** How many renegotiations each of the two connections completes. The second one then begins one too many. */
export const RENEGOTIATIONS = 10

/** @param watch called with each stream of the server as soon as it exists. */
export async function traffic(watch: (stream: RenegotiationTLSSocket) => void): Promise<void> {
  const { ca } = certificates
  const server = createServer({
    ...{ ...certificates.server, ca, maxVersion: 'TLSv1.2', requestCert: true },
    renegotiation: { peerLimit: { max: RENEGOTIATIONS, windowMs: 60_000 } },
  })
  server.on('secureConnection', (stream) => {
    watch(stream as RenegotiationTLSSocket)
    stream.on('error', () => {})
    stream.resume()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const options = { host: '127.0.0.1', port, servername: 'localhost', ca, maxVersion: 'TLSv1.2' } as const

  for (const renegotiations of [RENEGOTIATIONS, RENEGOTIATIONS + 1]) {
    const client = connect({ ...options, ...certificates.client })
    client.on('error', () => {})
    client.resume()
    await once(client, 'secureConnect')
    for (let i = 0; i < renegotiations; i++) {
      client.write(Buffer.alloc(100_000))
      // The last one of the second connection is more than the server allows, and ends it.
      await client.renegotiate().catch(() => {})
    }
    client.end()
    if (!client.closed) await once(client, 'close')
  }

  const stranger = tls.connect(options)
  stranger.on('error', () => {})
  await once(server, 'tlsClientError')
  stranger.destroy()
  server.close()
  await once(server, 'close')
}
