/*
 * npm run example -- openssl-engine [<path of a libssl.so.3>]
 *
 * A client and a server, each OpenSSL itself under a RenegotiationDuplex, over
 * TCP on loopback. Both send at full speed, and renegotiate at random moments.
 * On the OpenSSL inside Node, or on another; SEED=... repeats an earlier run.
 */
import { createCipheriv, createHash, randomInt } from 'node:crypto'
import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import { engineTransport, RenegotiationDuplex, type RenegotiationReport } from 'renegotiation-duplex'
import { carry } from './carry.ts'
import { cert, key } from './certificate.ts'
import { type EndOptions, type EngineOptions, OpenSSLEngine } from './engine.ts'
import { loadLibSSL } from './libssl.ts'

/** What each end sends, and how many renegotiations it begins meanwhile. */
const BYTES = 64_000_000
const RENEGOTIATIONS = 20
const MAX_CHUNK_BYTES = 256 * 1024

/** Counts the answers of SSL_write that take a transport to get right. */
class CountingEngine extends OpenSSLEngine {
  takenInPart = 0
  offeredAgain = 0

  override write(from: Uint8Array) {
    const taken = super.write(from)
    if (typeof taken === 'string') this.offeredAgain++
    else if (taken < from.length) this.takenInPart++
    return taken
  }
}

class End {
  readonly sent = createHash('sha256')
  readonly received = createHash('sha256')
  receivedBytes = 0
  /** Of all renegotiations, whoever began them. */
  readonly reports: RenegotiationReport[] = []
  readonly engine: CountingEngine
  readonly stream: RenegotiationDuplex

  constructor(socket: Socket, options: EndOptions & EngineOptions) {
    this.engine = new CountingEngine(options)
    this.stream = new RenegotiationDuplex(engineTransport(this.engine))
    this.stream.on('renegotiated', (report: RenegotiationReport) => this.reports.push(report))
    this.stream.on('data', (chunk: Buffer) => {
      this.received.update(chunk)
      this.receivedBytes += chunk.length
    })
    socket.on('error', (error) => this.stream.destroy(error))
    carry(this.engine, socket)
  }

  /** Resolves when all is written and every renegotiation is done. */
  async send(random: Random): Promise<unknown> {
    const places = Array.from({ length: RENEGOTIATIONS }, () => random.below(BYTES))
    const renegotiations: Promise<RenegotiationReport>[] = []
    for (let bytes = 0; bytes < BYTES; ) {
      const chunk = random.bytes(Math.min(1 + random.below(MAX_CHUNK_BYTES), BYTES - bytes))
      const end = bytes + chunk.length
      for (const place of places) if (place >= bytes && place < end) renegotiations.push(this.stream.renegotiate())
      bytes = end
      this.sent.update(chunk)
      if (!this.stream.write(chunk)) await once(this.stream, 'drain')
    }
    return Promise.all(renegotiations)
  }
}

/** Looks random, and is the same for the same seed. */
class Random {
  readonly #keystream
  readonly #zeros = Buffer.alloc(MAX_CHUNK_BYTES)

  constructor(seed: string) {
    this.#keystream = createCipheriv('aes-256-ctr', createHash('sha256').update(seed).digest(), Buffer.alloc(16))
  }

  bytes(count: number): Buffer {
    return this.#keystream.update(this.#zeros.subarray(0, count))
  }

  /** A whole number from 0 to `limit`, `limit` excluded. */
  below(limit: number): number {
    return this.bytes(4).readUInt32LE() % limit
  }
}

const libssl = loadLibSSL(process.argv[2])
const seed = process.env['SEED'] ?? randomInt(2 ** 31)
console.log(`${libssl.OpenSSL_version(0)}; Node ${process.versions.node}; SEED=${seed}`)

const host = '127.0.0.1'
// noDelay: Nagle's algorithm holds the small messages of a handshake back, for 40 ms at a time.
const listening = net.createServer({ noDelay: true }).listen(0, host)
await once(listening, 'listening')
const connecting = net.connect({ host, port: (listening.address() as AddressInfo).port, noDelay: true })
const [[accepted]] = await Promise.all([once(listening, 'connection'), once(connecting, 'connect')])
listening.close()

const startedAt = performance.now()
// Partial writes at one end, so that both kinds of answer are there.
const client = new End(connecting, { libssl, role: 'client', ca: cert, servername: 'localhost', partialWrites: true })
const server = new End(accepted, { libssl, role: 'server', cert, key })
await Promise.all([client.send(new Random(`client ${seed}`)), server.send(new Random(`server ${seed}`))])
// An end that has ended answers no handshake any more, so neither ends before both have renegotiated.
await Promise.all([client, server].map(({ stream }) => once(stream.end(), 'close')))

const seconds = (performance.now() - startedAt) / 1000
const results = { client: result(client, server), server: result(server, client) }
console.table(results)
const isRight =
  results.client.renegotiations === results.server.renegotiations &&
  Object.values(results).every(
    ({ sent, arrived, hashesEqual, renegotiations, verified }) =>
      sent === arrived && hashesEqual && renegotiations >= RENEGOTIATIONS && verified === renegotiations,
  )
console.log(`${isRight ? 'All is right' : 'Something is WRONG'}, after ${seconds.toFixed(1)} s`)
process.exitCode = isRight ? 0 : 1

function result(from: End, to: End) {
  const { reports, engine } = from
  return {
    sent: BYTES,
    arrived: to.receivedBytes,
    hashesEqual: from.sent.digest().equals(to.received.digest()),
    renegotiations: reports.length,
    begun: reports.filter(({ origin }) => origin === 'local').length,
    verified: reports.filter(({ verified }) => verified).length,
    takenInPart: engine.takenInPart,
    offeredAgain: engine.offeredAgain,
  }
}
