/* Memory for encrypted bytes, which all connections share. */

/** At most so many bytes are sent with one write: all that an engine lets wait, unless the peer makes it write more. */
export const SEND_BYTES = 131_072

/** How many are kept. Usually two are in use: a write is done before the next connection writes. */
const SPARE = 4

/** Memory that is reused: it stays in the processor's cache, and the garbage collector has no work. */
const spare: Buffer[] = []

export function borrowMemory(): Buffer {
  return spare.pop() ?? Buffer.allocUnsafeSlow(SEND_BYTES)
}

export function giveBack(memory: Buffer): void {
  if (spare.length < SPARE) spare.push(memory)
}
