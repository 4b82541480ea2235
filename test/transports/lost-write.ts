import type { TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { reportIfLost } from '../../src/transports/lost-write.ts'

/** A write on a socket that keeps so many bytes, while so many wait in TCP. */
function writing(t: Test, kept: number, waiting = 0) {
  const tcp = { writeQueueSize: waiting }
  const handle = { writeQueueSize: kept, _parent: tcp }
  const done = t.captureFn(() => {})
  const callback = reportIfLost({ _handle: handle } as unknown as TLSSocket, done)
  return { tcp, handle, callback, calls: () => done.args() }
}

/** Resolves after so many turns of the event loop. */
async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
}

t.test('a write that Node calls back is reported as it was', async (t) => {
  const { callback, calls } = writing(t, 29)
  callback(null, 7)
  await turns(5)
  t.same(calls(), [[null, 7]])
})

t.test('a write fails with EPIPE if the same data is stranded for a turn, and is reported once', async (t) => {
  const { callback, calls } = writing(t, 29)
  await turns(1)
  t.same(calls(), [])
  await turns(1)
  t.match(calls(), [[{ code: 'EPIPE', message: 'write EPIPE', syscall: 'write' }]])
  callback(null, 7)
  await turns(5)
  t.equal(calls().length, 1)
})

t.test('a write is not lost while the socket passes on some of its data in each turn', async (t) => {
  const { handle, callback, calls } = writing(t, 100)
  for (; handle.writeQueueSize > 0; handle.writeQueueSize -= 10) {
    await turns(1)
    t.same(calls(), [])
  }
  callback(null, 7)
  t.same(calls(), [[null, 7]])
})

t.test('a write is not lost while data waits in TCP', async (t) => {
  const { tcp, calls } = writing(t, 100, 50)
  await turns(5)
  // Node has its callback for what follows.
  tcp.writeQueueSize = 0
  await turns(5)
  t.same(calls(), [])
})
