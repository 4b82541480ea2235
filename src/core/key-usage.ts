import type { DirectionCounters, KeyCounters } from './report.ts'

/** The most application data in a TLS record, in bytes (RFC 5246, 6.2.1). */
export const RECORD_BYTES = 16 * 1024

/** How much the keys of one direction were used. */
class Usage {
  bytes = 0
  records = 0
  /** When they were new. */
  since = performance.now()

  count(bytes: number, records: number): void {
    this.bytes += bytes
    this.records += records
  }

  get ageMs(): number {
    return performance.now() - this.since
  }

  get counters(): DirectionCounters {
    const { bytes, records, ageMs } = this
    return { bytes, records, ageMs }
  }
}

/** Counts how much the current keys were used. A handshake replaces those of both directions, a key update those of one. */
export class KeyUsage {
  #sent = new Usage()
  #received = new Usage()

  /** Bytes of application data, in both directions together. */
  get bytes(): number {
    return this.#sent.bytes + this.#received.bytes
  }

  /**
   * TLS records, as far as they can be counted outside the TLS library. Each write counts as pieces of at most
   * {@link RECORD_BYTES}, each `data` event of the transport as one record, or as many as it says. OpenSSL in Node makes the same records, unless
   * setMaxSendFragment() makes them smaller.
   */
  get records(): number {
    return this.#sent.records + this.#received.records
  }

  /** The records of the direction with the more of them. */
  get mostRecords(): number {
    return Math.max(this.#sent.records, this.#received.records)
  }

  /** Milliseconds since the keys with which this end sends were new. */
  get sendingMs(): number {
    return this.#sent.ageMs
  }

  /** Milliseconds since the older of the keys were new, or, before the first handshake, since the stream was made. */
  get ageMs(): number {
    return Math.max(this.#sent.ageMs, this.#received.ageMs)
  }

  /** All of it for `stream.counters`. */
  get counters(): KeyCounters {
    const { bytes, records, ageMs } = this
    return { bytes, records, ageMs, sending: this.#sent.counters, receiving: this.#received.counters }
  }

  sent(bytes: number): void {
    this.#sent.count(bytes, Math.ceil(bytes / RECORD_BYTES))
  }

  received(bytes: number, records = 1): void {
    this.#received.count(bytes, records)
  }

  /** Starts the counts again for new keys. */
  restart(of: 'both' | 'sending' | 'receiving'): void {
    if (of !== 'receiving') this.#sent = new Usage()
    if (of !== 'sending') this.#received = new Usage()
  }
}
