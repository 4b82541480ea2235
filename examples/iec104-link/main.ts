/*
 * npm run example -- iec104-link [seconds]
 *
 * A controlling station and three controlled stations, each a process of its own, with IEC 60870-5-104 over mutual TLS
 * 1.2 as IEC 62351-3 profiles it. Each controlled station sends a thousand telegrams a second, and gets a hundred
 * commands. Both ends of each link renegotiate every 7 to 14 seconds. After half of the time, the controlling station
 * gets a new revocation list. It ends the link to one station; the others lose nothing.
 *
 * station.ts uses the package; link.ts and apci.ts are the protocol; authority.ts makes the certificates and the lists.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { Authority } from './authority.ts'
import type { FromStation, LinkResult, Orders, ToStation } from './messages.ts'

const seconds = Number(process.argv[2] ?? 20)
if (!(seconds >= 15)) throw new RangeError(`The time must be at least 15 seconds, got ${process.argv[2]}`)
/** So long the stations are silent at the end, so that they test the connections. */
const IDLE = 4000

class Station {
  readonly #child: ChildProcess
  /** What it said that nobody has asked for yet. */
  readonly #said: FromStation[] = []
  #heard = () => {}

  constructor() {
    this.#child = fork(import.meta.filename.replace(/main(?=\.\w+$)/, 'station'))
    this.#child.on('message', (message: FromStation) => {
      this.#said.push(message)
      this.#heard()
    })
    this.#child.on('exit', (code) => {
      if (code === 0) return
      console.error(`A station has ended with exit code ${code}`)
      process.exit(1)
    })
  }

  tell(message: ToStation): void {
    if (this.#child.connected) this.#child.send(message)
  }

  /** Waits for a message of this type. */
  async hear<Type extends FromStation['type']>(type: Type): Promise<Extract<FromStation, { type: Type }>> {
    for (;;) {
      const index = this.#said.findIndex((message) => message.type === type)
      if (index >= 0) return this.#said.splice(index, 1)[0] as Extract<FromStation, { type: Type }>
      await new Promise<void>((resolve) => {
        this.#heard = resolve
      })
    }
  }
}

setTimeout(
  () => {
    console.error('The stations have not come to an end')
    process.exit(1)
  },
  (seconds + 60) * 1000,
).unref()

const authority = new Authority('renegotiation-duplex example')
const crl = authority.revoke([])
const begin = (role: Orders['role'], name: string, stations?: Orders['stations']) => {
  const station = new Station()
  const { key, cert, ...issued } = authority.issue(name)
  const orders: Orders = { role, credentials: { key, cert }, ca: authority.cert, crl, ...(stations && { stations }) }
  station.tell({ type: 'begin', orders })
  return { name, station, issued: { key, cert, ...issued } }
}

const controlled = ['station 1', 'station 2', 'station 3'].map((name) => begin('controlled', name))
const ports = await Promise.all(controlled.map(({ station }) => station.hear('listening')))
const stations = controlled.map(({ name }, index) => ({ name, port: (ports[index] as { port: number }).port }))
const { station: controlling } = begin('controlling', 'controlling station', stations)
const all = [controlling, ...controlled.map(({ station }) => station)]
console.log(`Three links with 1,000 telegrams and 100 commands a second each, for ${seconds} s.`)

const revoked = controlled[1] as (typeof controlled)[number]
await sleep(seconds * 500)
controlling.tell({ type: 'revocation list', crl: authority.revoke([revoked.issued]) })
const { report, ms } = await controlling.hear('revocation list taken')
console.log(`After ${seconds / 2} s, a new list revokes ${revoked.name}. It took effect in ${ms.toFixed(1)} ms:`)
console.log(report)

await sleep(seconds * 500)
for (const station of all) station.tell({ type: 'quiet' })
const surviving = [controlling, ...controlled.filter((each) => each !== revoked).map(({ station }) => station)]
await Promise.all(surviving.map((station) => station.hear('quiet')))
await sleep(IDLE)
controlling.tell({ type: 'end' })
const [atControlling, ...atControlled] = await Promise.all(
  all.map(async (station) => (await station.hear('over')).links),
)

const problems: string[] = []
if (report.checked !== 3 || report.revoked !== 1 || report.failed + report.notRenegotiated > 0) {
  problems.push('the revocation list has not revoked one of three')
}
const rows = (atControlling as readonly LinkResult[]).map((here, index) => {
  const there = atControlled[index]?.[0] as LinkResult
  problems.push(...problemsOf(here, there, here.name === revoked.name))
  return {
    link: here.name,
    'telegrams sent, received': `${there.sent}, ${here.received}`,
    'commands sent, received': `${here.sent}, ${there.received}`,
    'renegotiations (begun here, there)': `${here.renegotiations} (${here.renegotiations - here.byPeer}, ${here.byPeer})`,
    'longest hold, ms': Math.max(here.longestHoldMs, there.longestHoldMs).toFixed(1),
    'tests answered': here.tests + there.tests,
    'ended by': here.error ?? 'STOPDT',
  }
})
console.table(Object.fromEntries(rows.map(({ link, ...row }) => [link, row])))
for (const problem of problems) console.log(`✗ ${problem}`)
if (problems.length === 0)
  console.log('No telegram was lost, doubled or out of order, and only the revoked station is gone.')
process.exitCode = problems.length === 0 ? 0 : 1

function problemsOf(here: LinkResult, there: LinkResult, isRevoked: boolean): string[] {
  const found: [isWrong: boolean, what: string][] = [
    [here.wrong !== undefined, `the controlling station has received ${here.wrong}`],
    [there.wrong !== undefined, `it has received ${there.wrong}`],
    [here.renegotiations === 0, 'there was no renegotiation'],
    [here.received === 0 || there.received === 0, 'no data arrived'],
  ]
  if (isRevoked) {
    // What was on its way when the link ended is lost. What arrived before is without a gap.
    found.push(
      [here.error !== 'ERR_RENEGOTIATION_REVOKED', `the revoked station was ended by ${here.error}`],
      [here.received > there.sent || there.received > here.sent, 'more was received than was sent'],
    )
  } else {
    found.push(
      [here.error !== undefined || there.error !== undefined, `the link was ended by ${here.error ?? there.error}`],
      [here.received !== there.sent, `${there.sent} telegrams were sent, and ${here.received} received`],
      [there.received !== here.sent, `${here.sent} commands were sent, and ${there.received} received`],
      [here.tests + there.tests === 0, 'the idle link was not tested'],
    )
  }
  return found.filter(([isWrong]) => isWrong).map(([, what]) => `${here.name}: ${what}`)
}
