import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { RenegotiationDuplex } from '../../src/index.ts'
import { type BreakKind, breakKinds } from '../fixtures/breaking-relay.ts'
import { openssl, type Version } from '../fixtures/engine-end.ts'
import { countingOpenSSL } from '../fixtures/openssl-count.ts'
import { openSSLTransports } from '../fixtures/openssl-transports.ts'
import { Pattern } from '../fixtures/pattern.ts'

/*
 * A connection over OpenSSL breaks at any byte while a renegotiation, a key update or a certificate request is under way.
 *
 * Every OPENSSL_BREAK_STEP-th byte is tried, beginning at another one in each run. BREAK_OFFSET repeats a run, and BREAK_ALL=1
 * tries every byte.
 */
const ALL = process.env['BREAK_ALL'] === '1'
const STEP = ALL ? 1 : Number(process.env['OPENSSL_BREAK_STEP'] ?? 223)
const OFFSET = Number(process.env['BREAK_OFFSET'] ?? (ALL ? 0 : randomInt(10_000)))

t.setTimeout(120_000 + (ALL ? 3_600_000 : 0))
t.comment(`BREAK_OFFSET=${OFFSET} OPENSSL_BREAK_STEP=${STEP}`)

interface Scenario {
  version: Version
  /** Which end begins: 0 is the client. */
  begins: 0 | 1
  requestCert?: true
}

const scenarios: Scenario[] = [
  { version: 'TLSv1.2', begins: 0 },
  { version: 'TLSv1.2', begins: 1 },
  { version: 'TLSv1.2', begins: 1, requestCert: true },
  { version: 'TLSv1.3', begins: 0 },
  { version: 'TLSv1.3', begins: 1 },
  { version: 'TLSv1.3', begins: 1, requestCert: true },
]

/** Where the connection breaks: in which direction (0: to the server), and at which byte after the first handshake. */
interface Break {
  kind: BreakKind
  direction: 0 | 1
  offset: number
}

const counted = countingOpenSSL(openssl)
const patterns = [new Pattern(1), new Pattern(2)] as const
const WRITE_BYTES = 300
/** So many turns of the event loop without anything new are a stall. */
const QUIET_TURNS = 60

const listening = net.createServer({ allowHalfOpen: true, noDelay: true }).listen(0, '127.0.0.1')
await once(listening, 'listening')
t.teardown(() => listening.close())

async function tcp(): Promise<[Socket, Socket]> {
  const accepted = once(listening, 'connection') as Promise<[Socket]>
  const { port } = listening.address() as AddressInfo
  const near = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
  return [near, (await accepted)[0]]
}

/** Carries bytes between two sockets, and breaks when it is told to. */
class Relay {
  /** How many bytes were carried in each direction since {@link breakAt}. */
  readonly carried = [0, 0]
  #break: Break | undefined
  #isArmed = false
  #isDead = false
  readonly #sockets: readonly [Socket, Socket]

