import type { RecordType } from '../transports/tls-engine.ts'
import type { Connection, RunResult } from './connection.ts'
import { RecordInput } from './record-input.ts'

/** BIO_f_buffer(3) reads directly into memory that is larger than this, its own buffer. */
const BUFFER_BYTES = 4096

/** Lets OpenSSL read the records that were received: one, or several records of data that follow each other. */
export class RecordReader {
  readonly input: RecordInput
  readonly #connection: Connection
  /** OpenSSL has more data of the record that was read, or has read the end. */
  #hasMore = false
  #recordsRead = 1

  constructor(connection: Connection) {
    this.#connection = connection
    this.input = new RecordInput((bytes) => connection.feed(bytes))
  }

  /** The type of the record that the next read reads. Undefined if there is no complete one. */
  get type(): RecordType | undefined {
    return this.#hasMore ? 'data' : this.input.type
  }

  /**
   * How much memory the next read needs to read several records; 0: it can read only one. One byte stays free, or
   * OpenSSL would stop at the last record, and not take what there is of the next one.
   */
  get runBytes(): number {
    return this.#hasMore || this.input.runBytes === 0 ? 0 : this.input.runBytes + 1
  }

  /** Of how many records the last read has returned the data. */
  get recordsRead(): number {
    return this.#recordsRead
  }

  /** Reads one record at most, or what is left of the last one. */
  readRecord(into: Uint8Array): number | 'want-read' {
    if (!this.#hasMore) this.input.feed()
    const result = this.#connection.read(into)
    this.#recordsRead = 1
    this.#hasMore = result === into.length && this.#connection.hasData
    if (result === 0) this.input.discard()
    return result
  }

  /**
   * Reads records of data, up to the first one that turns out to be another message of TLS 1.3. `into` must have
   * {@link runBytes} at least.
   *
   * In TLS 1.2, it does not begin an incomplete record: with half a record read, OpenSSL begins no renegotiation.
   */
  readRun(into: Uint8Array, isTLS13: boolean): number | 'want-read' {
    // What OpenSSL has not read yet comes first.
    if (into.length <= BUFFER_BYTES || !this.#connection.hasReadAll) return this.readRecord(into)
    const { input } = this
    const { result, unreadBytes, hasEnd } = this.#readRun(input.run(isTLS13), into)
    this.#recordsRead = input.recordsOfRun(isTLS13, unreadBytes)
    this.#hasMore = hasEnd
    if (result === 0) input.discard()
    else input.runRead(isTLS13, unreadBytes)
    return result
  }

  /** If the connection fails, what waits is of no use any more. */
  #readRun(run: Uint8Array, into: Uint8Array): RunResult {
    try {
      return this.#connection.readRun(run, into)
    } catch (error) {
      this.discard()
      throw error
    }
  }

  /** Forgets what waits. */
  discard(): void {
    this.input.discard()
    this.#hasMore = false
  }
}
