/* What every contender has to do: send and read in all sizes, and ping-pong. */
import { compare, type Generation, type Row, type Task } from './compare.ts'
import { cpuPerByte, microseconds, percentile, perGiB, perSecond, SIZES, speed } from './units.ts'

export interface Throughput {
  readonly sending: readonly Row[]
  readonly reading: readonly Row[]
  readonly cpuSending: readonly Row[]
  readonly cpuReading: readonly Row[]
}

/** @param share of the bytes that a full benchmark sends and receives; at least one chunk of each size is. */
export function throughputTasks(share: number): Task[] {
  return (['send', 'read'] as const).flatMap((what) =>
    SIZES.map(([size, chunk, bytes]) => ({
      name: `${what}, ${size}`,
      work: { what, bytes: chunk * Math.max(1, Math.round((bytes * share) / chunk)), chunk },
    })),
  )
}

export function compareThroughput(measured: (name: string) => readonly Generation[]): Throughput {
  const speeds = (what: string) =>
    SIZES.map(([size]) => compare(`${what}, ${size}`, measured(`${what}, ${size}`), speed, perSecond))
  const cpu = (what: string) =>
    SIZES.map(([size]) => compare(`CPU, ${what}, ${size}`, measured(`${what}, ${size}`), cpuPerByte, perGiB))
  return { sending: speeds('send'), reading: speeds('read'), cpuSending: cpu('send'), cpuReading: cpu('read') }
}

export const PINGS: Task = { name: 'ping-pong', work: { what: 'ping', times: 3000 } }

export function comparePings(measured: (name: string) => readonly Generation[]): Row[] {
  return ([50, 99] as const).map((part) =>
    compare(`ping-pong, p${part}`, measured(PINGS.name), percentile(part / 100), microseconds),
  )
}
