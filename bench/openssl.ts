/* A stream of renegotiation-duplex/openssl against the TLS of Node.js, both with TLS 1.3 and the same cipher. */
import { Comparison, compare, type Row } from './compare.ts'
import type { Result, Work } from './messages.ts'
import { Runner } from './processes.ts'
import { cpuPerByte, microseconds, percentile, perGiB, perSecond, SIZES, speed } from './units.ts'

const VERSION = 'TLSv1.3'

/** What is measured of streams by OpenSSL. */
export interface OpenSSLResult {
  readonly at: string
  readonly rounds: number
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

/** @param share of the bytes that are sent and received. */
export async function compareOpenSSL(port: number, rounds: number, share: number): Promise<OpenSSLResult> {
  const comparison = await Comparison.start(port, ['openssl', 'again'], VERSION)
  const rows: Row[] = []
  const cpu: Row[] = []
  for (const what of ['send', 'read'] as const) {
    for (const [name, chunk, bytes] of SIZES) {
      const results = await comparison.run({ what, bytes: bytes * share, chunk }, rounds)
      rows.push(compare(`${what}, ${name}`, results, speed, perSecond))
      cpu.push(compare(`CPU, ${what}, ${name}`, results, cpuPerByte, perGiB))
    }
  }
  const pings = await comparison.run({ what: 'ping', times: 3000 }, rounds)
  rows.push(compare('ping-pong, p50', pings, percentile(0.5), microseconds))
  rows.push(compare('ping-pong, p99', pings, percentile(0.99), microseconds))
  comparison.stop()
  const idle: Idle[] = []
  for (const connections of rounds === 1 ? [100] : [1000]) {
    const one = (contender: 'plain' | 'openssl') => idleMemory(contender, port, connections)
    idle.push({ connections, plain: await one('plain'), openssl: await one('openssl') })
  }
  return { at: new Date().toISOString(), rounds, rows, cpu, idle }
}

async function idleMemory(contender: 'plain' | 'openssl', port: number, connections: number): Promise<Memory> {
  const runner = await Runner.start(contender, port, VERSION)
  const work: Work = { what: 'idle', connections }
  const { heapBytes = 0, rssBytes = 0 }: Result = await runner.run(work)
  runner.stop()
  return { heapBytes: heapBytes / connections, rssBytes: rssBytes / connections }
}
