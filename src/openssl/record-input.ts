import type { RecordType } from '../transports/tls-engine.ts'

/** RFC 5246, section 6.2.1: a record begins with its type (1 byte), version (2) and length (2). They are not encrypted. */
const HEADER_BYTES = 5
/** RFC 5246, section 6.2.3. TLS 1.3 allows less, and OpenSSL checks that. */
const MAX_RECORD_BYTES = 16_384 + 2048
/** RFC 5246, section 6.2.1: the most data in a record. */
const MAX_DATA_BYTES = 16_384
/** The most data in a run of records. */
const MAX_RUN_BYTES = 131_072
/** The most records in a run. A peer that sends tiny messages between them makes the rest be measured again for each. */
const MAX_RUN_RECORDS = 512
const NOTHING = Buffer.alloc(0)

const DATA = 23
/** The length of what is not a record. */
const MALFORMED = -1

const types: Record<number, RecordType> = {
  20: 'handshake', // change cipher spec
  21: 'alert',
  22: 'handshake',
  [DATA]: 'data',
}

/**
 * Cuts the received bytes into TLS records, so that OpenSSL gets one at a time. Then it is known what each record did,
 * and a handshake does not begin unnoticed behind data.
 *
 * Bytes are copied only once, into OpenSSL's BIO: those of a record that is incomplete at once, a complete record when
 * {@link feed} is called. Those of a {@link run} are not copied.
 */
export class RecordInput {
  readonly #write: (bytes: Uint8Array) => void
  #chunk: Uint8Array = NOTHING
  /** {@link #chunk} is memory of its own. */
  #isCopy = false
  #offset = 0
  /** The header of the current record, as far as it was given to OpenSSL. */
  readonly #header = Buffer.alloc(HEADER_BYTES)
  /** How much of the current record was given to OpenSSL. */
  #given = 0
  /** The type of the record that is complete. */
  #type: RecordType | undefined
  /** How much of {@link #chunk} belongs to the record that is complete. */
  #rest = 0
  /** Where the records of data in {@link #chunk} end that follow each other from here on. 0: not known yet. */
  #runEnd = 0
  #runBytes = 0
  /** The beginning of an incomplete record follows. */
  #runHasTail = false
  /** How long each record of the run is, with its header. */
  readonly #runSizes: number[] = []
  /** OpenSSL is reading {@link run}. What a listener adds meanwhile, inside a callback of OpenSSL, comes later. */
  #isRunOut = false
  readonly #late: Buffer[] = []
  #malformed = false

  /** @param write gives bytes to OpenSSL. */
  constructor(write: (bytes: Uint8Array) => void) {
    this.#write = write
  }

  /** The type of the record that {@link feed} gives to OpenSSL. Undefined if no complete one has arrived. */
  get type(): RecordType | undefined {
    return this.#type
  }

  /** How many bytes wait here. OpenSSL has the beginning of an incomplete record already; it does not count. */
  get waitingBytes(): number {
    return this.#chunk.length - this.#offset
  }

  /**
   * What came in is not TLS. OpenSSL gets all that there is, without regard to records, so that it can say what is
   * wrong.
   */
  get malformed(): boolean {
    return this.#malformed
  }

