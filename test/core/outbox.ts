import sinon from 'sinon'
import t from 'tap'
import { GuardedTransport } from '../../src/core/guarded-transport.ts'
import { type BatchCallback, Outbox } from '../../src/core/outbox.ts'
import { SLICE_BYTES } from '../../src/core/slice.ts'
import { GatheringTransport, type Script, ScriptedTransport, turn } from '../fixtures/scripted-transport.ts'

/** An outbox over a transport that takes one buffer at a time, when told. */
function single(script: Script = {}) {
  return over(new ScriptedTransport({ takes: 'when told', ...script }))
}

/** An outbox over a transport that takes several buffers at once, when told. */
function gathering(script: Script = {}) {
  return over(new GatheringTransport({ takes: 'when told', ...script }))
}

function over<T extends ScriptedTransport>(transport: T) {
  const failed = sinon.spy()
  const keys = {
    room: sinon.stub().returns(Infinity),
    sent: sinon.spy(),
    finished: (done: BatchCallback) => done(),
    applicationThrew: rethrow,
    // After a failure, the gate has closed the outbox.
    written: () => void (failed.called || outbox.flush()),
  }
  const outbox = new Outbox(guarded(transport), { ...keys, failed })
  return { transport, failed, keys, outbox }
}

function rethrow(error: unknown): never {
  throw error
}

/** Wraps the transport as the gate does it for the outbox. */
function guarded(transport: ScriptedTransport): GuardedTransport {
  return new GuardedTransport(transport, { isOfApplication: () => true, transportThrew: () => {} })
}

/** Offers a batch as a Writable does: it is sent only after it was handed over. */
function offer(outbox: Outbox, batch: readonly Uint8Array[], done: BatchCallback): void {
  outbox.offer(batch, done)
  outbox.flush()
}

const buffers = (...texts: string[]) => texts.map((text) => Buffer.from(text))
const last = <T>(list: readonly T[]) => list.at(-1)

t.test('a batch of one buffer is offered as the identical object', async (t) => {
  const { outbox, transport } = single()
  const [buffer] = buffers('abc') as [Buffer]
  offer(outbox, [buffer], () => {})
  t.equal(transport.offers.length, 1)
  t.equal(transport.offers[0], buffer)
})

t.test('a batch that was offered by _write() alone is sent when the call is over', async (t) => {
  const { outbox, transport } = single()
  const [buffer] = buffers('abc') as [Buffer]
  outbox.offer([buffer], () => {})
  t.same(transport.offers, [])
  await turn()
  t.same(transport.offers, [buffer])
})

t.test('several buffers are offered in one call if the transport has writev()', async (t) => {
  const { outbox, transport } = gathering()
  const list = buffers('abc', 'def')
  offer(outbox, list, () => {})
  t.same(transport.offers, [list])
})

t.test('without writev(), several buffers are offered one by one, with one callback for the batch', async (t) => {
  const { outbox, transport } = single()
  const done = sinon.spy()
  offer(outbox, buffers('abc', 'def'), done)
  t.equal(transport.inFlight, 3)
  transport.take()
  await turn()
  t.equal(done.callCount, 0)
  t.equal(transport.inFlight, 3)
  await transport.takeAll()
  t.equal(transport.taken.toString(), 'abcdef')
  t.equal(done.callCount, 1)
  t.notOk(done.firstCall.args[0])
})

t.test('a single buffer is offered by write() even if the transport has writev()', async (t) => {
  const { outbox, transport } = gathering()
  const [buffer] = buffers('abc') as [Buffer]
  offer(outbox, [Buffer.alloc(0), buffer], () => {})
  t.equal(transport.offers[0], buffer)
})

t.test('a batch without bytes is offered as one empty write, and called back when that is done', async (t) => {
  for (const empty of [[], [Buffer.alloc(0)], [Buffer.alloc(0), Buffer.alloc(0)]]) {
    const { outbox, transport } = single()
    const done = sinon.spy()
    offer(outbox, empty, done)
    t.same(
      transport.offers.map(({ length }) => length),
      [0],
    )
    await turn()
    t.equal(done.callCount, 0)
    transport.take(0)
    await turn()
    t.equal(done.callCount, 1)
    t.equal(transport.offers.length, 1, 'it is not offered again')
  }
})

