/* The numbers of a result, and how they are written. */
import type { Result } from './messages.ts'
import { quantile } from './stats.ts'

export const KiB = 1024
export const MiB = 1024 * KiB
export const GiB = 1024 * MiB

/** Sizes of chunks, and how many bytes are sent in such chunks. */
export const SIZES = [
  ['64 B', 64, 64 * MiB],
  ['1 KiB', KiB, 192 * MiB],
  ['16 KiB', 16 * KiB, 384 * MiB],
  ['64 KiB', 64 * KiB, 384 * MiB],
  ['1 MiB', MiB, 384 * MiB],
] as const

export const speed = ({ bytes, time }: Result) => bytes / time
export const cpuPerByte = ({ bytes, cpu }: Result) => cpu / bytes
export const percentile = (part: number) => (result: Result) => quantile(result.each ?? [], part)
export const perSecond = (bytesPerMs: number) => `${(bytesPerMs / 1000).toFixed(0)} MB/s`
export const perGiB = (cpuMsPerByte: number) => `${Math.round(cpuMsPerByte * GiB)} ms/GiB`
export const microseconds = (ms: number) => `${Math.round(ms * 1000)} µs`