  /** The most data in the records for {@link run}. 0 if there are not at least two records of data. */
  get runBytes(): number {
    if (this.#type !== 'data' || this.#rest === this.waitingBytes) return 0
    if (this.#runEnd === 0) this.#measureRun()
    return this.#runSizes.length > 1 ? this.#runBytes : 0
  }

  /** Of how many records the data is that was read, if {@link run} was except for the last `unreadBytes`. */
  recordsOfRun(withTail: boolean, unreadBytes: number): number {
    let left = unreadBytes - (this.#runLimit(withTail) - this.#runEnd)
    let records = this.#runSizes.length
    while (left > 0 && records > 0) left -= this.#runSizes[--records] as number
    return records
  }

  /** Adds received bytes. They must not change before {@link keep}. */
  push(bytes: Uint8Array): void {
    if (this.#isRunOut) {
      this.#late.push(Buffer.from(bytes))
      return
    }
    this.#runEnd = 0
    this.#isCopy = this.waitingBytes > 0
    this.#chunk = this.#isCopy ? Buffer.concat([this.#chunk.subarray(this.#offset), bytes]) : bytes
    this.#offset = 0
    if (this.#type === undefined) this.#scan()
  }

  /** Copies what waits, because its memory is about to change. */
  keep(): void {
    if (this.#isCopy || this.#isRunOut) return
    this.#runEnd = 0
    this.#isCopy = true
    this.#chunk = Buffer.from(this.#chunk.subarray(this.#offset))
    this.#offset = 0
  }

  /** Gives OpenSSL the record that is complete. The next read processes it. */
  feed(): void {
    if (this.#type === undefined) return
    this.#give(this.#rest)
    this.#given = 0
    this.#scan()
  }

  /**
   * The records of {@link runBytes}, which must not be 0.
   *
   * @param withTail with what there is of an incomplete record after them.
   */
  run(withTail: boolean): Uint8Array {
    this.#isRunOut = true
    return this.#chunk.subarray(this.#offset, this.#runLimit(withTail))
  }

  /** OpenSSL has got {@link run}, except for the last `unreadBytes`. */
  runRead(withTail: boolean, unreadBytes: number): void {
    this.#isRunOut = false
    // It was forgotten meanwhile.
    if (this.#type === undefined) return
    const isAll = unreadBytes === 0
    this.#advance((isAll ? this.#runEnd : this.#runLimit(withTail) - unreadBytes) - this.#offset)
    this.#given = 0
    this.#scan(isAll && withTail)
    for (const bytes of this.#late.splice(0)) this.push(bytes)
  }

  /** Forgets what waits. */
  discard(): void {
    this.#isRunOut = false
    this.#late.length = 0
    this.#chunk = NOTHING
    this.#offset = 0
    this.#type = undefined
  }

  #runLimit(withTail: boolean): number {
    return withTail && this.#runHasTail ? this.#chunk.length : this.#runEnd
  }

  #measureRun(): void {
    const chunk = this.#chunk
    const sizes = this.#runSizes
    let end = this.#offset + this.#rest
    let length = contentLength(this.#header, 0)
    let isData = true
    let isComplete = true
    this.#runBytes = 0
    sizes.length = 0
    let bytes = Math.min(length, MAX_DATA_BYTES)
    while (isComplete && isData && this.#runBytes + bytes <= MAX_RUN_BYTES && sizes.length < MAX_RUN_RECORDS) {
      this.#runBytes += bytes
      if (sizes.push(HEADER_BYTES + length) > 1) end += HEADER_BYTES + length
      const left = chunk.length - end - HEADER_BYTES
      length = left >= 0 ? contentLength(chunk, end) : 0
      isData = left >= 0 && length !== MALFORMED && chunk[end] === DATA
      isComplete = length <= left
      bytes = Math.min(length, MAX_DATA_BYTES)
    }
    this.#runEnd = end
    this.#runHasTail = !isComplete
  }

  /** Looks at the next record. Gives OpenSSL what is there, if it is not complete. `isGiven`: it has that already. */
  #scan(isGiven = false): void {
    this.#type = undefined
    this.#runEnd = 0
    const available = this.waitingBytes
    if (available === 0) return
    const headerBytes = Math.max(0, Math.min(HEADER_BYTES - this.#given, available))
    for (let i = 0; i < headerBytes; i++) this.#header[this.#given + i] = this.#chunk[this.#offset + i] as number
    if (this.#given + headerBytes < HEADER_BYTES) {
      this.#pass(available, isGiven)
      return
    }

    const length = contentLength(this.#header, 0)
    this.#malformed ||= length === MALFORMED
    this.#rest = this.#malformed ? available : HEADER_BYTES + length - this.#given
    if (this.#rest > available) this.#pass(available, isGiven)
    else this.#type = this.#malformed ? 'alert' : types[this.#header[0] as number]
  }

  #pass(count: number, isGiven: boolean): void {
    if (isGiven) this.#advance(count)
    else this.#give(count)
  }

  #give(count: number): void {
    const end = this.#offset + count
    this.#write(
      this.#offset === 0 && end === this.#chunk.length ? this.#chunk : this.#chunk.subarray(this.#offset, end),
    )
    this.#advance(count)
  }

  #advance(count: number): void {
    const end = this.#offset + count
    this.#given += count
    this.#offset = end
    // Do not keep its memory.
    if (end === this.#chunk.length) {
      this.#chunk = NOTHING
      this.#offset = 0
    }
  }
}

/** How long the content of a record is, by its header. */
function contentLength(bytes: Uint8Array, at: number): number {
  const length = ((bytes[at + 3] as number) << 8) | (bytes[at + 4] as number)
  return (bytes[at] as number) in types && bytes[at + 1] === 3 && length <= MAX_RECORD_BYTES ? length : MALFORMED
}
