/**
 * Makes as many objects as an application has: 60 MB.
 *
 * They matter when a process receives 1 GB/s. After each 32 MB of received buffers, V8 adds these to its heap, and makes a
 * major collection if the sum is above a limit. The limit depends on the heap at the last major collection. If that was
 * small, the collections do not end, and take up to four fifths of the CPU time, also with plain sockets. So V8 has to
 * collect once when the objects are there.
 */
export function haveObjects(): void {
  Object.assign(globalThis, { objects: Array.from({ length: 1_500_000 }, (_, index) => ({ index })) })
  globalThis.gc?.()
}
