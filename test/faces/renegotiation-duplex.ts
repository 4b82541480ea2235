import { once } from 'node:events'
import { addAbortSignal, finished, PassThrough, Readable, Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { Duplex as ReadableStreamDuplex } from 'readable-stream'
import sinon from 'sinon'
import t from 'tap'
import { SLICE_BYTES } from '../../src/core/slice.ts'
import { RenegotiationDuplex } from '../../src/faces/renegotiation-duplex.ts'
import { failure, outcome, scriptedStream } from '../fixtures/scripted-stream.ts'
import { GatheringTransport, ScriptedTransport, turn } from '../fixtures/scripted-transport.ts'

const MiB = 1024 * 1024

t.test('a RenegotiationDuplex is a Duplex of readable-stream, and has its transport as a property', async (t) => {
  const transport = new ScriptedTransport()
  const stream = new RenegotiationDuplex(transport)
  t.type(stream, ReadableStreamDuplex)
  t.equal(stream.transport, transport)
  t.equal(stream.state, 'open')
  t.equal(stream.heldBytes, 0)
  t.equal(stream.bytesInFlight, 0)
  t.has(stream.counters, { renegotiations: 0, byPeer: 0, failed: 0 })
  t.same(stream.unsent(), [])
})

t.test('a bad option throws before the transport is used', async (t) => {
  const transport = new ScriptedTransport()
  const attach = sinon.spy(transport, 'attach')
  t.throws(() => new RenegotiationDuplex(transport, { maxHeldBytes: -1 }), {
    name: 'RangeError',
    message: /maxHeldBytes/,
  })
  t.equal(attach.callCount, 0)
})

t.test('a transport that already has a stream throws', async (t) => {
  const transport = new ScriptedTransport()
  new RenegotiationDuplex(transport)
  t.throws(() => new RenegotiationDuplex(transport), /attached twice/)
})

t.test('the high water marks are those of the options', async (t) => {
  const { stream } = scriptedStream({}, { readableHighWaterMark: 1, writableHighWaterMark: 2 })
  t.equal(stream.readableHighWaterMark, 1)
  t.equal(stream.writableHighWaterMark, 2)
})

t.test('written data reaches the transport, and data of the transport can be read', async (t) => {
  const { stream, transport, received } = scriptedStream()
  stream.write('to the peer')
  transport.peerSends('to us')
  t.equal(transport.taken.toString(), 'to the peer')
  t.equal(received(), 'to us')
})

t.test('strings are written in their encoding, and Uint8Arrays as their bytes', async (t) => {
  const { stream, transport } = scriptedStream()
  stream.write('c3a9', 'hex')
  await turn()
  stream.write('è')
  await turn()
  stream.write(new Uint8Array([0xc3, 0xaa]))
  await turn()
  t.equal(transport.taken.toString(), 'éèê')
})

t.test('backpressure works in both directions', async (t) => {
  t.test('write() returns false at the high water mark, and drain follows when all is sent', async (t) => {
    const { stream, transport } = scriptedStream({ takes: 'when told' }, { highWaterMark: 4 })
    const drain = sinon.spy()
    stream.on('drain', drain)
    t.equal(stream.write('abc'), true)
    t.equal(stream.write('d'), false)
    t.equal(stream.writableLength, 4)
    t.equal(stream.writableNeedDrain, true)
    transport.take()
    await turn()
    t.equal(drain.callCount, 0)
    t.equal(stream.writableLength, 1)
    await transport.takeAll()
    t.equal(drain.callCount, 1)
    t.equal(stream.writableLength, 0)
  })

  t.test('writes during a handshake stay in the stream, and drain follows after the handshake', async (t) => {
    const { stream, transport } = scriptedStream({}, { highWaterMark: 4 })
    const drain = sinon.spy()
    stream.on('drain', drain)
    transport.peerBegins()
    t.equal(stream.write('abcd'), false)
    await turn()
    t.equal(stream.writableLength, 4)
    t.equal(stream.heldBytes, 4)
    t.equal(drain.callCount, 0)
    transport.peerFinishes()
    await turn()
    t.equal(drain.callCount, 1)
    t.equal(transport.taken.toString(), 'abcd')
  })

  t.test('heldBytes, bytesInFlight and the bytes taken add up to the bytes written', async (t) => {
    const { stream, transport } = scriptedStream({ takes: 'when told' })
    const sum = () => stream.heldBytes + stream.bytesInFlight + transport.taken.length
    stream.write('abcdef')
    stream.write('ghi')
    stream.write('j')
    t.same([stream.heldBytes, stream.bytesInFlight, sum()], [4, 6, 10])
    transport.take(2)
    t.same([stream.heldBytes, stream.bytesInFlight, sum()], [8, 0, 10])
    transport.peerBegins()
    await turn()
    t.same([stream.heldBytes, stream.bytesInFlight, sum()], [8, 0, 10])
    transport.peerFinishes()
    await transport.takeNext()
    t.same([stream.heldBytes, stream.bytesInFlight, sum()], [4, 4, 10])
    transport.take()
    await turn()
    t.same([stream.heldBytes, stream.bytesInFlight, sum()], [0, 4, 10])
    await transport.takeAll()
    t.same([stream.heldBytes, stream.bytesInFlight, sum()], [0, 0, 10])
  })

  t.test('an application that does not read pauses the transport', async (t) => {
    const { stream, transport } = scriptedStream({ reads: false }, { highWaterMark: 4 })
    t.equal(transport.flowing, false)
    stream.read(0)
    t.equal(transport.flowing, true)
    transport.peerSends('abcd')
    t.equal(transport.flowing, false)
    t.equal(stream.readableLength, 4)
    t.equal(stream.read()?.toString(), 'abcd')
    t.equal(transport.flowing, true)
  })
})

t.test('huge writes are cut into slices', async (t) => {
  t.test('a huge write is cut into slices of the same memory', async (t) => {
    const { stream, transport } = scriptedStream({ takes: 'when told' })
    const huge = Buffer.alloc(4 * MiB)
    const done = sinon.spy()
    stream.write(huge, done)
    for (let slices = 0; slices * SLICE_BYTES < huge.length; slices++) {
      t.equal(transport.inFlight, Math.min(SLICE_BYTES, huge.length - slices * SLICE_BYTES))
      t.equal((transport.offers.at(-1) as Buffer).buffer, huge.buffer)
      t.equal(stream.heldBytes, Math.max(0, huge.length - (slices + 1) * SLICE_BYTES))
      t.equal(done.callCount, 0)
      transport.take()
      await turn()
    }
    t.equal(transport.inFlight, undefined)
    t.equal(done.callCount, 1)
    t.equal(transport.taken.length, huge.length)
  })

  t.test('a huge write delays a renegotiation by no more than one slice', async (t) => {
    const { stream, transport } = scriptedStream({ takes: 'when told' })
    stream.write(Buffer.alloc(4 * MiB))
    const renegotiated = stream.renegotiate()
    await transport.takeNext()
    await transport.takeNext()
    t.equal(stream.state, 'handshaking')
    t.equal(stream.heldBytes, 4 * MiB - SLICE_BYTES)
    transport.peerFinishes()
    await transport.takeNext()
    t.match(await renegotiated, { heldBytes: 4 * MiB - SLICE_BYTES })
    await transport.takeAll()
    t.equal(transport.taken.length, 4 * MiB)
  })
})

t.test('every write callback is called exactly once and in order', async (t) => {
  /** Writes `count` chunks, and returns the list of callbacks that were called, each with its error code. */
  function write(stream: RenegotiationDuplex, count: number) {
    const calls: string[] = []
    for (let index = 0; index < count; index++) {
      stream.write(`${index}`, (error) => calls.push(`${index} ${(error as NodeJS.ErrnoException)?.code ?? 'ok'}`))
    }
    return calls
  }
  const all = (count: number, how: string) => Array.from({ length: count }, (_, index) => `${index} ${how}`)

  t.test('write callbacks are called in order when all writes succeed', async (t) => {
    const { stream } = scriptedStream()
    const calls = write(stream, 3)
    await turn()
    await turn()
    t.same(calls, all(3, 'ok'))
  })

  t.test('write callbacks are called after a handshake, in order', async (t) => {
    const { stream, transport } = scriptedStream()
    transport.peerBegins()
    const calls = write(stream, 3)
    await turn()
    t.same(calls, [])
    transport.peerFinishes()
    await turn()
    await turn()
    await turn()
    t.same(calls, all(3, 'ok'))
  })

  t.test('write callbacks of corked writes are called after uncork(), in order', async (t) => {
    const { stream, transport } = scriptedStream()
    stream.cork()
    const calls = write(stream, 3)
    await turn()
    t.same(calls, [])
    stream.uncork()
    t.equal(transport.offers.length, 1, 'the writes are sent together')
    await turn()
    t.same(calls, all(3, 'ok'))
  })

  t.test('callbacks of empty writes are called in order with the others', async (t) => {
    const { stream } = scriptedStream()
    const calls: string[] = []
    stream.write('', () => calls.push('first'))
    stream.write('a', () => calls.push('second'))
    stream.write('', () => calls.push('third'))
    await turn()
    await turn()
    t.same(calls, ['first', 'second', 'third'])
  })

  for (const [how, prepare] of [
    ['with a write in flight', () => {}],
    ['corked', (stream) => stream.cork()],
    ['corked behind a write in flight', (stream) => process.nextTick(() => stream.cork())],
    ['held', (_, transport) => transport.peerBegins()],
  ] as [string, (stream: RenegotiationDuplex, transport: ScriptedTransport) => void][]) {
    t.test(`destroy() calls back every write with ERR_STREAM_DESTROYED, before close: ${how}`, async (t) => {
      const { stream, transport, events } = scriptedStream({ takes: 'when told' })
      prepare(stream, transport)
      const calls = write(stream, 4)
      let callsBeforeClose = 0
      stream.on('close', () => {
        callsBeforeClose = calls.length
      })
      stream.destroy()
      await turn()
      t.same(calls, all(4, 'ERR_STREAM_DESTROYED'))
      t.same(events.at(-1), 'close')
      t.equal(callsBeforeClose, 4, 'close comes after all callbacks')
    })

    t.test(`destroy(error) calls back every write with that error: ${how}`, async (t) => {
      const { stream, transport, events } = scriptedStream({ takes: 'when told' })
      prepare(stream, transport)
      const calls = write(stream, 4)
      stream.destroy(failure('EMINE'))
      await turn()
      t.same(calls, all(4, 'EMINE'))
      t.same(events.slice(-2), ['EMINE', 'close'])
    })
  }

  t.test('a failed write calls back every write with its error', async (t) => {
    const { stream, transport, events } = scriptedStream({ takes: 'when told' })
    const calls = write(stream, 3)
    transport.failWrite(failure('EPIPE'))
    await turn()
    t.same(calls, all(3, 'EPIPE'))
    t.same(events, ['EPIPE', 'close'])
  })

  for (const count of [1, 2, 3]) {
    t.test(`a write that fails synchronously calls back each of ${count} corked writes with its error`, async (t) => {
      const { stream, transport, events } = scriptedStream({ takes: 'when told' })
      transport.onWrite = () => {
        transport.onWrite = undefined
        transport.failWrite(failure('EPIPE'))
      }
      stream.cork()
      const calls = write(stream, count)
      stream.uncork()
      await turn()
      t.same(calls, all(count, 'EPIPE'))
      t.same(events, ['EPIPE', 'close'])
      t.equal(stream.state, 'closed')
    })
  }

  t.test('a write after destroy() is called back with ERR_STREAM_DESTROYED', async (t) => {
    const { stream } = scriptedStream()
    stream.destroy()
    const calls = write(stream, 2)
    await turn()
    t.same(calls, all(2, 'ERR_STREAM_DESTROYED'))
  })

  t.test('the callback of end() is called once', async (t) => {
    const { stream, transport } = scriptedStream()
    const ended = sinon.spy()
    stream.end('last words', ended)
    await turn()
    await turn()
    t.equal(ended.callCount, 1)
    t.equal(transport.taken.toString(), 'last words')
  })
})

t.test('unsent() returns what never reached the transport', async (t) => {
  const left = (stream: RenegotiationDuplex) => Buffer.concat(stream.unsent()).toString()

  t.test('unsent() is empty before the stream is destroyed', async (t) => {
    const { stream } = scriptedStream({ takes: 'when told' })
    stream.write('abc')
    stream.write('def')
    t.same(stream.unsent(), [])
  })

  t.test('unsent() returns what never reached the transport, in order and in its original memory', async (t) => {
    const { stream, transport } = scriptedStream({ takes: 'when told' })
    const [a, b, c] = ['abc', 'def', 'ghi'].map((text) => Buffer.from(text)) as [Buffer, Buffer, Buffer]
    stream.write(a)
    transport.take(1)
    stream.write(b)
    stream.write(c)
    stream.destroy()
    t.equal(left(stream), 'bcdefghi')
    t.ok(stream.unsent().every(Buffer.isBuffer))
    t.same(
      stream.unsent().map(({ buffer }) => buffer),
      [a.buffer, b.buffer, c.buffer],
    )
  })

  t.test('unsent() does not return the bytes of a write in flight', async (t) => {
    const { stream } = scriptedStream({ takes: 'when told' })
    stream.write('in flight')
    stream.write('not yet')
    stream.destroy()
    t.equal(left(stream), 'not yet')
  })

  t.test('unsent() does not return the bytes of the write that failed', async (t) => {
    const { stream, transport } = scriptedStream({ takes: 'when told' })
    stream.write('in flight')
    stream.write('not yet')
    transport.failWrite(new Error('reset'))
    t.equal(left(stream), 'not yet')
  })

  t.test('unsent() returns held, queued and corked writes', async (t) => {
    const { stream, transport } = scriptedStream()
    transport.peerBegins()
    stream.write('held, ')
    stream.write('queued, ')
    stream.cork()
    stream.write('corked')
    stream.destroy()
    t.equal(left(stream), 'held, queued, corked')
  })

  t.test('unsent() returns held writes when the connection fails', async (t) => {
    const { stream, transport } = scriptedStream()
    transport.peerBegins()
    stream.write('held, ')
    stream.write('queued')
    transport.breaks(new Error('reset'))
    t.equal(left(stream), 'held, queued')
  })

  for (const count of [1, 2]) {
    t.test(`unsent() is empty if the transport fails within write(), with ${count} corked writes`, async (t) => {
      const { stream, transport } = scriptedStream({ takes: 'when told' })
      transport.onWrite = () => {
        transport.onWrite = undefined
        transport.breaks(new Error('reset'))
      }
      stream.cork()
      for (let index = 0; index < count; index++) stream.write('abc')
      stream.uncork()
      await turn()
      t.equal(left(stream), '')
      t.equal(stream.state, 'closed')
    })
  }
})

t.test('maxHeldBytes limits the bytes that are held', async (t) => {
  const OVERFLOW = 'ERR_RENEGOTIATION_HOLD_OVERFLOW'

  t.test('holding more than maxHeldBytes destroys the stream', async (t) => {
    const { stream, transport, events } = scriptedStream({}, { maxHeldBytes: 4 })
    transport.peerBegins()
    stream.write('abcd')
    t.equal(stream.state, 'handshaking')
    stream.write('e')
    t.equal(stream.state, 'closed')
    await turn()
    t.same(events, ['renegotiating (peer)', OVERFLOW, 'close'])
    t.match(stream.errored, { name: 'RenegotiationError', message: '5 bytes are held, more than maxHeldBytes (4)' })
    t.equal(Buffer.concat(stream.unsent()).toString(), 'abcde')
  })

  t.test('maxHeldBytes counts corked writes and the chunk of end()', async (t) => {
    for (const write of [
      (stream: RenegotiationDuplex) => {
        stream.cork()
        stream.write('abc')
        stream.write('de')
      },
      (stream: RenegotiationDuplex) => stream.end('abcde'),
    ]) {
      const { stream, transport } = scriptedStream({}, { maxHeldBytes: 4 })
      transport.peerBegins()
      write(stream)
      t.match(stream.errored, { code: OVERFLOW })
    }
  })

  t.test('maxHeldBytes does not count bytes in flight', async (t) => {
    const { stream } = scriptedStream({ takes: 'when told' }, { maxHeldBytes: 4 })
    stream.write('in flight')
    void outcome(stream.renegotiate())
    stream.write('abcd')
    t.equal(stream.state, 'draining')
    stream.write('e')
    t.equal(stream.state, 'closed')
  })

  t.test('maxHeldBytes does not apply while the stream is open or closed', async (t) => {
    const { stream, events } = scriptedStream({ takes: 'when told' }, { maxHeldBytes: 4 })
    stream.write('in flight')
    stream.write('much more than four')
    t.equal(stream.state, 'open')
    stream.destroy()
    stream.write('and more')
    await turn()
    t.same(events, ['close'])
  })

  t.test('exceeding maxHeldBytes rejects our own renegotiation', async (t) => {
    const { stream } = scriptedStream({}, { maxHeldBytes: 0 })
    const result = outcome(stream.renegotiate())
    await once(stream, 'renegotiating')
    stream.write('a')
    t.match(await result, { code: OVERFLOW })
  })
})

t.test('maxInboundBytes limits the bytes that are read ahead', async (t) => {
  t.test('a handshake is completed behind unread data of fewer than maxInboundBytes', async (t) => {
    const { stream, transport } = scriptedStream({ reads: false }, { readableHighWaterMark: 1, maxInboundBytes: 4 })
    const renegotiated = stream.renegotiate()
    transport.peerSends('ab')
    await turn()
    t.equal(transport.flowing, true)
    transport.peerSends('c')
    transport.peerFinishes()
    t.match(await renegotiated, { inboundBytes: 3 })
    t.equal(transport.flowing, false, 'backpressure applies again')
    t.equal(stream.read()?.toString(), 'abc')
  })

  t.test('reading ahead stops at maxInboundBytes, and continues when the application reads', async (t) => {
    const { stream, transport } = scriptedStream({ reads: false }, { readableHighWaterMark: 1, maxInboundBytes: 4 })
    const renegotiated = stream.renegotiate()
    transport.peerSends('abcd')
    transport.peerSends('e')
    transport.peerFinishes()
    await turn()
    t.equal(transport.flowing, false)
    t.equal(stream.state, 'handshaking')
    t.equal(stream.read()?.toString(), 'abcd')
    t.match(await renegotiated, { inboundBytes: 5 })
    t.equal(stream.read()?.toString(), 'e')
  })
})

t.test('a renegotiation does not change whether the application has paused the stream', async (t) => {
  const { stream, transport, received } = scriptedStream()
  stream.pause()
  const renegotiated = stream.renegotiate()
  transport.peerSends('read ahead')
  transport.peerFinishes()
  await renegotiated
  await turn()
  t.equal(stream.isPaused(), true)
  t.equal(received(), '')
  stream.resume()
  await turn()
  t.equal(received(), 'read ahead')
})

t.test('setEncoding() works, even if a renegotiation cuts a character in two', async (t) => {
  const { stream, transport } = scriptedStream({ reads: false })
  stream.setEncoding('utf8')
  const euro = Buffer.from('€')
  const whole = text(stream)
  transport.peerSends(euro.subarray(0, 1))
  void outcome(stream.renegotiate())
  transport.peerSends(euro.subarray(1))
  transport.peerFinishes()
  transport.peerEnds()
  stream.end()
  t.equal(await whole, '€')
})

t.test('the stream ends and closes like any Duplex', async (t) => {
  t.test('when both sides have ended, the stream emits close after end and finish', async (t) => {
    const { stream, transport, events } = scriptedStream()
    transport.peerEnds()
    await turn()
    t.same(events, ['end'])
    stream.end()
    await turn()
    t.same(events, ['end', 'finish', 'close'])
    t.equal(transport.destroyed, true)
    t.equal(stream.state, 'closed')
  })

  t.test('after end(), data of the peer can still be read', async (t) => {
    const { stream, transport, events, received } = scriptedStream()
    stream.end()
    await turn()
    t.same(events, ['finish'])
    transport.peerSends('still here')
    t.equal(received(), 'still here')
    transport.peerEnds()
    await turn()
    t.same(events, ['finish', 'end', 'close'])
  })

  t.test("over a transport whose writable side has ended, the stream's writable side has ended, too", async (t) => {
    const { stream, transport, events, received } = scriptedStream({ ended: true })
    t.equal(stream.writableEnded, true)
    t.match(await outcome(stream.renegotiate()), { code: 'ERR_RENEGOTIATION_CLOSED' })
    transport.peerSends('still here')
    transport.peerEnds()
    await turn()
    t.equal(received(), 'still here')
    t.same(events, ['finish', 'end', 'close'])
    t.same(transport.offers, [])
  })

  t.test('with allowHalfOpen, the stream stays writable after the peer has ended', async (t) => {
    const { stream, transport, events } = scriptedStream({ allowHalfOpen: true })
    transport.peerEnds()
    await turn()
    stream.write('still here')
    await turn()
    t.equal(transport.taken.toString(), 'still here')
    t.same(events, ['end'])
  })

  t.test('without allowHalfOpen, the stream ends after the peer, once all queued writes are sent', async (t) => {
    const { stream, transport, events } = scriptedStream({ allowHalfOpen: false, takes: 'when told' })
    stream.write('in flight')
    stream.write(' and queued')
    transport.peerEnds()
    await turn()
    t.equal(stream.writableEnded, true)
    await transport.takeAll()
    t.equal(transport.taken.toString(), 'in flight and queued')
    t.same(events, ['end', 'finish', 'close'])
  })

  t.test('the transport is ended after everything written was taken', async (t) => {
    const { stream, transport } = scriptedStream({ takes: 'when told' })
    stream.write('a')
    stream.end('b')
    transport.take()
    await turn()
    t.equal(transport.ended, false)
    await transport.takeAll()
    t.equal(transport.ended, true)
    t.equal(transport.taken.toString(), 'ab')
  })

  t.test('finish is emitted when the transport has sent its end', async (t) => {
    const { stream, transport, events } = scriptedStream({ ends: 'when told' })
    stream.end()
    await turn()
    t.same(events, [])
    transport.endDone()
    await turn()
    t.same(events, ['finish'])
  })

  t.test('a failed end of the transport is an error of the stream', async (t) => {
    const { stream, transport, events } = scriptedStream({ ends: 'when told' })
    stream.end()
    await turn()
    transport.endDone(failure('EPIPE'))
    await turn()
    t.same(events, ['EPIPE', 'close'])
  })

  t.test('if the transport closes after both sides ended, close waits until all data is read', async (t) => {
    const { stream, transport, events } = scriptedStream({ reads: false })
    stream.read(0)
    transport.peerSends('last words')
    transport.peerEnds()
    stream.end()
    await turn()
    transport.closes()
    await turn()
    t.equal(stream.destroyed, false)
    t.equal(await text(stream), 'last words')
    await turn()
    t.same(events, ['finish', 'end', 'close'])
    t.equal(transport.destroyed, false, 'the transport is not destroyed, because it has closed by itself')
  })

  t.test('if the transport closes before both sides ended, the stream is destroyed', async (t) => {
    const { stream, transport, events } = scriptedStream()
    transport.closes()
    await turn()
    t.same(events, ['close'])
    t.equal(stream.destroyed, true)
    t.equal(transport.destroyed, false)
  })

  t.test('destroy() emits close when the transport has closed', async (t) => {
    for (const destroys of ['at once', 'on the next tick', 'when told'] as const) {
      const { stream, transport, events } = scriptedStream({ destroys })
      stream.destroy()
      await turn()
      if (destroys === 'when told') {
        t.same(events, [])
        transport.closes()
        await turn()
      }
      t.same(events, ['close'])
    }
  })
})

t.test('errors of the transport destroy the stream', async (t) => {
  t.test('an error of the connection is emitted unchanged', async (t) => {
    const { stream, transport, errors, events } = scriptedStream()
    const reset = failure('ECONNRESET')
    transport.breaks(reset)
    await turn()
    t.equal(errors[0], reset)
    t.same(events, ['ECONNRESET', 'close'])
    t.equal(stream.errored, reset)
  })

  t.test('an error after destroy() is ignored', async (t) => {
    const { stream, transport, events } = scriptedStream({ destroys: 'when told' })
    stream.destroy()
    transport.breaks(new Error('too late'))
    transport.closes()
    await turn()
    t.same(events, ['close'])
  })

  t.test('an error without a listener is thrown as an uncaught exception, as with any stream', async (t) => {
    const transport = new ScriptedTransport()
    new RenegotiationDuplex(transport)
    const thrown = new Promise((resolve) => process.once('uncaughtException', resolve))
    // The listeners of tap would fail the test.
    const listeners = process.listeners('uncaughtException').slice(0, -1)
    for (const listener of listeners) process.off('uncaughtException', listener)
    t.teardown(() => listeners.map((listener) => process.on('uncaughtException', listener)))
    const reset = new Error('reset')
    transport.breaks(reset)
    t.equal(await thrown, reset)
  })

  t.test('a transport that claims more bytes than it was offered destroys the stream', async (t) => {
    const { stream, transport, events } = scriptedStream({ takes: 'when told' })
    stream.write('abc')
    stream.write('def')
    transport.claims(4)
    await turn()
    t.match(stream.errored, { name: 'RangeError' })
    t.same(
      stream.unsent().map(String),
      ['def'],
      'the write in flight is not returned, because nobody knows whether it was sent',
    )
    t.equal(events.at(-1), 'close')
  })
})

t.test('destroy() in any state leaves the transport alone from then on', async (t) => {
  for (const phase of ['open', 'draining', 'handshaking', 'flushing'] as const) {
    const { stream, transport } = scriptedStream({ takes: 'when told' })
    if (phase === 'draining') {
      stream.write('in flight')
      void outcome(stream.renegotiate())
    } else if (phase !== 'open') {
      transport.peerBegins()
      if (phase === 'flushing') transport.peerFinishes()
    }
    stream.write('more')
    t.equal(stream.state, phase)
    stream.destroy()
    const { offers } = transport
    const offered = offers.length
    if (transport.inFlight !== undefined) transport.take()
    await turn()
    await turn()
    t.equal(offers.length, offered)
    t.same(transport.violations, [])
  }
})

t.test("the stream works with Node's stream utilities", async (t) => {
  /** A transport that sends back all that is written. */
  class Echo extends GatheringTransport {
    constructor() {
      super({ allowHalfOpen: false })
      this.onWrite = (bytes) => process.nextTick(() => this.peerSends(bytes))
    }
    override end(done: () => void) {
      super.end(done)
      process.nextTick(() => this.peerEnds())
    }
  }
  const chunks = Array.from({ length: 100 }, (_, index) => `chunk ${index}\n`)

  t.test('pipeline() works with the stream in the middle, during renegotiations', async (t) => {
    const transport = new Echo()
    const stream = new RenegotiationDuplex(transport, { highWaterMark: 16 })
    transport.onRenegotiate = () => setImmediate(() => transport.peerFinishes())
    const sink = new PassThrough()
    const seen = text(sink)
    const reports = [1, 2, 3].map(() => stream.renegotiate())
    await pipeline(Readable.from(chunks), stream, sink)
    t.equal(await seen, chunks.join(''))
    t.equal((await Promise.all(reports)).length, 3)
  })

  t.test('pipeline() works with the stream as its first and as its last part', async (t) => {
    const stream = new RenegotiationDuplex(new Echo(), { highWaterMark: 16 })
    const seen: Buffer[] = []
    const sink = new Writable({
      write(chunk, _encoding, done) {
        seen.push(chunk)
        done()
      },
    })
    await Promise.all([pipeline(Readable.from(chunks), stream), pipeline(stream, sink)])
    t.equal(Buffer.concat(seen).toString(), chunks.join(''))
  })

  t.test('pipeline() passes on an error of the stream', async (t) => {
    const { stream, transport } = scriptedStream({ reads: false })
    const source = new PassThrough()
    const done = outcome(pipeline(source, stream, new PassThrough()))
    const reset = new Error('reset')
    transport.breaks(reset)
    t.equal(await done, reset)
    t.equal(source.destroyed, true)
  })

  t.test('finished() reports the end of the stream, and its error', async (t) => {
    const good = scriptedStream()
    const goodDone = new Promise((resolve) => finished(good.stream, resolve))
    good.transport.peerEnds()
    good.stream.end()
    t.equal(await goodDone, undefined)
    const bad = scriptedStream()
    const badDone = new Promise((resolve) => finished(bad.stream, resolve))
    const mine = new Error('mine')
    bad.stream.destroy(mine)
    t.equal(await badDone, mine)
  })

  t.test('the stream can be iterated, during a renegotiation', async (t) => {
    const { stream, transport } = scriptedStream({ reads: false })
    let seen = ''
    const iterated = (async () => {
      for await (const chunk of stream) seen += chunk
    })()
    transport.peerSends('a')
    void outcome(stream.renegotiate())
    transport.peerSends('b')
    transport.peerFinishes()
    transport.peerSends('c')
    transport.peerEnds()
    await iterated
    t.equal(seen, 'abc')
  })

  t.test('leaving an iteration destroys the stream', async (t) => {
    const { stream, transport } = scriptedStream({ reads: false })
    process.nextTick(() => transport.peerSends('a'))
    for await (const _ of stream) break
    await turn()
    t.equal(stream.state, 'closed')
  })

  t.test('an iteration throws the error of the stream', async (t) => {
    const { stream, transport } = scriptedStream({ reads: false })
    process.nextTick(() => transport.breaks(new Error('reset')))
    await t.rejects(stream.toArray(), { message: 'reset' })
  })

  t.test('addAbortSignal() destroys the stream, and rejects a renegotiation in progress', async (t) => {
    const { stream, events } = scriptedStream()
    const controller = new AbortController()
    addAbortSignal(controller.signal, stream)
    const result = outcome(stream.renegotiate())
    await once(stream, 'renegotiating')
    controller.abort()
    t.match(await result, { name: 'AbortError' })
    await turn()
    t.same(events.slice(-2), ['ABORT_ERR', 'close'])
  })

  t.test('once() can wait for a renegotiated event', async (t) => {
    const { stream, transport } = scriptedStream()
    setImmediate(() => {
      transport.peerBegins()
      transport.peerFinishes()
    })
    const [{ origin }] = await once(stream, 'renegotiated')
    t.equal(origin, 'peer')
  })
})

for (const [what, write] of [
  ['one write', (stream) => stream.write('A')],
  [
    'corked writes',
    (stream) => {
      stream.cork()
      for (const text of 'AB') stream.write(text)
      stream.uncork()
    },
  ],
  [
    'corked writes and the end',
    (stream) => {
      stream.cork()
      for (const text of 'AB') stream.write(text)
      stream.end()
    },
  ],
] satisfies [string, (stream: RenegotiationDuplex) => void][]) {
  t.test(`a data listener may write while the transport takes ${what}`, async (t) => {
    const { stream, transport, events } = scriptedStream({ resumes: 'at once' })
    const done = sinon.spy()
    let answered = false
    transport.onWrite = () => {
      if (!answered) transport.peerSends('question')
    }
    stream.on('data', () => {
      answered = true
      if (!stream.writableEnded) stream.write('Z', done)
    })
    write(stream)
    for (let i = 0; i < 5; i++) await turn()
    if (!stream.writableEnded) stream.end()
    for (let i = 0; i < 5; i++) await turn()
    t.match(transport.taken.toString(), /^AB?Z?$/)
    t.equal(transport.taken.includes('Z'), done.callCount === 1)
    t.equal(stream.writableLength, 0)
    t.equal(events.at(-1), 'finish')
  })
}

t.test('callbacks and drain of writes that were taken come before our handshake begins', async (t) => {
  const { stream, transport } = scriptedStream({ takes: 'at once' })
  const done = sinon.spy()
  const drained = sinon.spy()
  stream.on('drain', drained)
  stream.cork()
  stream.write('abc', done)
  stream.write(Buffer.alloc(stream.writableHighWaterMark), done)
  stream.uncork()
  const renegotiated = stream.renegotiate()
  while (stream.state !== 'handshaking') await turn()
  t.equal(done.callCount, 2)
  t.equal(drained.callCount, 1)
  t.equal(stream.writableLength, 0)
  transport.peerFinishes()
  await renegotiated
})

t.test('a write callback is called after write() has returned, even if the transport is synchronous', async (t) => {
  for (const text of ['', 'abc']) {
    const { stream } = scriptedStream({ takes: 'at once' })
    const done = sinon.spy()
    stream.write(text, done)
    t.equal(done.callCount, 0)
    await turn()
    await turn()
    t.equal(done.callCount, 1)
  }
})

t.test('a value that is not a Transport throws a TypeError that names the factories', (t) => {
  for (const bad of [undefined, null, new PassThrough()]) {
    t.throws(() => new RenegotiationDuplex(bad as never), {
      name: 'TypeError',
      message: /transport must be a Transport \(tlsTransport\(\) and duplexTransport\(\)/,
    })
  }
  t.end()
})
