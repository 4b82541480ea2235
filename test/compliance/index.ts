import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import tls from 'node:tls'
import t from 'tap'
import { CipherStream } from '../../examples/cipher-rekey/cipher-stream.ts'
import { type ComplianceOptions, complianceTests } from '../../src/compliance/index.ts'
import { duplexTransport, engineTransport, type Transport, tlsTransport } from '../../src/index.ts'
import { JavaScriptDuplex } from '../fixtures/javascript-duplex.ts'
import { everyLibSSL } from '../fixtures/libssl.ts'
import { MemoryTransport } from '../fixtures/memory-transport.ts'
import { enginePair } from '../fixtures/openssl-engine.ts'
import { openSSLTransports } from '../fixtures/openssl-transports.ts'
import { ca, server as identity } from '../fixtures/pki.ts'
import { SEED } from '../fixtures/random.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

type Pair = readonly [Transport, Transport]

async function tcp(): Promise<[net.Socket, net.Socket]> {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = once(server, 'connection') as Promise<[net.Socket]>
  const { port } = server.address() as AddressInfo
  const client = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
  const [socket] = await accepted
  server.close()
  return [client, socket]
}

function secured(near: Duplex, far: Duplex): [tls.TLSSocket, tls.TLSSocket] {
  const client = tls.connect({ socket: near, ca, servername: 'localhost', maxVersion: 'TLSv1.2' })
  const server = new tls.TLSSocket(far, { ...identity, isServer: true })
  return [client, server]
}

function overTLS(near: Duplex, far: Duplex): Pair {
  const [client, server] = secured(near, far)
  return [tlsTransport(client), tlsTransport(server)]
}

function overCipher(inner: Duplex): Transport {
  const cipher = new CipherStream(inner)
  return duplexTransport(cipher, {
    renegotiate: () => cipher.rekey(),
    peerHandshakes: ({ started, done }) => cipher.on('rekeying', started).on('rekeyed', done),
    session: () => ({ keys: cipher.fingerprint }),
  })
}

const subjects: Record<string, Omit<ComplianceOptions, 'seed'> & { skip?: string | boolean }> = {
  'TLS 1.2 over TCP': { connect: async () => overTLS(...(await tcp())) },
  'TLS 1.2 over a JavaScript Duplex': {
    async connect() {
      const [near, far] = await tcp()
      return overTLS(new JavaScriptDuplex(near), new JavaScriptDuplex(far))
    },
  },
  'TLS 1.2 over TLS over TCP': { connect: async () => overTLS(...secured(...(await tcp()))) },
  'a net.Socket': {
    renegotiates: false,
    async connect() {
      const [near, far] = await tcp()
      return [duplexTransport(near), duplexTransport(far)]
    },
  },
  'a Duplex with its own way to change keys': {
    async connect() {
      const [near, far] = await tcp()
      return [overCipher(near), overCipher(far)]
    },
  },
  'an in-memory transport': { connect: () => MemoryTransport.pair() },
  'an in-memory transport with partial and refused writes': {
    connect: () => MemoryTransport.pair({ portion: 1000, refuseEvery: 3 }),
  },
}
for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  const keyUpdates = version === 'TLSv1.3'
  subjects[`${version} by OpenSSL over TCP`] = {
    keyUpdates,
    connect: async () => openSSLTransports(version, ...(await tcp())),
  }
  subjects[`${version} by OpenSSL over a JavaScript Duplex`] = {
    keyUpdates,
    async connect() {
      const [near, far] = await tcp()
      return openSSLTransports(version, new JavaScriptDuplex(near), new JavaScriptDuplex(far))
    },
  }
}
for (const { name, libssl, skip } of everyLibSSL) {
  for (const partialWrites of [false, true]) {
    subjects[`an engine on ${name} with${partialWrites ? '' : 'out'} partial writes`] = {
      skip,
      connect() {
        const { client, server } = enginePair({ ...(libssl && { libssl }), partialWrites, portion: 16384 })
        const options = { allowHalfOpen: true }
        return [engineTransport(client, options), engineTransport(server, options)]
      },
    }
  }
}

for (const [name, { skip = false, ...options }] of Object.entries(subjects)) {
  t.test(`${name} passes the compliance tests`, { skip }, async (t) => {
    for (const { name, run } of complianceTests({ ...options, seed: SEED })) {
      t.test(name, async (t) => {
        await run()
        t.pass('the transport keeps the contract')
      })
    }
  })
}
