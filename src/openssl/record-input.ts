import type { RecordType } from '../transports/tls-engine.ts'

/** RFC 5246, section 6.2.1: a record begins with its type (1 byte), version (2) and length (2). They are not encrypted. */
const HEADER_BYTES = 5
/** RFC 5246, section 6.2.3. TLS 1.3 allows less, and OpenSSL checks that. */
const MAX_RECORD_BYTES = 16_384 + 2048
const NOTHING = Buffer.alloc(0)

const types: Record<number, RecordType> = {
  20: 'handshake', // change cipher spec
  21: 'alert',
  22: 'handshake',
  23: 'data',
}

/**
 * Cuts the received bytes into TLS records, so that OpenSSL gets one at a time. Then it is known what each record did,
 * and a handshake does not begin unnoticed behind data.
 *
 * Bytes are copied only once, into OpenSSL's BIO: those of a record that is incomplete at once, a complete record when
 * {@link feed} is called.
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

  /** Adds received bytes. They must not change before {@link keep}. */
  push(bytes: Uint8Array): void {
    this.#isCopy = this.waitingBytes > 0
    this.#chunk = this.#isCopy ? Buffer.concat([this.#chunk.subarray(this.#offset), bytes]) : bytes
    this.#offset = 0
    if (this.#type === undefined) this.#scan()
  }

  /** Copies what waits, because its memory is about to change. */
  keep(): void {
    if (this.#isCopy) return
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

  /** Forgets what waits. */
  discard(): void {
    this.#chunk = NOTHING
    this.#offset = 0
    this.#type = undefined
  }

  /** Looks at the next record. Gives OpenSSL what is there, if it is not complete. */
  #scan(): void {
    this.#type = undefined
    const available = this.waitingBytes
    if (available === 0) return
    const headerBytes = Math.max(0, Math.min(HEADER_BYTES - this.#given, available))
    for (let i = 0; i < headerBytes; i++) this.#header[this.#given + i] = this.#chunk[this.#offset + i] as number
    if (this.#given + headerBytes < HEADER_BYTES) {
      this.#give(available)
      return
    }

    const [type = 0, major] = this.#header
    const length = this.#header.readUInt16BE(3)
    this.#malformed ||= !(type in types) || major !== 3 || length > MAX_RECORD_BYTES
    this.#rest = this.#malformed ? available : HEADER_BYTES + length - this.#given
    if (this.#rest > available) this.#give(available)
    else this.#type = this.#malformed ? 'alert' : types[type]
  }

  #give(count: number): void {
    const end = this.#offset + count
    this.#write(
      this.#offset === 0 && end === this.#chunk.length ? this.#chunk : this.#chunk.subarray(this.#offset, end),
    )
    this.#given += count
    this.#offset = end
    // Do not keep its memory.
    if (end === this.#chunk.length) {
      this.#chunk = NOTHING
      this.#offset = 0
    }
  }
}
