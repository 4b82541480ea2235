/*
 * npm run bench -- --scale [--quick]
 *
 * How a process fares whose connections are all due within the same second:
 * with rekey.concurrency 8, its default, and without a limit. Prints a table,
 * and writes bench/scale.json and docs/scale.svg. --quick, which shows no more
 * than that it runs, writes both to build/.
 */
import { writeFileSync } from 'node:fs'
import { answer, start } from './processes.ts'
import { scaleChart } from './scale-chart.ts'
import type { Load, Measured, Plan, Scaled, ToClient, ToServer } from './scale-messages.ts'
import { KiB } from './units.ts'

const COUNTS: Readonly<Record<Load, readonly number[]>> = { 1000: [100, 1000, 10_000], full: [1000] }
const LOADS: readonly Load[] = [1000, 'full']

export async function measureScale(machine: string, quick: boolean): Promise<void> {
  const results: Scaled[] = []
  for (const load of LOADS) {
    for (const connections of quick ? [100] : COUNTS[load]) {
      for (const concurrency of [8, Infinity]) {
        // Long enough that none is due again before all are renewed.
        const everyMs = quick ? 4000 : 7000 + 6 * connections
        const plan = { connections, concurrency, load, everyMs }
        try {
          results.push({ ...plan, ...(await run(plan)), concurrency: concurrency === 8 ? 8 : 'none' })
        } catch (error) {
          console.log(`${connections} connections: ${(error as Error).message}`)
        }
      }
    }
  }
  const { node, openssl } = process.versions
  const all = { at: new Date().toISOString(), node, openssl, machine, results }
  writeFileSync(quick ? 'build/scale.json' : 'bench/scale.json', `${JSON.stringify(all, null, 2)}\n`)
  writeFileSync(quick ? 'build/scale.svg' : 'docs/scale.svg', scaleChart(all))
  console.log(scaleTable(results))
}

/** In processes of their own, so that no run leaves memory or load to the next one. */
async function run(plan: Plan): Promise<Measured> {
  const [server, client] = [start('scale-server'), start('scale-client')]
  const toServer = (message: ToServer) => server.send(message)
  const toClient = (message: ToClient) => client.send(message)
  try {
    await Promise.all([answer(server, 'the server'), answer(client, 'the client')])
    // JSON would make null of Infinity. A million is as good.
    toServer({ accept: { ...plan, concurrency: Math.min(plan.concurrency, 1_000_000) } })
    const port = await answer<number>(server, 'the server')
    const guarded = answer<string>(server, 'the server')
    const connected = answer<'connected' | { error: string }>(client, 'the client')
    toClient({ connect: plan, port })
    const first = await connected
    if (first !== 'connected') throw new Error(first.error)
    await guarded
    const going = answer(client, 'the client')
    toClient({ go: true })
    await going
    const measured = answer<Measured>(server, 'the server')
    toServer({ go: true })
    return await measured
  } finally {
    for (const child of [server, client]) if (child.connected) child.disconnect()
  }
}

function scaleTable(results: readonly Scaled[]): string {
  const head = [
    'connections',
    '`concurrency`',
    'all renewed after',
    'lost',
    'loop delay before, p99',
    'during: p50, p99, max',
    'throughput',
    'memory of each, idle',
    'during',
  ]
  const rows = (load: Load) =>
    results
      .filter((result) => result.load === load)
      .map((r) => [
        r.connections.toLocaleString('en'),
        `${r.concurrency}`,
        `${(r.renewalMs / 1000).toFixed(1)} s`,
        `${r.lost}`,
        `${r.before.p99.toFixed(0)} ms`,
        `${r.during.p50.toFixed(0)}, ${r.during.p99.toFixed(0)}, ${r.during.max.toFixed(0)} ms`,
        (r.messagesDuring / r.messagesBefore).toFixed(2),
        `${Math.round(r.idleBytes / KiB)} KiB`,
        `+ ${Math.round((r.renewalBytes - r.idleBytes) / KiB)} KiB`,
      ])
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  const table = (load: Load) => [line(head), line(head.map(() => '--:')), ...rows(load).map(line)].join('\n')
  return `1,000 messages a second:\n\n${table(1000)}\n\nAt full speed:\n\n${table('full')}\n`
}
