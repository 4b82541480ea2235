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

t.test('it is a Duplex of readable-stream, over the transport that it tells', async (t) => {
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

t.test('a bad option throws before the transport is touched', async (t) => {
  const transport = new ScriptedTransport()
  const attach = sinon.spy(transport, 'attach')
  t.throws(() => new RenegotiationDuplex(transport, { maxHeldBytes: -1 }), {
    name: 'RangeError',
    message: /maxHeldBytes/,
  })
  t.equal(attach.callCount, 0)
})

t.test('a transport that has a stream already throws', async (t) => {
  const transport = new ScriptedTransport()
  new RenegotiationDuplex(transport)
  t.throws(() => new RenegotiationDuplex(transport), /attached twice/)
})

t.test('the high water marks are those of the options', async (t) => {
  const { stream } = scriptedStream({}, { readableHighWaterMark: 1, writableHighWaterMark: 2 })
  t.equal(stream.readableHighWaterMark, 1)
  t.equal(stream.writableHighWaterMark, 2)
})

t.test('what is written arrives, what arrives is read', async (t) => {
  const { stream, transport, received } = scriptedStream()
  stream.write('to the peer')
  transport.peerSends('to us')
  t.equal(transport.taken.toString(), 'to the peer')
  t.equal(received(), 'to us')
})

t.test('strings are written in their encoding, and so are Uint8Arrays', async (t) => {
  const { stream, transport } = scriptedStream()
  stream.write('c3a9', 'hex')
  await turn()
  stream.write('è')
  await turn()
  stream.write(new Uint8Array([0xc3, 0xaa]))
  await turn()
  t.equal(transport.taken.toString(), 'éèê')
})

t.test('backpressure', async (t) => {
  t.test('write() gives false at the high water mark, and drain comes when all is on its way', async (t) => {
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

  t.test(
    'what is held while a handshake runs stays in the stream: write() gives false, drain comes after it',
    async (t) => {
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
    },
  )

  t.test('heldBytes, bytesInFlight and what was taken add up to what was written', async (t) => {
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

  t.test('an application that does not read stops the transport', async (t) => {
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

t.test('a huge write', async (t) => {
  t.test('is cut into slices of its own memory', async (t) => {
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

  t.test('does not delay a renegotiation by more than a slice', async (t) => {
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
  /** Writes `count` chunks, and tells whose callbacks came, and with which code. */
  function write(stream: RenegotiationDuplex, count: number) {
    const calls: string[] = []
    for (let index = 0; index < count; index++) {
      stream.write(`${index}`, (error) => calls.push(`${index} ${(error as NodeJS.ErrnoException)?.code ?? 'ok'}`))
    }
    return calls
  }
  const all = (count: number, how: string) => Array.from({ length: count }, (_, index) => `${index} ${how}`)

  t.test('when all goes well', async (t) => {
    const { stream } = scriptedStream()
    const calls = write(stream, 3)
    await turn()
    await turn()
    t.same(calls, all(3, 'ok'))
  })

  t.test('through a handshake', async (t) => {
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

  t.test('corked', async (t) => {
    const { stream, transport } = scriptedStream()
    stream.cork()
    const calls = write(stream, 3)
    await turn()
    t.same(calls, [])
    stream.uncork()
    t.equal(transport.offers.length, 1, 'gathered')
    await turn()
    t.same(calls, all(3, 'ok'))
  })

  t.test('empty writes too', async (t) => {
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
    t.test(`destroyed ${how}`, async (t) => {
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
      t.equal(callsBeforeClose, 4, 'and close comes last')
    })

    t.test(`destroyed with an error ${how}`, async (t) => {
      const { stream, transport, events } = scriptedStream({ takes: 'when told' })
      prepare(stream, transport)
      const calls = write(stream, 4)
      stream.destroy(failure('EMINE'))
      await turn()
      t.same(calls, all(4, 'EMINE'))
      t.same(events.slice(-2), ['EMINE', 'close'])
    })
  }

  t.test('where a write fails', async (t) => {
    const { stream, transport, events } = scriptedStream({ takes: 'when told' })
    const calls = write(stream, 3)
    transport.failWrite(failure('EPIPE'))
    await turn()
    t.same(calls, all(3, 'EPIPE'))
    t.same(events, ['EPIPE', 'close'])
  })

  for (const count of [1, 2, 3]) {
    t.test(`where a write fails before it returns, one of ${count} that were corked`, async (t) => {
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

  t.test('of a write after destroy()', async (t) => {
    const { stream } = scriptedStream()
    stream.destroy()
    const calls = write(stream, 2)
    await turn()
    t.same(calls, all(2, 'ERR_STREAM_DESTROYED'))
  })

  t.test('and the callback of end()', async (t) => {
    const { stream, transport } = scriptedStream()
    const ended = sinon.spy()
    stream.end('last words', ended)
    await turn()
    await turn()
    t.equal(ended.callCount, 1)
    t.equal(transport.taken.toString(), 'last words')
  })
})

t.test('unsent()', async (t) => {
  const left = (stream: RenegotiationDuplex) => Buffer.concat(stream.unsent()).toString()

  t.test('is empty before the stream is destroyed', async (t) => {
    const { stream } = scriptedStream({ takes: 'when told' })
    stream.write('abc')
    stream.write('def')
    t.same(stream.unsent(), [])
  })

  t.test('gives what never reached the transport, in order, and as the memory that was written', async (t) => {
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

  t.test('does not give what was in flight', async (t) => {
    const { stream } = scriptedStream({ takes: 'when told' })
    stream.write('in flight')
    stream.write('not yet')
    stream.destroy()
    t.equal(left(stream), 'not yet')
  })

  t.test('does not give what was given to the transport when that failed', async (t) => {
    const { stream, transport } = scriptedStream({ takes: 'when told' })
    stream.write('in flight')
    stream.write('not yet')
    transport.failWrite(new Error('reset'))
    t.equal(left(stream), 'not yet')
  })

  t.test('gives what was held, and what was corked', async (t) => {
    const { stream, transport } = scriptedStream()
    transport.peerBegins()
    stream.write('held, ')
    stream.write('queued, ')
    stream.cork()
    stream.write('corked')
    stream.destroy()
    t.equal(left(stream), 'held, queued, corked')
  })

  t.test('gives what was held when the connection fails', async (t) => {
    const { stream, transport } = scriptedStream()
    transport.peerBegins()
    stream.write('held, ')
    stream.write('queued')
    transport.breaks(new Error('reset'))
    t.equal(left(stream), 'held, queued')
  })

  for (const count of [1, 2]) {
    t.test(`gives nothing twice where the transport fails within write(), ${count} corked`, async (t) => {
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

t.test('maxHeldBytes', async (t) => {
  const OVERFLOW = 'ERR_RENEGOTIATION_HOLD_OVERFLOW'

  t.test('may be held, and not a byte more', async (t) => {
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

  t.test('counts corked writes, and the last words of end()', async (t) => {
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

  t.test('does not count what is in flight', async (t) => {
    const { stream } = scriptedStream({ takes: 'when told' }, { maxHeldBytes: 4 })
    stream.write('in flight')
    void outcome(stream.renegotiate())
    stream.write('abcd')
    t.equal(stream.state, 'draining')
    stream.write('e')
    t.equal(stream.state, 'closed')
  })

  t.test('does not bind while open, nor when closed', async (t) => {
    const { stream, events } = scriptedStream({ takes: 'when told' }, { maxHeldBytes: 4 })
    stream.write('in flight')
    stream.write('much more than four')
    t.equal(stream.state, 'open')
    stream.destroy()
    stream.write('and more')
    await turn()
    t.same(events, ['close'])
  })

  t.test('is the end of a renegotiation of ours', async (t) => {
    const { stream } = scriptedStream({}, { maxHeldBytes: 0 })
    const result = outcome(stream.renegotiate())
    await once(stream, 'renegotiating')
    stream.write('a')
    t.match(await result, { code: OVERFLOW })
  })
})

t.test('maxInboundBytes', async (t) => {
  t.test('are read while a handshake runs, whether the application reads or not', async (t) => {
    const { stream, transport } = scriptedStream({ reads: false }, { readableHighWaterMark: 1, maxInboundBytes: 4 })
    const renegotiated = stream.renegotiate()
    transport.peerSends('ab')
    await turn()
    t.equal(transport.flowing, true)
    transport.peerSends('c')
    transport.peerFinishes()
    t.match(await renegotiated, { inboundBytes: 3 })
    t.equal(transport.flowing, false, 'and then backpressure again')
    t.equal(stream.read()?.toString(), 'abc')
  })

  t.test('are the most that is read ahead', async (t) => {
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

t.test("the application's pause() is after a renegotiation what it was before", async (t) => {
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

t.test('setEncoding() is heeded, also where a character is cut in two', async (t) => {
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

t.test('the end', async (t) => {
  t.test('of both sides closes the stream: end and finish, then close', async (t) => {
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

  t.test('of ours leaves the other side open', async (t) => {
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

  t.test('of ours that was before the stream is its own from the beginning', async (t) => {
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

  t.test("of the peer's leaves ours open where half-open is allowed", async (t) => {
    const { stream, transport, events } = scriptedStream({ allowHalfOpen: true })
    transport.peerEnds()
    await turn()
    stream.write('still here')
    await turn()
    t.equal(transport.taken.toString(), 'still here')
    t.same(events, ['end'])
  })

  t.test("of the peer's is ours where half-open is not allowed, after all that is queued", async (t) => {
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

  t.test('comes after all that was written', async (t) => {
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

  t.test('finish waits for the transport', async (t) => {
    const { stream, transport, events } = scriptedStream({ ends: 'when told' })
    stream.end()
    await turn()
    t.same(events, [])
    transport.endDone()
    await turn()
    t.same(events, ['finish'])
  })

  t.test('that fails is an error', async (t) => {
    const { stream, transport, events } = scriptedStream({ ends: 'when told' })
    stream.end()
    await turn()
    transport.endDone(failure('EPIPE'))
    await turn()
    t.same(events, ['EPIPE', 'close'])
  })

  t.test('of all, told by the transport after both sides ended, waits for the application to read', async (t) => {
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
    t.equal(transport.destroyed, false, 'the transport was gone already')
  })

  t.test('of all, told by the transport before both sides ended, destroys the stream', async (t) => {
    const { stream, transport, events } = scriptedStream()
    transport.closes()
    await turn()
    t.same(events, ['close'])
    t.equal(stream.destroyed, true)
    t.equal(transport.destroyed, false)
  })

  t.test('of all by destroy() waits for the transport', async (t) => {
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

t.test('errors', async (t) => {
  t.test('of the connection come as they are', async (t) => {
    const { stream, transport, errors, events } = scriptedStream()
    const reset = failure('ECONNRESET')
    transport.breaks(reset)
    await turn()
    t.equal(errors[0], reset)
    t.same(events, ['ECONNRESET', 'close'])
    t.equal(stream.errored, reset)
  })

  t.test('that come after the first are ignored', async (t) => {
    const { stream, transport, events } = scriptedStream({ destroys: 'when told' })
    stream.destroy()
    transport.breaks(new Error('too late'))
    transport.closes()
    await turn()
    t.same(events, ['close'])
  })

  t.test('that nobody listens for are thrown, as with any stream', async (t) => {
    const transport = new ScriptedTransport()
    new RenegotiationDuplex(transport)
    const thrown = new Promise((resolve) => process.once('uncaughtException', resolve))
    // What tap has put there would fail the test.
    const listeners = process.listeners('uncaughtException').slice(0, -1)
    for (const listener of listeners) process.off('uncaughtException', listener)
    t.teardown(() => listeners.map((listener) => process.on('uncaughtException', listener)))
    const reset = new Error('reset')
    transport.breaks(reset)
    t.equal(await thrown, reset)
  })

  t.test('of a transport that says it took more than it was offered end the stream', async (t) => {
    const { stream, transport, events } = scriptedStream({ takes: 'when told' })
    stream.write('abc')
    stream.write('def')
    transport.claims(4)
    await turn()
    t.match(stream.errored, { name: 'RangeError' })
    t.same(stream.unsent().map(String), ['def'], 'what was in flight may be anywhere')
    t.equal(events.at(-1), 'close')
  })
})

t.test('whatever was going on, nothing is asked of a transport after destroy()', async (t) => {
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

t.test("as part of the world of Node's streams", async (t) => {
  /** Takes all and sends it back. */
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

  t.test('it may stand in the middle of a pipeline, renegotiating', async (t) => {
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

  t.test('it may stand at the ends of a pipeline', async (t) => {
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

  t.test('an error goes through a pipeline', async (t) => {
    const { stream, transport } = scriptedStream({ reads: false })
    const source = new PassThrough()
    const done = outcome(pipeline(source, stream, new PassThrough()))
    const reset = new Error('reset')
    transport.breaks(reset)
    t.equal(await done, reset)
    t.equal(source.destroyed, true)
  })

  t.test('finished() tells of the end, and of an error', async (t) => {
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

  t.test('it can be iterated over', async (t) => {
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

  t.test('an iteration that is left destroys it', async (t) => {
    const { stream, transport } = scriptedStream({ reads: false })
    process.nextTick(() => transport.peerSends('a'))
    for await (const _ of stream) break
    await turn()
    t.equal(stream.state, 'closed')
  })

  t.test('an iteration throws its error', async (t) => {
    const { stream, transport } = scriptedStream({ reads: false })
    process.nextTick(() => transport.breaks(new Error('reset')))
    await t.rejects(stream.toArray(), { message: 'reset' })
  })

  t.test('addAbortSignal() destroys it, and a renegotiation on its way', async (t) => {
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

  t.test('it can be awaited with once()', async (t) => {
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
  t.test(`${what}: an application that is told of data within it may write`, async (t) => {
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

t.test(
  'of what the transport has taken, the application hears before a handshake that it begins is over',
  async (t) => {
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
  },
)

t.test('a callback comes after its write has returned, whatever the transport does', async (t) => {
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

t.test('what is no transport is told so, and how to make one', (t) => {
  for (const bad of [undefined, null, new PassThrough()]) {
    t.throws(() => new RenegotiationDuplex(bad as never), {
      name: 'TypeError',
      message: /transport must be a Transport \(tlsTransport\(\) and duplexTransport\(\)/,
    })
  }
  t.end()
})
