/*
 * One end of a soak, in a process of its own. It sends without a pause, receives,
 * and renegotiates on a schedule all the while.
 */
import { createHash } from 'node:crypto'
import { Random } from '../compliance/random.ts'
import type { RenegotiationTLSSocket } from '../index.ts'
import { accept, open } from './soak-connection.ts'
import type { FromEnd, Orders, Sum, ToEnd } from './soak-messages.ts'

const STATUS_MS = 250
const POOL_BYTES = 32 * 1024 * 1024

const orders = JSON.parse(process.argv[2] as string) as Orders
process.on('disconnect', () => process.exit())
// Ctrl-C in a terminal reaches all processes. The parent process decides what to do.
process.on('SIGINT', () => {})

function tell(message: FromEnd, told = () => {}): void {
  process.send?.(message, undefined, undefined, told)
}

function run(stream: RenegotiationTLSSocket): void {
  const random = new Random(orders.seed)
  const pool = random.bytes(POOL_BYTES)
  const sent = new Tally()
  const received = new Tally()
  let error: string | undefined
  let stopped = false
  let expected = Infinity

  stream.on('data', (chunk) => {
    received.add(chunk)
    tellReceived()
  })
  stream.on('renegotiated', ({ origin, kind, verified, drainMs, handshakeMs }) => {
    // Data flows while a key update waits for its answer.
    const holdMs = kind === 'renegotiation' ? drainMs + handshakeMs : drainMs
    tell({ type: 'renegotiated', origin, verified, holdMs })
  })
  stream.on('end', () => {
    if (!stopped) stream.destroy(new Error('the other end has closed the connection'))
  })
  stream.on('error', (reason: NodeJS.ErrnoException) => {
    error = [reason.code, reason.message.trim()].filter(Boolean).join(': ')
  })
  const ticking = setInterval(tellStatus, STATUS_MS)
  stream.on('close', () => {
    clearInterval(ticking)
    tellStatus()
    tell({ type: 'over', received: received.sum(), ...(error !== undefined && { error }) }, () => process.disconnect())
  })
  process.on('message', (message: ToEnd) => {
    if (message.type === 'stop') {
      stopped = true
      // The callback of an empty write comes after all writes before it.
      stream.write('', () => tell({ type: 'sent', sum: sent.sum() }))
    } else if (message.type === 'expect') {
      expected = message.bytes
      tellReceived()
    } else if (message.type === 'end') {
      stream.end()
    } else {
      stream.destroy()
    }
  })
  if (orders.side === 'server') begin(stream)
  else stream.once('secureConnect', () => begin(stream))

  function begin({ socket }: RenegotiationTLSSocket): void {
    tell({ type: 'connected', protocol: String(socket.getProtocol()), cipher: socket.getCipher().name })
    send()
  }

  function send(): void {
    const [min, max] = orders.chunkBytes
    for (let more = true; more && !stopped; ) {
      const length = min + random.below(max - min + 1)
      const start = random.below(POOL_BYTES - length)
      const chunk = pool.subarray(start, start + length)
      sent.add(chunk)
      more = stream.write(chunk)
    }
    if (!stopped) stream.once('drain', send)
  }

  function tellReceived(): void {
    if (received.bytes < expected) return
    expected = Infinity
    tell({ type: 'received' })
  }

  function tellStatus(): void {
    const rssBytes = process.memoryUsage.rss()
    const { counters } = stream
    tell({ type: 'status', sentBytes: sent.bytes, receivedBytes: received.bytes, rssBytes, counters })
  }
}

/** Counts and hashes bytes. */
class Tally {
  bytes = 0
  readonly #hash = createHash('sha256')

  add(chunk: Buffer): void {
    this.bytes += chunk.length
    this.#hash.update(chunk)
  }

  /** The count and the hash so far. */
  sum(): Sum {
    return { bytes: this.bytes, hash: this.#hash.copy().digest('hex') }
  }
}

// At the end of the file: run() needs the class above, which is not hoisted.
const listening = (port: number) => tell({ type: 'listening', port })
run(await (orders.side === 'server' ? accept(orders, listening) : open(orders)))
