/*
 * The frames of IEC 60870-5-104: an APCI of six octets, and in an I-frame an ASDU after it.
 *
 *   start 68h | length of the rest, 4 to 253 | control fields 1 to 4 | ASDU
 */

/** How many sequence numbers there are: they have 15 bits. */
export const MODULUS = 2 ** 15

const START = 0x68
const HEADER = 6
const LONGEST = 253

/** The functions of U-frames, and their first control field. */
const FUNCTIONS = {
  'STARTDT act': 0x07,
  'STARTDT con': 0x0b,
  'STOPDT act': 0x13,
  'STOPDT con': 0x23,
  'TESTFR act': 0x43,
  'TESTFR con': 0x83,
} as const

export type UFunction = keyof typeof FUNCTIONS

export type Frame =
  /** A numbered telegram. `received` acknowledges all telegrams before that number. */
  | { format: 'I'; sent: number; received: number; asdu: Buffer }
  /** An acknowledgement alone. */
  | { format: 'S'; received: number }
  | { format: 'U'; function: UFunction }

const EMPTY = Buffer.alloc(0)

/** The octets of a frame. */
export function encode(frame: Frame): Buffer {
  const asdu = frame.format === 'I' ? frame.asdu : EMPTY
  if (asdu.length > LONGEST - 4) throw new RangeError(`An ASDU has at most ${LONGEST - 4} octets, got ${asdu.length}`)
  const octets = Buffer.alloc(HEADER + asdu.length)
  octets[0] = START
  octets[1] = 4 + asdu.length
  if (frame.format === 'U') octets[2] = FUNCTIONS[frame.function]
  else {
    octets.writeUInt16LE(frame.format === 'I' ? frame.sent << 1 : 1, 2)
    octets.writeUInt16LE(frame.received << 1, 4)
    asdu.copy(octets, HEADER)
  }
  return octets
}

/** Finds the frames in a stream of octets. It keeps less than one frame, whatever the peer sends. */
export class FrameReader {
  #rest: Buffer = EMPTY;

  /** The frames that are complete with this chunk. Throws if it is no frame: the connection cannot go on then. */
  *read(chunk: Buffer): Generator<Frame> {
    const octets = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let at = 0
    // The length is checked as soon as it is there, so that a peer cannot announce more than a frame may have.
    while (octets.length - at >= 2) {
      const length = lengthOf(octets, at)
      if (octets.length - at < 2 + length) break
      yield decode(octets.subarray(at, at + 2 + length))
      at += 2 + length
    }
    if (octets.length - at === 1) mustStart(octets[at])
    this.#rest = Buffer.from(octets.subarray(at))
  }
}

function lengthOf(octets: Buffer, at: number): number {
  mustStart(octets[at])
  const length = octets[at + 1] as number
  if (length < 4 || length > LONGEST) throw new Error(`A frame has a length of 4 to ${LONGEST}, got ${length}`)
  return length
}

function mustStart(octet: number | undefined): void {
  if (octet !== START) throw new Error(`A frame begins with 0x68, got 0x${octet?.toString(16)}`)
}

function decode(octets: Buffer): Frame {
  const [first, second] = [octets.readUInt16LE(2), octets.readUInt16LE(4)]
  const asdu = octets.subarray(HEADER)
  const isNumbered = (first & 1) === 0
  if (isNumbered && (second & 1) === 0 && asdu.length > 0) {
    return { format: 'I', sent: first >> 1, received: second >> 1, asdu: Buffer.from(asdu) }
  }
  if (first === 1 && (second & 1) === 0 && asdu.length === 0) return { format: 'S', received: second >> 1 }
  const named = Object.entries(FUNCTIONS).find(([, octet]) => octet === first)
  if (named !== undefined && second === 0 && asdu.length === 0) {
    return { format: 'U', function: named[0] as UFunction }
  }
  throw new Error(`There is no frame with the control fields ${octets.subarray(2, HEADER).toString('hex')}`)
}
