/*
 * npm run example -- tcp-tunnel
 *
 * A tunnel: plain TCP in, TLS in the middle, plain TCP out. Each of its ends is
 * one stream.pipeline() with a stream of this package in it, and the entrance
 * changes the keys with every 4 MB that go through. What uses the tunnel is
 * plain TCP, sends 48 MB each way at once, and knows of none of it.
 */
import { createCipheriv, createHash, type Hash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import net, { type AddressInfo, type Server } from 'node:net'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { connect, createServer, type RenegotiationReport, type RenegotiationStream } from 'renegotiation-duplex'
import * as certificates from '../certificates.ts'

const host = '127.0.0.1'
const BYTES = 48_000_000
const REKEY_BYTES = 4_000_000

/** What the ends of the tunnel came to. */
const ends: Promise<unknown>[] = []
const renegotiations: Promise<RenegotiationReport>[] = []

// Where the tunnel leads to: a server that sends and receives at once, and ends when its client has.
const toClient = { sent: createHash('sha256'), received: createHash('sha256') }
const toServer = { sent: createHash('sha256'), received: createHash('sha256') }
const target = await listen(
  net.createServer({ allowHalfOpen: true }, async (socket) => {
    const receiving = receive(socket, toServer.received)
    for (const chunk of chunks(toClient.sent)) if (!socket.write(chunk)) await once(socket, 'drain')
    await receiving
    socket.end()
  }),
)

// The exit. The entrance renegotiates more often than a server allows by default. Half-open, as TCP is: the two
// directions of what goes through end one after the other.
const exit = await listen(
  createServer(
    {
      ...certificates.server,
      maxVersion: 'TLSv1.2',
      allowHalfOpen: true,
      renegotiation: { peerLimit: false },
    },
    (tunnel) => {
      const plain = net.connect({ host, port: portOf(target), allowHalfOpen: true })
      ends.push(pipeline(plain, tunnel, plain))
    },
  ),
)

// The entrance.
const entrance = await listen(
  net.createServer({ allowHalfOpen: true }, (plain) => {
    const options = {
      host,
      port: portOf(exit),
      ca: certificates.ca,
      maxVersion: 'TLSv1.2',
      allowHalfOpen: true,
    } as const
    const tunnel = connect(options)
    const meter = rekeyEvery(REKEY_BYTES, tunnel)
    ends.push(pipeline(plain, meter(), tunnel, meter(), plain))
  }),
)

// Who uses it.
const client = net.connect({ host, port: portOf(entrance), allowHalfOpen: true })
await Promise.all([pipeline(chunks(toServer.sent), client), receive(client, toClient.received)])
await Promise.all(ends)
for (const server of [entrance, exit, target]) server.close()

const reports = await Promise.all(renegotiations)
const rows = { 'client → server': row(toServer), 'server → client': row(toClient) }
console.table(rows)
const isProven = reports.length > 0 && reports.every(({ verified }) => verified)
const isRight = Object.values(rows).every(({ intact }) => intact) && isProven
const held = reports.map(({ drainMs, handshakeMs }) => drainMs + handshakeMs)
console.log(`${reports.length} changes of keys, ${isProven ? 'all proven' : 'NOT all proven'}.`)
console.log(`Writes were held for ${Math.max(...held).toFixed(1)} ms at most.`)
console.log(isRight ? 'All is right.' : 'Something is WRONG.')
process.exitCode = isRight ? 0 : 1

/** For both directions: passes everything on, and counts. */
function rekeyEvery(bytes: number, tunnel: RenegotiationStream): () => Transform {
  let left = bytes
  return () =>
    new Transform({
      transform(chunk: Buffer, _encoding, done) {
        left -= chunk.length
        // A connection that is half closed can't renegotiate.
        if (left <= 0 && tunnel.writable) {
          left = bytes
          renegotiations.push(tunnel.renegotiate()) // nobody has to wait for it: what comes after it is held
        }
        done(null, chunk)
      },
    })
}

/** Random bytes, in pieces of random size. */
function* chunks(hash: Hash): Generator<Buffer> {
  const cipher = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16))
  for (let left = BYTES; left > 0; ) {
    const chunk = cipher.update(Buffer.alloc(Math.min(left, 1 + Math.floor(Math.random() * 200_000))))
    left -= chunk.length
    hash.update(chunk)
    yield chunk
  }
}

async function receive(socket: net.Socket, hash: Hash): Promise<void> {
  socket.on('data', (chunk) => hash.update(chunk))
  await once(socket, 'end')
}

function row({ sent, received }: { sent: Hash; received: Hash }) {
  const [sentHash, receivedHash] = [sent.digest('hex'), received.digest('hex')]
  return { sent: sentHash.slice(0, 16), received: receivedHash.slice(0, 16), intact: sentHash === receivedHash }
}

async function listen<T extends Server>(server: T): Promise<T> {
  server.listen(0, host)
  await once(server, 'listening')
  return server
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port
}
