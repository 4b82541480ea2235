/**
 * The most that is given to a transport at once, in bytes.
 *
 * Three TLS records, which are less than 64 KiB when encrypted: as much as
 * Node, and libuv below it, reads at once at the other end. A little more than
 * that, 64 KiB of data say, makes it read once more for a few bytes, and sleep
 * and be woken in between, which costs a quarter of the throughput. Much more
 * is no faster either: one end encrypts while the other decrypts. And a drain
 * waits for one such write, and a TLS transport keeps an encrypted copy of it.
 */
export const SLICE_BYTES = 48 * 1024
