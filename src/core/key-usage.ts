/** The most application data in a TLS record, in bytes (RFC 5246, 6.2.1). */
export const RECORD_BYTES = 16 * 1024

/** How much the keys of now have been used, both ways together. */
export class KeyUsage {
  /** Bytes of application data. */
  bytes = 0
  /**
   * Records, as far as they can be known from here: of what is sent, each
   * write's full pieces of {@link RECORD_BYTES} and the rest; of what is
   * received, each `data`. With Node's TLS that is what OpenSSL makes of it,
   * unless setMaxSendFragment() made records smaller.
   */
  records = 0
  #since = performance.now()

  /** Milliseconds since they came into force, or since the stream was made. */
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

  /** The keys are new. */
  restart(): void {
    this.bytes = this.records = 0
    this.#since = performance.now()
  }
}
