/* A stream of renegotiation-duplex/openssl against the TLS of Node.js, both with TLS 1.3 and the same cipher. */
import { measure, type Plan, type Row } from './compare.ts'
import type { Result, Work } from './messages.ts'
import { Runner } from './processes.ts'
import { comparePings, compareThroughput, PINGS, throughputTasks } from './throughput.ts'
import { KiB } from './units.ts'

const VERSION = 'TLSv1.3'

/** What is measured of streams by OpenSSL. */
export interface OpenSSLResult extends Plan {
  readonly at: string
  readonly rows: readonly Row[]
  readonly cpu: readonly Row[]
  readonly idle: readonly Idle[]
}

interface Idle {
  readonly connections: number
  readonly plain: Memory
  readonly openssl: Memory
}

/** Of one connection. */
interface Memory {
  readonly heapBytes: number
  readonly rssBytes: number
}

/**
 * @param share of the bytes that are sent and received
 * @param connections that are idle
 * @param warmUpBytes that each process receives and sends first. V8 compiles the JavaScript of this package meanwhile,
 *   where Node has C++. The connections that this package is for live longer than that.
 */
export async function compareOpenSSL(
  port: number,
  plan: Plan,
  share: number,
  connections: number,
  warmUpBytes: number,
): Promise<OpenSSLResult> {
  const warmUp = (['read', 'send'] as const).map((what) => ({ what, bytes: warmUpBytes, chunk: 16 * KiB }))
  const measured = await measure(['openssl', 'again'], [...throughputTasks(share), PINGS], plan, VERSION, warmUp)
  const { sending, reading, cpuSending, cpuReading } = compareThroughput(measured)
  const one = (contender: 'plain' | 'openssl') => idleMemory(contender, port, connections)
  return {
    at: new Date().toISOString(),
    ...plan,
    rows: [...sending, ...reading, ...comparePings(measured)],
    cpu: [...cpuSending, ...cpuReading],
    idle: [{ connections, plain: await one('plain'), openssl: await one('openssl') }],
  }
}

async function idleMemory(contender: 'plain' | 'openssl', port: number, connections: number): Promise<Memory> {
  const runner = await Runner.start(contender, port, VERSION)
  const work: Work = { what: 'idle', connections }
  const { heapBytes = 0, rssBytes = 0 }: Result = await runner.run(work)
  runner.stop()
  return { heapBytes: heapBytes / connections, rssBytes: rssBytes / connections }
}