t.test('after a write that took nothing, the identical buffer is offered again in a later turn', async (t) => {
  const { outbox, transport } = single()
  const [buffer] = buffers('abc') as [Buffer]
  offer(outbox, [buffer], () => {})
  for (let times = 1; times <= 3; times++) {
    transport.take(0)
    t.equal(transport.inFlight, undefined, 'it is not offered in this turn')
    await turn()
    t.equal(last(transport.offers), buffer)
    t.equal(transport.offers.length, times + 1)
  }
})

t.test('after a write that took nothing, the identical view of a buffer is offered again', async (t) => {
  const { outbox, transport } = single()
  offer(outbox, buffers('abc'), () => {})
  transport.take(1)
  await turn()
  const view = last(transport.offers)
  transport.take(0)
  await turn()
  t.equal(last(transport.offers), view)
})

t.test('after a writev() that took nothing, the identical list is offered again', async (t) => {
  const { outbox, transport } = gathering()
  offer(outbox, buffers('abc', 'def'), () => {})
  const list = last(transport.offers)
  transport.take(0)
  await turn()
  t.equal(last(transport.offers), list)
  await transport.takeAll()
  t.equal(transport.taken.toString(), 'abcdef')
})

t.test('after a partial write, the rest is offered as a view of the same memory', async (t) => {
  const { outbox, transport } = single()
  const [buffer] = buffers('abcdef') as [Buffer]
  offer(outbox, [buffer], () => {})
  transport.take(2)
  await turn()
  const rest = last(transport.offers) as Uint8Array
  t.equal(rest.buffer, buffer.buffer)
  t.equal(rest.byteOffset, buffer.byteOffset + 2)
  t.equal(rest.length, 4)
})

t.test('after a partial writev(), the rest of the buffers is offered', async (t) => {
  const { outbox, transport } = gathering()
  const [a, b, c] = buffers('ab', 'cd', 'ef') as [Buffer, Buffer, Buffer]
  offer(outbox, [a, b, c], () => {})
  transport.take(3)
  await turn()
  const [rest, whole] = last(transport.offers) as Uint8Array[]
  t.equal(rest?.buffer, b.buffer)
  t.equal(Buffer.from(rest ?? []).toString(), 'd')
  t.equal(whole, c)
})

t.test('for every chunk size and every size of partial writes, all bytes arrive in order', async (t) => {
  const text = 'abcdefghijkl'
  for (const make of [single, gathering]) {
    for (let size = 1; size <= text.length; size++) {
      const chunks = buffers(...(text.match(new RegExp(`.{1,${size}}`, 'g')) as string[]))
      for (let part = 1; part <= text.length; part++) {
        const { outbox, transport } = make()
        const done = sinon.spy()
        offer(outbox, chunks, done)
        for (let round = 0; transport.inFlight !== undefined; round++) {
          transport.take(round % 3 === 2 ? 0 : part)
          await turn()
        }
        const arrived = transport.taken.toString()
        if (arrived !== text || done.callCount !== 1) {
          t.fail(`${make.name}, chunks of ${size}, parts of ${part}: ${arrived}, called back ${done.callCount} times`)
        }
      }
    }
  }
})

t.test('a huge buffer is offered in slices that are views of the same memory', async (t) => {
  const { outbox, transport } = single()
  const huge = Buffer.alloc(4 * SLICE_BYTES + 1)
  const done = sinon.spy()
  offer(outbox, [huge], done)
  await transport.takeAll()
  const slices = transport.offers as Buffer[]
  t.same(
    slices.map(({ length }) => length),
    [SLICE_BYTES, SLICE_BYTES, SLICE_BYTES, SLICE_BYTES, 1],
  )
  t.ok(slices.every(({ buffer }) => buffer === huge.buffer))
  t.same(
    slices.map(({ byteOffset }) => byteOffset - huge.byteOffset),
    [0, 1, 2, 3, 4].map((n) => n * SLICE_BYTES),
  )
  t.equal(done.callCount, 1)
})

t.test('writev() is offered buffers up to the size of a slice', async (t) => {
  const { outbox, transport } = gathering()
  const half = SLICE_BYTES / 2
  offer(outbox, [Buffer.alloc(half), Buffer.alloc(half), Buffer.alloc(1)], () => {})
  t.equal(transport.inFlight, SLICE_BYTES)
  transport.take()
  await turn()
  t.equal(transport.inFlight, 1)
})

t.test('at most 32 writes are offered in a turn of the event loop', async (t) => {
  const { outbox, transport } = single()
  const done = sinon.spy()
  offer(outbox, buffers(...Array<string>(65).fill('x')), done)
  for (const soFar of [32, 64, 65]) {
    while (transport.inFlight !== undefined) transport.take()
    t.equal(transport.taken.length, soFar)
    await turn()
  }
  t.equal(done.callCount, 1)
})

