import { SLICE_BYTES } from '../core/slice.ts'

/** More are left to the garbage collector. Mostly one is enough: a write is done before the next connection's begins. */
const SPARE = 8

/** Memory to gather in, used over and over: warm in the processor's cache, and no work for the garbage collector. */
const spare: ArrayBuffer[] = []

/** The bytes of all of them, in one buffer, which is to be handed to {@link reuse} when nobody looks at it any more. */
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

export function reuse(gathered: Buffer): void {
  const memory = gathered.buffer as ArrayBuffer
  if (spare.length < SPARE && memory.byteLength === SLICE_BYTES) spare.push(memory)
}
