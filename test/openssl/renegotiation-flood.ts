import { once } from 'node:events'
import t, { type Test } from 'tap'
import type { RenegotiationOptions, RenegotiationTLSSocket } from '../../src/index.ts'
import { connect } from '../../src/openssl/index.ts'
import { mallory, server as serverCredentials } from '../fixtures/attack.ts'
import { clientOf, openSSLServer } from '../fixtures/openssl-pair.ts'
import { closed } from '../fixtures/settled.ts'
import { RawPeer } from '../fixtures/tls12/peer.ts'

/* Peers of TLS 1.2 that begin renegotiations without end, and such that never finish one. */

const LIMIT = { code: 'ERR_RENEGOTIATION_LIMIT' }
const TIMEOUT = { code: 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT', message: /peer's/ }

t.setTimeout(300_000)

interface Attacked {
  raw: RawPeer
  stream: RenegotiationTLSSocket
  errors: NodeJS.ErrnoException[]
}

function attacked(t: Test, raw: RawPeer, stream: RenegotiationTLSSocket): Attacked {
  const errors: NodeJS.ErrnoException[] = []
  stream.on('error', (error) => errors.push(error)).resume()
  t.teardown(() => stream.destroy())
  return { raw, stream, errors }
}

/** A server over OpenSSL, and a malicious client after its first handshake. */
async function attackedServer(t: Test, renegotiation: RenegotiationOptions = {}): Promise<Attacked> {
  const listening = await openSSLServer(t, { maxVersion: 'TLSv1.2', renegotiation })
  const accepted = once(listening, 'secureConnection') as Promise<[RenegotiationTLSSocket]>
  const raw = await RawPeer.connect({ port: listening.port, servername: 'localhost', ...mallory }, t)
  await raw.handshake()
  return attacked(t, raw, (await accepted)[0])
}

/** A client over OpenSSL, and a malicious server after its first handshake. */
async function attackedClient(t: Test, renegotiation: RenegotiationOptions = {}): Promise<Attacked> {
  const listening = await RawPeer.listen(serverCredentials, t)
  const stream = connect(clientOf(listening.port, { maxVersion: 'TLSv1.2', renegotiation }))
  const secure = once(stream, 'secureConnect')
  const raw = await listening.accept()
  await raw.handshake()
  await secure
  return attacked(t, raw, stream)
}

/** Renegotiates until the other end refuses. Returns how many handshakes were completed. */
async function flood(raw: RawPeer): Promise<number> {
  for (let handshakes = 0; ; handshakes++) {
    const isRefused = await raw.renegotiate().then(
      () => false,
      () => true,
    )
    if (isRefused) return handshakes
  }
}

t.test('a client that renegotiates without end is ended after 3 handshakes, as by node:tls', async (t) => {
  const { raw, stream, errors } = await attackedServer(t)
  t.equal(await flood(raw), 3)
  await closed(stream)
  t.match(errors, [LIMIT])
  t.equal(stream.counters.byPeer, 3)
})

t.test('a server that renegotiates without end is ended after as many handshakes as peerLimit allows', async (t) => {
  const { raw, stream, errors } = await attackedClient(t, { peerLimit: { max: 5, windowMs: 600_000 } })
  t.equal(await flood(raw), 5)
  await closed(stream)
  t.match(errors, [LIMIT])
})

t.test('a client that sends ClientHello upon ClientHello, and finishes no handshake, is ended', async (t) => {
  const { raw, stream, errors } = await attackedServer(t)
  for (let i = 0; i < 50; i++) raw.sendHandshake('ClientHello', raw.clientHello())
  await closed(stream)
  t.equal(errors.length, 1)
  t.match(errors[0]?.code, /^ERR_RENEGOTIATION_(REFUSED|LIMIT)$/)
  t.equal(stream.counters.byPeer, 0)
})

t.test('a server that floods with HelloRequests and answers no ClientHello is ended by handshakeTimeout', async (t) => {
  const { raw, stream, errors } = await attackedClient(t, { handshakeTimeout: 100 })
  for (let i = 0; i < 1000; i++) raw.sendHandshake('HelloRequest')
  await raw.expect('ClientHello')
  await closed(stream)
  t.match(errors, [TIMEOUT])
})

t.test('a client that sends its ClientHello and then nothing is ended by handshakeTimeout', async (t) => {
  const { raw, stream, errors } = await attackedServer(t, { handshakeTimeout: 50 })
  await raw.handshake({ until: 'ClientHello' })
  await closed(stream)
  t.match(errors, [TIMEOUT])
})

t.test('a client that sends a part of its ClientHello and then nothing is ended by handshakeTimeout', async (t) => {
  const { raw, stream, errors } = await attackedServer(t, { handshakeTimeout: 50 })
  raw.sendHandshake('ClientHello', raw.clientHello(), { only: 5 })
  await closed(stream)
  t.match(errors, [TIMEOUT])
})