t.test('a batch that is offered in the callback of a synchronous write waits for the next turn', async (t) => {
  for (const first of ['a', '']) {
    const { outbox, transport } = single({ takes: 'at once' })
    offer(outbox, buffers(first), () => offer(outbox, buffers('b'), () => {}))
    await null
    await turn()
    t.equal(transport.taken.toString(), first)
    await turn()
    t.equal(transport.taken.toString(), `${first}b`)
  }
})

t.test('after a partial write, the rest is not offered before the next turn', async (t) => {
  const { outbox, transport } = single()
  offer(outbox, buffers('abc'), () => {})
  transport.take(2)
  t.equal(transport.inFlight, undefined)
  await turn()
  t.equal(transport.inFlight, 1)
})

t.test('an exception of the application while a barrier is waiting is thrown only once', async (t) => {
  const { outbox, transport } = single()
  const thrown: unknown[] = []
  const heard = (error: unknown) => {
    if (thrown.push(error) > 10) process.setUncaughtExceptionCaptureCallback(null)
  }
  process.setUncaughtExceptionCaptureCallback(heard)
  t.teardown(() => process.setUncaughtExceptionCaptureCallback(null))
  const mine = new Error('mine')
  setImmediate(() => {
    process.nextTick(() => {
      outbox.barrier(() => {})
      throw mine
    })
  })
  outbox.barrier(() => t.fail('the replaced barrier was reached'))
  await turn()
  await turn()
  t.same(thrown, [mine])
  t.equal(transport.inFlight, 0)
})

t.test('thousands of batches that complete synchronously do not overflow the stack', async (t) => {
  const { outbox, transport } = single({ takes: 'at once' })
  let left = 20_000
  await new Promise<void>((resolve) => {
    const next = () => {
      if (left-- > 0) offer(outbox, [Buffer.alloc(left % 2)], next)
      else resolve()
    }
    next()
  })
  t.equal(transport.taken.length, 10_000)
})

t.test('bytesInFlight and bytesGiven show the progress of the batch', async (t) => {
  const { outbox, transport } = single()
  const seen = () => [outbox.bytesInFlight, outbox.bytesGiven]
  t.same(seen(), [0, 0])
  offer(outbox, buffers('abc', 'defg'), () => {})
  t.same(seen(), [3, 3])
  transport.take(2)
  t.same(seen(), [0, 2])
  await turn()
  t.same(seen(), [1, 3])
  transport.take()
  await turn()
  t.same(seen(), [4, 7])
  transport.take()
  await turn()
  t.same(seen(), [0, 0])
})

t.test('hold() parks the batch, and release() sends it', async (t) => {
  const { outbox, transport } = single()
  const done = sinon.spy()
  outbox.hold()
  offer(outbox, buffers('abc'), done)
  await turn()
  t.same(transport.offers, [])
  outbox.release()
  await turn()
  t.equal(transport.inFlight, 3)
  await transport.takeAll()
  t.equal(done.callCount, 1)
})

t.test('hold() parks an empty batch, too', async (t) => {
  const { outbox, transport } = single()
  const done = sinon.spy()
  outbox.hold()
  offer(outbox, [], done)
  t.equal(transport.inFlight, undefined)
  outbox.release()
  await turn()
  transport.take(0)
  t.equal(done.callCount, 1)
})

t.test('hold() lets the write in flight finish, and parks the rest of the batch', async (t) => {
  const { outbox, transport } = single()
  offer(outbox, buffers('abc'), () => {})
  outbox.hold()
  transport.take(1)
  await turn()
  t.equal(transport.inFlight, undefined)
  outbox.release()
  await turn()
  t.equal(transport.inFlight, 2)
})

t.test('if a write took nothing during hold(), release() offers the identical buffer again', async (t) => {
  const { outbox, transport } = single()
  const [buffer] = buffers('abc') as [Buffer]
  offer(outbox, [buffer], () => {})
  outbox.hold()
  transport.take(0)
  await turn()
  t.equal(transport.offers.length, 1)
  outbox.release()
  await turn()
  t.equal(last(transport.offers), buffer)
})

t.test('release() after a partial write waits for the next turn', async (t) => {
  const { outbox, transport } = single()
  offer(outbox, buffers('ab'), () => {})
  transport.take(1)
  outbox.hold()
  outbox.release()
  t.equal(transport.inFlight, undefined)
  await turn()
  t.equal(transport.inFlight, 1)
})

