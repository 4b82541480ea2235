/**
 * Makes as many objects as an application has: 24 MB.
 *
 * They matter when a process receives 1 GB/s. After each 32 MB of received buffers, V8 adds these to its heap, and makes a
 * major collection if the sum is above a limit. The limit depends on the heap at the last major collection. If that was
 * small, the collections do not end, and take a quarter of the CPU time or more, also with plain sockets. So V8 has to
 * collect once when the objects are there. (On Node 26 they do not end in any case.)
 */
export function haveObjects(): void {
  Object.assign(globalThis, { objects: Array.from({ length: 600_000 }, (_, index) => ({ index })) })
  globalThis.gc?.()
}
