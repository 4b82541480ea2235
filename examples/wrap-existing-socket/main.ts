/*
 * npm run example -- wrap-existing-socket
 *
 * Somebody else's code makes the connection, and what it gives you is a
 * tls.TLSSocket. Both ends send without a pause, and the client renegotiates
 * again and again: first on the sockets as they are, then wrapped.
 */
import { createCipheriv, createHash, type Hash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { finished, pipeline } from 'node:stream/promises'
import tls, { type TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import { wrapTLSSocket } from 'renegotiation-duplex'
import * as certificates from '../certificates.ts'

const RENEGOTIATIONS = 50

// Node's own limit, 3 in 10 minutes, is not what the plain connection shall die of.
Object.assign(tls, { CLIENT_RENEG_LIMIT: Number.POSITIVE_INFINITY })

console.log('1. The sockets as they are.')
const plain = await somebodyElsesConnection()
const renegotiatePlain = promisify<object, void>(plain.client.renegotiate.bind(plain.client))
const without = await run(plain, () => renegotiatePlain({}))
const isLost = without.errors.some((message) => message.includes('unexpected record'))
console.log(
  isLost ? `   Lost at renegotiation ${without.renegotiations + 1}:` : '   Not lost to what it should be lost to.',
)
for (const message of without.errors) console.log(`   ${message}`)

console.log('2. The same, wrapped.')
const { client, server } = await somebodyElsesConnection()
const stream = wrapTLSSocket(client)
const wrapped = await run({ client: stream, server: wrapTLSSocket(server) }, async () => {
  const { verified } = await stream.renegotiate()
  if (!verified) throw new Error('the keys are the old ones')
})
console.table(wrapped.rows)
for (const message of wrapped.errors) console.log(`   ${message}`)

const cameThrough =
  wrapped.errors.length === 0 &&
  wrapped.renegotiations === RENEGOTIATIONS &&
  Object.values(wrapped.rows).every(({ bytes, intact }) => bytes > 0 && intact)
console.log(`   ${wrapped.renegotiations} renegotiations, all proven.`)
const isRight = isLost && cameThrough
console.log(isRight ? 'All is right.' : 'Something is WRONG.')
process.exitCode = isRight ? 0 : 1

interface Connection {
  client: TLSSocket
  server: TLSSocket
}

/** The same for plain sockets and wrapped ones: until all is done, or the connection is lost. */
async function run({ client, server }: Connection, renegotiate: () => Promise<void>) {
  const errors: string[] = []
  const toServer = { sent: createHash('sha256'), received: createHash('sha256'), bytes: 0 }
  const toClient = { sent: createHash('sha256'), received: createHash('sha256'), bytes: 0 }
  let renegotiations = 0

  const renegotiating = async () => {
    for (; renegotiations < RENEGOTIATIONS; renegotiations++) {
      await once(client, 'data')
      await renegotiate()
    }
  }
  async function* send(direction: typeof toServer) {
    const cipher = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16))
    while (renegotiations < RENEGOTIATIONS) {
      const chunk = cipher.update(Buffer.alloc(1 + Math.floor(Math.random() * 200_000)))
      direction.sent.update(chunk)
      direction.bytes += chunk.length
      yield chunk
    }
  }

  for (const end of [client, server]) end.on('error', ({ message }) => errors.push(message.trim()))
  client.on('data', (chunk) => toClient.received.update(chunk))
  server.on('data', (chunk) => toServer.received.update(chunk))
  const sending = [pipeline(send(toServer), client), pipeline(send(toClient), server)]
  try {
    await Promise.all([...sending, renegotiating(), finished(client), finished(server)])
  } catch {
    // Whatever it was, an `error` event tells of it. Node's own renegotiate() may never call back.
    for (const end of [client, server]) end.destroy()
    await Promise.allSettled([...sending, finished(client), finished(server)])
  }
  return { renegotiations, errors, rows: { 'client → server': row(toServer), 'server → client': row(toClient) } }
}

function row({ sent, received, bytes }: { sent: Hash; received: Hash; bytes: number }) {
  return { bytes, intact: sent.digest('hex') === received.digest('hex') }
}

/** Not ours to change: Node's own tls, at both ends. */
async function somebodyElsesConnection(): Promise<Connection> {
  const host = '127.0.0.1'
  const listening = tls.createServer({ ...certificates.server, maxVersion: 'TLSv1.2', allowHalfOpen: true })
  listening.listen(0, host)
  await once(listening, 'listening')
  const { port } = listening.address() as AddressInfo
  const options = { host, port, ca: certificates.ca, allowHalfOpen: true }
  const connecting = tls.connect(options)
  const [[accepted]] = await Promise.all([once(listening, 'secureConnection'), once(connecting, 'secureConnect')])
  listening.close()
  return { client: connecting, server: accepted }
}
