import type { Socket } from 'node:net'
import type { OpenSSLEngine } from './engine.ts'

/** What goes out are views of memory of this size, one behind the other: the socket sends from there, without a copy. */
const POOL_BYTES = 64 * 1024

/**
 * Carries what is encrypted between an engine and a connected socket, both
 * ways, as far as either has room; ends each after the end of the other. Errors
 * of the socket are for whoever made it.
 */
export function carry(engine: OpenSSLEngine, socket: Socket): void {
  let pool = Buffer.alloc(0)
  /** What the engine has not taken yet of the chunk that came last. */
  let inbound = Buffer.alloc(0)
  let ending = false
  let isDue = false

  // Not at once: a poke comes from inside a call into the engine.
  engine.onPoke = () => {
    if (!isDue) setImmediate(move)
    isDue = true
  }
  socket.on('data', (chunk) => {
    inbound = chunk
    socket.pause()
    move()
  })
  // Either comes to a paused socket, too, so the last chunk may still be here.
  for (const event of ['end', 'close']) {
    socket.on(event, () => {
      ending = true
      move()
    })
  }
  socket.on('drain', move)

  function move(): void {
    isDue = false
    while (send() || receive()) engine.onReady?.()
    if (engine.outgoingEnded && socket.writable) socket.destroySoon()
  }

  function send(): boolean {
    if (!socket.writable || socket.writableNeedDrain) return false
    if (pool.length === 0) pool = Buffer.allocUnsafe(POOL_BYTES)
    const taken = engine.outgoing(pool)
    if (taken > 0) socket.write(pool.subarray(0, taken))
    pool = pool.subarray(taken)
    return taken > 0
  }

  function receive(): boolean {
    if (inbound.length === 0) {
      if (!ending) return false
      ending = false
      engine.endIncoming()
      return true
    }
    const taken = engine.incoming(inbound)
    inbound = inbound.subarray(taken)
    if (inbound.length === 0) socket.resume()
    return taken > 0
  }
}
