/* Copies small buffers into one, in memory that is reused. */
import { SLICE_BYTES } from '../core/slice.ts'
import type { Transport, WriteCallback } from '../core/transport.ts'

/** How many are kept. Usually one is enough: a write is done before the next connection writes. */
const SPARE = 8

/** Memory that is reused: it stays in the processor's cache, and the garbage collector has no work. */
const spare: ArrayBuffer[] = []

/** Copies `buffers` into one buffer. Pass that to {@link reuse} when it is not needed any more. */
export function gather(buffers: readonly Uint8Array[]): Buffer {
  let bytes = 0
  for (const { length } of buffers) bytes += length
  const memory = bytes <= SLICE_BYTES ? (spare.pop() ?? new ArrayBuffer(SLICE_BYTES)) : new ArrayBuffer(bytes)
  const gathered = Buffer.from(memory, 0, bytes)
  let at = 0
  for (const buffer of buffers) {
    gathered.set(buffer, at)
    at += buffer.length
  }
  return gathered
}

/** Writes `buffers` as one to `transport`, and reuses the memory. */
export function writeGathered(
  transport: Pick<Transport, 'write'>,
  buffers: readonly Uint8Array[],
  done: WriteCallback,
): void {
  const gathered = gather(buffers)
  transport.write(gathered, (error, bytesTaken) => {
    reuse(gathered)
    done(error, bytesTaken)
  })
}

export function reuse(gathered: Buffer): void {
  const memory = gathered.buffer as ArrayBuffer
  if (spare.length < SPARE && memory.byteLength === SLICE_BYTES) spare.push(memory)
}