  constructor(...sockets: [Socket, Socket]) {
    this.#sockets = sockets
    for (const direction of [0, 1] as const) {
      const from = sockets[direction]
      const to = sockets[1 - direction] as Socket
      from.on('data', (chunk: Buffer) => this.#carry(direction, chunk))
      from.on('end', () => this.#isDead || to.end())
      from.on('error', () => this.#isDead || to.resetAndDestroy())
    }
  }

  breakAt(planned: Break | undefined): void {
    this.#isArmed = true
    this.#break = planned
  }

  destroy(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  #carry(direction: 0 | 1, chunk: Buffer): void {
    if (this.#isDead) return
    const to = this.#sockets[1 - direction] as Socket
    const before = this.carried[direction] as number
    if (this.#isArmed) this.carried[direction] = before + chunk.length
    const planned = this.#break
    if (planned === undefined || planned.direction !== direction || planned.offset >= before + chunk.length) {
      if (to.writable) to.write(chunk)
      return
    }
    const at = planned.offset - before
    this.#break = undefined
    if (planned.kind === 'flip') {
      const flipped = Buffer.from(chunk)
      flipped[at] = (flipped[at] as number) ^ (1 << (planned.offset % 8))
      to.write(flipped)
      return
    }
    this.#isDead = true
    to.write(chunk.subarray(0, at))
    if (planned.kind === 'end' || planned.kind === 'close') to.end()
    if (planned.kind === 'close') this.#sockets[direction].end()
    if (planned.kind === 'reset') for (const socket of this.#sockets) socket.resetAndDestroy()
  }
}

/** Runs one connection. Returns what was wrong, and how many bytes it carried. */
async function run({ version, begins, requestCert }: Scenario, planned: Break | undefined) {
  const wrong: string[] = []
  const [client, toServer] = await tcp()
  const [server, toClient] = await tcp()
  const relay = new Relay(toServer, toClient)
  const transports = openSSLTransports(version, client, server, counted.library)
  const received = [0, 0]
  const called: number[] = []
  let open = 2
  let events = 0
  const streams = transports.map((transport, side) => {
    const options = { peerLimit: false, handshakeTimeout: 0, drainTimeout: 0 } as const
    const stream = new RenegotiationDuplex(transport, options)
    stream.on('error', () => {})
    stream.on('close', () => open--)
    stream.on('data', (chunk: Buffer) => {
      events++
      const expected = patterns[1 - side] as Pattern
      if (!expected.matches(chunk, received[side] as number)) wrong.push(`${side}: wrong bytes`)
      received[side] = (received[side] as number) + chunk.length
    })
    return stream
  }) as [RenegotiationDuplex, RenegotiationDuplex]
  const written = [0, 0]
  const write = () => {
    for (const side of [0, 1] as const) {
      const index = called.push(0) - 1
      const chunk = patterns[side].slice(written[side] as number, WRITE_BYTES)
      written[side] = (written[side] as number) + chunk.length
      streams[side].write(chunk, () => {
        events++
        called[index] = (called[index] as number) + 1
      })
    }
  }
  const quiet = async (isOver: () => boolean) => {
    for (let turns = 0, before = ''; turns < QUIET_TURNS && !isOver(); turns++) {
      await turn()
      const now = `${events} ${relay.carried} ${open} ${streams.map(({ state }) => state)}`
      if (now !== before) turns = 0
      before = now
    }
  }
  write()
  await quiet(() => received.every((bytes) => bytes === WRITE_BYTES))
  relay.breakAt(planned)
  let settled = 0
  let isFulfilled = false
  write()
  const renegotiated = streams[begins].renegotiate(requestCert ? { requestCert } : {})
  renegotiated
    .then(
      () => {
        isFulfilled = true
      },
      () => {},
    )
    .finally(() => settled++)
  write()
  const hasAll = () => written.every((bytes, side) => received[1 - side] === bytes)
  // On a busy machine, the bytes can be on their way for longer than a stall. One that breaks may end in a stall.
  const isUnderWay = () => open === 2 && (settled === 0 || (isFulfilled && !hasAll()))
  while (planned === undefined && isUnderWay()) await turn()
  await quiet(() => false)
  if (planned === undefined && !isFulfilled) wrong.push('the renegotiation has failed')
  if (planned === undefined && !hasAll()) wrong.push('data is missing')
  // An end that nobody has told waits for ever, like any TCP connection.
  for (const stream of streams) stream.destroy()
  await quiet(() => open === 0)
  relay.destroy()
  const left = [client, server].filter(({ destroyed }) => !destroyed)
  if (left.length > 0) t.comment(`${left.length} sockets were left to their timer`)
  for (const socket of left) socket.destroy()
  await quiet(() => open === 0)
  await turn()
  if (open > 0) wrong.push(`${open} streams did not close`)
  if (settled !== 1) wrong.push(`renegotiate() settled ${settled} times`)
  if (called.some((times) => times !== 1)) wrong.push(`write callbacks were called ${called} times`)
  for (const [side, bytes] of written.entries()) {
    const arrived = received[1 - side] as number
    const unsent = Buffer.concat(streams[side]?.unsent() ?? []).length
    if (arrived > bytes - unsent)
      wrong.push(`${side}: ${arrived} bytes arrived of ${bytes}, of which ${unsent} were not sent`)
  }
  if (counted.objects > 0) wrong.push(`${counted.objects} SSL objects are left`)
  return { wrong, carried: relay.carried }
}

for (const scenario of scenarios) {
  const { version, begins, requestCert } = scenario
  const name = `${version}, the ${begins === 0 ? 'client' : 'server'} begins${requestCert ? ', with a certificate' : ''}`
  t.test(`wherever a connection breaks, everything is told once and freed: ${name}`, async (t) => {
    const whole = await run(scenario, undefined)
    t.strictSame(whole.wrong, [])
    let broken = 0
    for (const direction of [0, 1] as const) {
      for (let offset = OFFSET % STEP; offset < (whole.carried[direction] as number); offset += STEP) {
        for (const kind of breakKinds) {
          const planned = { kind, direction, offset }
          const { wrong } = await run(scenario, planned)
          if (wrong.length > 0) t.fail(`BREAK_OFFSET=${OFFSET} ${JSON.stringify(planned)}`, { wrong })
          broken++
        }
      }
    }
    t.ok(broken > 0, `${broken} connections broke, of ${whole.carried} bytes`)
  })
}