t.test('a barrier on an idle outbox makes an empty write', async (t) => {
  const { outbox, transport } = single()
  const reached = sinon.spy()
  outbox.barrier(reached)
  await turn()
  t.equal(transport.inFlight, 0)
  t.equal(reached.callCount, 0)
  transport.take()
  t.equal(reached.callCount, 1)
})

t.test('a barrier makes its empty write in a later turn, because the transport may be its caller', async (t) => {
  const { outbox, transport } = single({ takes: 'at once' })
  const reached = sinon.spy()
  outbox.barrier(reached)
  t.same(transport.offers, [])
  await turn()
  t.equal(transport.offers.length, 1)
  t.equal(reached.callCount, 1)
})

t.test('a barrier waits for the write in flight, and comes before the rest of the batch', async (t) => {
  const { outbox, transport } = single()
  const reached = sinon.spy()
  offer(outbox, buffers('abc'), () => {})
  outbox.barrier(reached)
  await turn()
  t.equal(transport.offers.length, 1)
  transport.take(1)
  await turn()
  t.equal(transport.inFlight, 0)
  transport.take()
  t.equal(reached.callCount, 1)
  await turn()
  t.equal(transport.inFlight, 2)
})

t.test('a barrier is reached although the outbox is held', async (t) => {
  const { outbox, transport } = single()
  const reached = sinon.spy()
  offer(outbox, buffers('abc', 'def'), () => {})
  outbox.hold()
  outbox.barrier(reached)
  await transport.takeAll()
  t.equal(reached.callCount, 1)
  t.equal(transport.taken.toString(), 'abc')
})

t.test('a barrier is reached whatever byte count the transport reports for the empty write', async (t) => {
  const { outbox, transport, failed } = single()
  const reached = sinon.spy()
  outbox.barrier(reached)
  await turn()
  transport.claims(7)
  t.equal(reached.callCount, 1)
  t.equal(failed.callCount, 0)
})

for (const forgets of ['hold', 'release'] as const) {
  t.test(`${forgets}() cancels a barrier that waits for the write in flight`, async (t) => {
    const { outbox, transport } = single()
    offer(outbox, buffers('abc'), () => {})
    outbox.hold()
    outbox.barrier(() => t.fail('the barrier was reached'))
    outbox[forgets]()
    await transport.takeAll()
    t.equal(transport.offers.length, 1)
  })

  t.test(`${forgets}() cancels a barrier whose empty write is in flight`, async (t) => {
    const { outbox, transport } = single()
    outbox.barrier(() => t.fail('the barrier was reached'))
    await turn()
    outbox[forgets]()
    await transport.takeAll()
    t.equal(transport.offers.length, 1)
  })
}

t.test('a new barrier replaces one in flight, and makes an empty write of its own', async (t) => {
  const { outbox, transport } = single()
  const second = sinon.spy()
  outbox.barrier(() => t.fail('the barrier was reached'))
  await turn()
  outbox.hold()
  outbox.barrier(second)
  transport.take()
  await turn()
  t.equal(transport.inFlight, 0)
  t.equal(second.callCount, 0)
  transport.take()
  t.equal(second.callCount, 1)
})

t.test('after finish(), a barrier is reached without a write', async (t) => {
  const { outbox, transport } = single()
  const reached = sinon.spy()
  outbox.finish()
  outbox.barrier(reached)
  await turn()
  t.equal(reached.callCount, 1)
  t.same(transport.offers, [])
})

t.test('after refuse(), neither parked nor new batches are offered', async (t) => {
  for (const parked of [true, false]) {
    const { outbox, transport } = single()
    outbox.hold()
    if (parked) offer(outbox, buffers('abc'), () => {})
    outbox.refuse(new Error('no way'))
    if (!parked) offer(outbox, buffers('abc'), () => {})
    await turn()
    t.same(transport.offers, [])
  }
})

t.test('refuse() lets the write in flight finish', async (t) => {
  const { outbox, transport } = single()
  offer(outbox, buffers('abc'), () => {})
  outbox.hold()
  outbox.refuse(new Error('no way'))
  transport.take(1)
  await turn()
  t.equal(transport.inFlight, undefined)
  t.equal(outbox.bytesInFlight, 0)
})

