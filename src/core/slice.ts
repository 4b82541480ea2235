/**
 * The largest write to a transport, in bytes: three TLS records.
 *
 * Encrypted, they fit into the 64 KiB that Node and libuv read at once at the other end. With a little more, for
 * example 64 KiB of data, the other end reads once more for a few bytes, and sleeps in between. That costs a quarter of
 * the throughput. Much larger writes are no faster either, because one end encrypts while the other decrypts. They
 * would also make each drain longer, and a TLS transport keeps an encrypted copy of a write.
 */
export const SLICE_BYTES = 48 * 1024
