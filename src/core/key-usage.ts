/** The most application data in a TLS record, in bytes (RFC 5246, 6.2.1). */
export const RECORD_BYTES = 16 * 1024

/** Counts how much the current keys were used, in both directions together. */
export class KeyUsage {
  /** Bytes of application data. */
  bytes = 0
  /**
   * TLS records, as far as they can be counted outside the TLS library. Each write counts as pieces of at most
   * {@link RECORD_BYTES}, each `data` event as one record. OpenSSL in Node makes the same records, unless
   * setMaxSendFragment() makes them smaller.
   */
  records = 0
  #since = performance.now()

  /** Milliseconds since the last handshake, or, before the first, since the stream was made. */
  get ageMs(): number {
    return performance.now() - this.#since
  }

  sent(bytes: number): void {
    this.bytes += bytes
    this.records += Math.ceil(bytes / RECORD_BYTES)
  }

  received(bytes: number): void {
    this.bytes += bytes
    this.records++
  }

  /** Starts all counts again for new keys. */
  restart(): void {
    this.bytes = this.records = 0
    this.#since = performance.now()
  }
}
