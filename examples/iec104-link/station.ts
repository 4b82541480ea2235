/*
 * A station in a process of its own. A controlled station listens, and sends a thousand telegrams a second. The
 * controlling station connects to all of them, and sends each a hundred commands a second.
 */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import {
  type CRLUpdateReport,
  connect,
  createServer,
  iec62351,
  type RenegotiationTLSSocket,
} from 'renegotiation-duplex'
import { Link } from './link.ts'
import type { FromStation, LinkResult, Orders, ToStation } from './messages.ts'

/** Telegrams a second and link. */
const RATE = { controlled: 1000, controlling: 100 }

/** One end of a link, with its source of telegrams and its check of those that it receives. */
class Traffic {
  readonly stream: RenegotiationTLSSocket
  readonly link: Link
  readonly #name: string
  readonly #role: Orders['role']
  #made = 0
  #seen = 0
  #wrong: string | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(name: string, role: Orders['role'], stream: RenegotiationTLSSocket) {
    this.stream = stream.setNoDelay()
    this.#name = name
    this.#role = role
    // The times are short, so that the example sees test frames at its end.
    this.link = new Link(stream, { role, onTelegram: (asdu) => this.#check(asdu), t2: 500, t3: 1500 })
  }

  /** Makes telegrams from now on. */
  run(): void {
    const startedAt = performance.now()
    this.#timer = setInterval(() => {
      const due = Math.floor(((performance.now() - startedAt) * RATE[this.#role]) / 1000) - this.#made
      this.link.send(Array.from({ length: due }, () => telegram(this.#role, this.#made++)))
    }, 10)
    void this.link.closed.then(() => clearInterval(this.#timer))
  }

  async quiet(): Promise<void> {
    clearInterval(this.#timer)
    await this.link.drained()
  }

  async result(): Promise<LinkResult> {
    const error = await this.link.closed
    const { sent, received, tests } = this.link.counts
    const { renegotiations, byPeer, failed, hold } = this.stream.counters
    return {
      name: this.#name,
      sent,
      received,
      wrong: this.#wrong,
      tests,
      renegotiations,
      byPeer,
      failed,
      longestHoldMs: hold.maxMs,
      error: error?.code ?? error?.message,
    }
  }

  /** The numbers in the telegrams have 32 bits. Those of the link start again after 32,768. */
  #check(asdu: Buffer): void {
    const number = asdu.length >= 13 ? asdu.readUInt32LE(9) : -1
    if (number !== this.#seen) this.#wrong ??= `telegram ${number} instead of ${this.#seen}`
    this.#seen = number + 1
  }
}

/** A bit string of 32 bits (M_BO_NA_1), or the command for one (C_BO_NA_1), with a running number as its value. */
function telegram(role: Orders['role'], number: number): Buffer {
  const isCommand = role === 'controlling'
  const [type, cause] = isCommand ? [51, 6] : [7, 3]
  // Type, one object, cause, originator, common address of two octets, address of the object of three octets.
  const asdu = Buffer.from([type, 1, cause, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, ...(isCommand ? [] : [0])])
  asdu.writeUInt32LE(number, 9)
  return asdu
}

/** What all connections of this example have. Real ones would take hours for `renegotiateEveryMs`. */
function profile({ credentials: { key, cert }, ca }: Orders) {
  return iec62351({ renegotiateEveryMs: [7000, 14_000], allowShortIntervalsForTests: true, key, cert, ca })
}

async function beControlled(orders: Orders): Promise<Traffic[]> {
  const server = createServer(profile(orders))
  await server.updateCRL(orders.crl)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  tell({ type: 'listening', port: (server.address() as AddressInfo).port })
  const [stream] = (await once(server, 'secureConnection')) as [RenegotiationTLSSocket]
  server.close()
  return [new Traffic('', 'controlled', stream)]
}

async function beControlling(orders: Orders): Promise<Traffic[]> {
  const connecting = (orders.stations ?? []).map(async ({ name, port }) => {
    const stream = connect({ host: '127.0.0.1', port, ...profile(orders) })
    await once(stream, 'secureConnect')
    await stream.updateCRL(orders.crl)
    const traffic = new Traffic(name, 'controlling', stream)
    await traffic.link.start()
    return traffic
  })
  return await Promise.all(connecting)
}

function tell(message: FromStation, told?: () => void): void {
  process.send?.(message, undefined, undefined, told)
}

async function takeRevocationList(links: readonly Traffic[], crl: string): Promise<void> {
  const startedAt = performance.now()
  const reports = await Promise.all(links.map(({ stream }) => stream.updateCRL(crl)))
  const sum: CRLUpdateReport = { checked: 0, revoked: 0, failed: 0, notRenegotiated: 0 }
  for (const report of reports) {
    for (const name of Object.keys(sum) as (keyof CRLUpdateReport)[]) sum[name] += report[name]
  }
  tell({ type: 'revocation list taken', report: sum, ms: performance.now() - startedAt })
}

process.on('disconnect', () => process.exit())
process.once('message', async ({ orders }: Extract<ToStation, { type: 'begin' }>) => {
  const links = await (orders.role === 'controlled' ? beControlled(orders) : beControlling(orders))
  for (const traffic of links) traffic.run()
  process.on('message', async (message: ToStation) => {
    if (message.type === 'revocation list') await takeRevocationList(links, message.crl)
    if (message.type === 'quiet') {
      await Promise.all(links.map((traffic) => traffic.quiet()))
      tell({ type: 'quiet' })
    }
    if (message.type === 'end') {
      const open = links.filter(({ stream }) => !stream.destroyed)
      await Promise.all(open.map(({ link }) => link.stop()))
      for (const { stream } of open) stream.end()
    }
  })
  const results = await Promise.all(links.map((traffic) => traffic.result()))
  tell({ type: 'over', links: results }, () => process.disconnect())
})
