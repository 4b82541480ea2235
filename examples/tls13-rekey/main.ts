/*
 * npm run example -- tls13-rekey
 *
 * Both ends send without a pause over TLS 1.3, and each updates its keys once
 * a second while data flows in both directions. First the same on sockets of
 * node:tls, which have no such function.
 */
import { createCipheriv, createHash, type Hash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { finished, pipeline } from 'node:stream/promises'
import tls from 'node:tls'
import type { RenegotiationTLSSocket } from 'renegotiation-duplex'
import { connect, createServer, isAvailable } from 'renegotiation-duplex/openssl'
import * as certificates from '../certificates.ts'

const EVERY_MS = 1000
/** Key updates of each end. */
const UPDATES = 3
const host = '127.0.0.1'

console.log('1. Sockets of node:tls.')
const refusal = await plain()
console.log(`   renegotiate() over TLS 1.3: ${refusal}`)

console.log(`2. Streams of renegotiation-duplex/openssl: both ends send, and update their keys every ${EVERY_MS} ms.`)
if (!isAvailable()) {
  console.log('   There is no OpenSSL that can be called: npm install koffi')
  process.exit(1)
}
const { client, server } = await connection()
const ends = [end('client', client), end('server', server)] as const
const [toServer, toClient] = await Promise.all(ends)
console.table({
  'client → server': { bytes: toServer.bytes, intact: toServer.sent === toClient.received },
  'server → client': { bytes: toClient.bytes, intact: toClient.sent === toServer.received },
})
console.table({ client: toServer.updates, server: toClient.updates })
const isRight =
  /version/.test(refusal) &&
  toServer.sent === toClient.received &&
  toClient.sent === toServer.received &&
  [toServer, toClient].every(({ bytes, updates }) => bytes > 0 && updates.begun >= UPDATES && updates.answered > 0)
console.log(isRight ? '   All is right.' : '   Something is WRONG.')
process.exitCode = isRight ? 0 : 1

/** Sends and receives until both ends have made all their updates. Returns what came of it. */
async function end(name: string, stream: RenegotiationTLSSocket) {
  const sent = createHash('sha256')
  const received = createHash('sha256')
  const updates = { begun: 0, answered: 0, ofPeer: 0, longestHoldMs: 0 }
  let bytes = 0
  stream.on('data', (chunk) => received.update(chunk))
  stream.on('renegotiated', ({ origin, kind, verified, handshakeMs }) => {
    if (kind !== 'key-update') throw new Error(`it was a ${kind}`)
    if (origin === 'peer') updates.ofPeer++
    else updates.begun++
    if (origin === 'local' && verified) updates.answered++
    if (origin === 'local') console.log(`   ${name}: new keys, answered after ${handshakeMs.toFixed(1)} ms`)
  })
  async function* chunks() {
    const cipher = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16))
    while (updates.begun < UPDATES || updates.ofPeer < UPDATES) {
      const chunk = cipher.update(Buffer.alloc(1 + Math.floor(Math.random() * 200_000)))
      sent.update(chunk)
      bytes += chunk.length
      yield chunk
    }
  }
  await Promise.all([pipeline(chunks(), stream), finished(stream)])
  updates.longestHoldMs = Number(stream.counters.hold.maxMs.toFixed(1))
  return { sent: digest(sent), received: digest(received), bytes, updates }
}

function digest(hash: Hash): string {
  return hash.digest('hex')
}

/** A connection over TLS 1.3. This is all that it takes: the arguments are those of node:tls. */
async function connection() {
  const renegotiation = { rekey: { everyMs: EVERY_MS } }
  const listening = createServer({ ...certificates.server, minVersion: 'TLSv1.3', allowHalfOpen: true, renegotiation })
  listening.listen(0, host)
  await once(listening, 'listening')
  const { port } = listening.address() as AddressInfo
  const client = connect({ host, port, ca: certificates.ca, allowHalfOpen: true, renegotiation })
  const [[server]] = await Promise.all([once(listening, 'secureConnection'), once(client, 'secureConnect')])
  listening.close()
  return { client, server: server as RenegotiationTLSSocket }
}

/** What node:tls answers. */
async function plain(): Promise<string> {
  const listening = tls.createServer({ ...certificates.server, minVersion: 'TLSv1.3' }).listen(0, host)
  await once(listening, 'listening')
  const socket = tls.connect({ host, port: (listening.address() as AddressInfo).port, ca: certificates.ca })
  await once(socket, 'secureConnect')
  const error = await new Promise<Error | null>((resolve) => socket.renegotiate({}, resolve))
  socket.destroy()
  listening.close()
  return error === null ? 'it worked' : error.message.trim()
}
