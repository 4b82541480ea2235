/*
 * One end of the link, in a process of its own: sends a file again and again,
 * takes what comes, and renegotiates at random moments all the while.
 */
import { createHash, type Hash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import tls, { type TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import { type RenegotiationReport, wrapTLSSocket } from 'renegotiation-duplex'
import { ca, server as identity } from '../../test/fixtures/pki.ts'
import type { FromEnd, Orders, ToEnd } from './messages.ts'

const orders = JSON.parse(process.argv[2] ?? '') as Orders
const random = seededRandom(orders.seed)
const sent = { bytes: 0, hash: createHash('sha256') }
const received = { bytes: 0, hash: createHash('sha256') }
const holds: number[] = []
let connectedAt = 0
let renegotiations = 0
let ownRenegotiations = 0
let stopped = false
let finishing = false

process.on('disconnect', () => process.exit())
process.on('message', (message: ToEnd) => {
  if (message.type === 'stop') stopped = true
  if (message.type === 'finish') finishing = true
})

let error: string | undefined
try {
  const socket = await (orders.role === 'server' ? accept() : connect())
  connectedAt = performance.now()
  const ticking = setInterval(tellStatus, 100)
  await (orders.wrapped ? runWrapped(socket) : runPlain(socket)).finally(() => clearInterval(ticking))
} catch (reason) {
  error = explain(reason)
}
tellStatus()
tell({ type: 'over', outcome: { sentHash: digest(sent.hash), receivedHash: digest(received.hash), error } }, () =>
  process.disconnect(),
)

/** As one would do it with this package. */
async function runWrapped(socket: TLSSocket): Promise<void> {
  // This client renegotiates more often than Node allows by default, which is 3 times in 10 minutes.
  const stream = wrapTLSSocket(socket, { peerLimit: false })
  stream.on('renegotiated', (report: RenegotiationReport) => {
    if (!report.verified) stream.destroy(new Error('A renegotiation left the keys as they were'))
    renegotiations++
    if (report.origin === 'local') ownRenegotiations++
    holds.push(report.drainMs + report.handshakeMs)
  })
  await Promise.all([transfer(stream), renegotiateAtRandom(() => stream.renegotiate())])
}

/** The same without it. */
async function runPlain(socket: TLSSocket): Promise<void> {
  // Its own limit is not what it shall die of.
  Object.assign(tls, { CLIENT_RENEG_LIMIT: Infinity })
  socket.on('secure', () => renegotiations++)
  const renegotiate = promisify<object, void>(socket.renegotiate.bind(socket))
  const counted = async () => {
    await renegotiate({})
    ownRenegotiations++
  }
  await Promise.all([transfer(socket), renegotiateAtRandom(counted)])
}

/** Both ways at once, as fast as it goes. */
async function transfer(stream: Duplex): Promise<void> {
  stream.on('data', (chunk: Buffer) => {
    received.bytes += chunk.length
    received.hash.update(chunk)
  })
  await Promise.all([pipeline(copiesOfTheFile(), stream), finished(stream)])
}

async function* copiesOfTheFile(): AsyncGenerator<Buffer> {
  do {
    for await (const chunk of createReadStream(orders.file, { highWaterMark: 256 * 1024 })) {
      sent.bytes += chunk.length
      sent.hash.update(chunk)
      yield chunk
    }
  } while (!finishing)
}

async function renegotiateAtRandom(renegotiate: () => Promise<unknown>): Promise<void> {
  while (!stopped) {
    await sleep(20 + 60 * random())
    await renegotiate()
  }
  // An end that has sent its last byte can't take part in a handshake any more: so first no more handshakes at either
  // end, and only then `finish`.
  tell({ type: 'quiet' })
}

async function accept(): Promise<TLSSocket> {
  const server = tls.createServer({ ...identity, maxVersion: 'TLSv1.2', allowHalfOpen: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  tell({ type: 'listening', port: (server.address() as AddressInfo).port })
  const [socket] = (await once(server, 'secureConnection')) as [TLSSocket]
  server.close()
  return socket
}

async function connect(): Promise<TLSSocket> {
  const [{ port }] = (await once(process, 'message')) as [{ port: number }]
  const host = '127.0.0.1'
  const options = { host, port, ca, servername: 'localhost', maxVersion: 'TLSv1.2', allowHalfOpen: true } as const
  const socket = tls.connect(options)
  await once(socket, 'secureConnect')
  return socket
}

function tellStatus(): void {
  const seconds = (performance.now() - connectedAt) / 1000
  const byteCounts = { sentBytes: sent.bytes, receivedBytes: received.bytes }
  tell({ type: 'status', status: { ...byteCounts, seconds, renegotiations, ownRenegotiations, holds } })
}

/** A message that can't be told any more is not worth an error: `disconnect` is the end in any case. */
function tell(message: FromEnd, told = () => {}): void {
  process.send?.(message, undefined, undefined, told)
}

/** So far: where the link was lost, more may still come in. */
function digest(hash: Hash): string {
  return hash.copy().digest('hex')
}

/** With the error below it, which is OpenSSL's own where there is one. */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const message = error.message.trim()
  return error.cause === undefined ? message : `${message}; cause: ${explain(error.cause)}`
}

/** mulberry32: from 0 to 1, the same sequence for the same seed. */
function seededRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let bits = Math.imul(state ^ (state >>> 15), state | 1)
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61)
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32
  }
}