t.test('close() returns what was never offered, as views of the same memory, and the callback', async (t) => {
  const { outbox, transport } = single()
  const [a, b] = buffers('abcd', 'ef') as [Buffer, Buffer]
  const done = sinon.spy()
  offer(outbox, [a, b], done)
  transport.take(1)
  outbox.hold()
  const closed = outbox.close()
  t.same(closed.unsent, buffers('bcd', 'ef'))
  t.equal(closed.unsent[0]?.buffer, a.buffer)
  t.equal(closed.unsent[1], b)
  t.equal(closed.done, done)
  t.equal(done.callCount, 0)
})

t.test('close() does not return bytes in flight as unsent', async (t) => {
  const { outbox } = single()
  offer(outbox, buffers('abc', 'def'), () => {})
  t.same(outbox.close().unsent, buffers('def'))
})

t.test('close() without a batch returns nothing', async (t) => {
  const { outbox } = single()
  t.same(outbox.close(), { unsent: [], done: null, taken: false })
})

for (const [how, answer] of [
  ['taken', (transport: ScriptedTransport) => transport.take()],
  ['failed', (transport: ScriptedTransport) => transport.failWrite(new Error('reset'))],
] as const) {
  t.test(`after close(), the result of a write in flight (${how}) is ignored`, async (t) => {
    const { outbox, transport, failed } = single()
    offer(outbox, buffers('abc', 'def'), () => t.fail('the batch was called back'))
    outbox.close()
    answer(transport)
    await turn()
    t.equal(failed.callCount, 0)
    t.equal(transport.offers.length, 1)
    t.equal(outbox.bytesInFlight, 0)
  })
}

t.test('after close(), the result of a barrier in flight is ignored', async (t) => {
  const { outbox, transport } = single()
  outbox.barrier(() => t.fail('the barrier was reached'))
  await turn()
  outbox.close()
  await transport.takeAll()
  t.equal(transport.offers.length, 1)
})

t.test('a failed write is reported, and nothing more is offered', async (t) => {
  const { outbox, transport, failed } = single()
  const error = new Error('reset')
  const done = sinon.spy()
  offer(outbox, buffers('abc', 'def'), done)
  transport.failWrite(error)
  await turn()
  t.same(failed.args, [[error]])
  t.equal(done.callCount, 0)
  t.equal(transport.offers.length, 1)
})

t.test('a failed barrier is reported', async (t) => {
  const { outbox, transport, failed } = single()
  const error = new Error('reset')
  outbox.barrier(() => t.fail('the barrier was reached'))
  await turn()
  transport.failWrite(error)
  t.same(failed.args, [[error]])
})

for (const claim of [-1, 4, 0.5, NaN, undefined]) {
  t.test(`a transport that claims to have taken ${claim} of 3 bytes fails with a RangeError`, async (t) => {
    const { outbox, transport, failed } = single()
    offer(outbox, buffers('abc'), () => t.fail('the batch was called back'))
    transport.claims(claim as number)
    t.equal(failed.callCount, 1)
    t.match(failed.firstCall.args[0], {
      name: 'RangeError',
      message: `The transport was offered 3 bytes and says it took ${claim}`,
    })
  })
}

t.test('no more is offered than the keys allow, and the bytes taken are counted for the keys', async (t) => {
  const { outbox, transport, keys } = single()
  keys.room.returns(2)
  offer(outbox, buffers('abcde'), () => {})
  t.equal(transport.inFlight, 2)
  transport.take(1)
  t.same(keys.sent.args, [[1]])
  keys.room.returns(1)
  await turn()
  t.equal(transport.inFlight, 1)
  t.equal(transport.taken.toString(), 'a')
})

t.test('the bytes of a batch are counted for the keys before its callback can offer another batch', async (t) => {
  const { outbox, transport, keys } = single()
  const told: number[] = []
  const original = transport.write.bind(transport)
  transport.write = (...args) => {
    told.push(keys.sent.callCount)
    original(...args)
  }
  offer(outbox, buffers('a'), () => offer(outbox, buffers('b'), () => {}))
  transport.take()
  t.same(told, [0, 1])
})

t.test('nothing is offered if the keys allow no more bytes', async (t) => {
  const { outbox, transport, keys } = single()
  keys.room.returns(0)
  offer(outbox, buffers('abcde'), () => {})
  await turn()
  t.same(transport.offers, [])
})

t.test('the bytes of a batch are counted for the keys even if its callback throws', async (t) => {
  const { outbox, transport, keys } = single()
  offer(outbox, buffers('abcde'), () => {
    throw new Error('oops')
  })
  t.throws(() => transport.take(), /oops/)
  t.same(keys.sent.args, [[5]])
})
