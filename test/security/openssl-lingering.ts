import { once } from 'node:events'
import type { Socket } from 'node:net'
import t from 'tap'
import { LINGER_MS } from '../../src/openssl/wire.ts'
import { HeldTimers } from '../fixtures/held-timers.ts'
import { openSSLPair, versions } from '../fixtures/openssl-pair.ts'

/* What a peer can do that stops to read. */

t.setTimeout(300_000)
const timers = new HeldTimers()
timers.hold(LINGER_MS)
t.teardown(() => timers.restore())

for (const version of versions) {
  t.test(
    `a peer that has ended and reads no more does not keep a destroyed stream from closing, ${version}`,
    async (t) => {
      const allowHalfOpen = { allowHalfOpen: true }
      const { near, far } = await openSSLPair(t, version, { client: allowHalfOpen, server: allowHalfOpen })
      near.resume()
      far.pause()
      near.write(Buffer.alloc(50_000_000))
      // Nothing tells when the kernel takes no more.
      const { below } = near.socket as unknown as { below: Socket }
      for (let turns = 0; turns < 200; turns++) {
        await new Promise((resolve) => setImmediate(resolve))
        if (!below.writableNeedDrain) turns = 0
      }
      far.end('the end')
      await once(near, 'end')
      near.destroy()
      while (timers.count(LINGER_MS) === 0) await new Promise((resolve) => setImmediate(resolve))
      t.equal(below.destroyed, false)
      const isClosed = once(near, 'close')
      timers.fire(LINGER_MS)
      await isClosed
      t.equal(timers.count(LINGER_MS), 0)
    },
  )
}
