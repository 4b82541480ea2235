import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import sinon from 'sinon'
import t, { type Test } from 'tap'
import { engineTransport, type RecordType, RenegotiationDuplex, type TLSEngine, type Want } from '../../src/index.ts'
import { everyLibSSL } from '../fixtures/libssl.ts'
import { broken, type Call, enginePair, type TracedOptions } from '../fixtures/openssl-engine.ts'
import { Random, SEED } from '../fixtures/random.ts'
import { closed, nextError, rejection } from '../fixtures/settled.ts'
import { Tally } from '../fixtures/tally.ts'
import type { WireOptions } from '../fixtures/wire.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

function streams(t: Test, options: TracedOptions & WireOptions = {}) {
  const breaches: string[] = []
  const trace = (call: Call) => {
    const breach = broken(call)
    if (breach !== undefined) breaches.push(breach)
  }
  const { client, server, wire } = enginePair({ ...options, trace })
  const pair = {
    client: new RenegotiationDuplex(engineTransport(client, { allowHalfOpen: true })),
    server: new RenegotiationDuplex(engineTransport(server, { allowHalfOpen: true })),
    breaches,
    wire,
  }
  t.teardown(() => {
    pair.client.destroy()
    pair.server.destroy()
  })
  return pair
}

type Pair = ReturnType<typeof streams>

/** Both ends write without a pause, and each renegotiates `times` times at random moments. Then both end. */
async function exchange(t: Test, pair: Pair, times: { client: number; server: number }): Promise<void> {
  const sums = {
    client: { sent: new Tally(), received: new Tally() },
    server: { sent: new Tally(), received: new Tally() },
  }
  let toGo = times.client + times.server
  const ends = (['client', 'server'] as const).map(async (name, index) => {
    const random = new Random(SEED + index)
    const stream = pair[name]
    const { sent, received } = sums[name]
    const ended = closed(stream)
    stream.on('error', (error) => t.fail(`${name}: ${error.message}`, { error }))
    stream.on('data', (chunk: Buffer) => received.add(chunk))
    const flood = async () => {
      while (toGo > 0 && !stream.destroyed) {
        const chunk = random.chunk(64 * 1024)
        sent.add(chunk)
        if (!stream.write(chunk)) await once(stream, 'drain')
      }
      stream.end()
    }
    const renegotiate = async () => {
      for (let i = 0; i < times[name]; i++) {
        const report = await stream.renegotiate()
        if (!report.verified) t.fail('the keys did not change')
        toGo--
        const next = received.bytes + random.below(20_000)
        while (received.bytes < next && toGo > 0) await once(stream, 'data')
      }
    }
    await Promise.all([flood(), renegotiate(), ended])
  })
  await Promise.all(ends)
  t.same(sums.client.received.sum(), sums.server.sent.sum(), 'all bytes of the server, in order')
  t.same(sums.server.received.sum(), sums.client.sent.sum(), 'all bytes of the client, in order')
  t.same(pair.breaches, [], 'no rule of the engine was broken')
  t.comment(
    `${sums.client.sent.bytes + sums.server.sent.bytes} bytes, ${pair.client.counters.renegotiations} handshakes`,
  )
}

for (const { name, libssl, skip } of everyLibSSL) {
  for (const partialWrites of [false, true]) {
    const how = `${name}, ${partialWrites ? 'with' : 'without'} partial writes`
    for (const [who, times] of [
      ['the client', { client: 500, server: 0 }],
      ['the server', { client: 0, server: 500 }],
      ['both', { client: 250, server: 250 }],
    ] as const) {
      t.test(
        `500 renegotiations by ${who} over full 4 KiB buffers and a slow wire lose no byte, on ${how}`,
        { skip },
        async (t) => {
          if (libssl === undefined) return
          await exchange(
            t,
            streams(t, { libssl, partialWrites, bufferSize: 4096, portion: 1500, capacity: 4096 }),
            times,
          )
        },
      )
    }
  }
}

/** An engine whose test sets what read() and write() return next. */
class ScriptedEngine implements TLSEngine {
  onReady: (() => void) | null = null
  handshaking = false
  reads: (string | Error)[] = []
  writes: (number | Want | Error)[] = []
  ends: (true | Want)[] = []
  offered: Uint8Array[] = []
  destroyed = 0

  read(into: Uint8Array): number | Want {
    const next = this.reads.shift()
    if (next === undefined) return 'want-read'
    if (next instanceof Error) throw next
    return Buffer.from(into.buffer, into.byteOffset, into.length).write(next)
  }
  write(from: Uint8Array): number | Want {
    this.offered.push(from)
    const next = this.writes.shift() ?? from.length
    if (next instanceof Error) throw next
    return next
  }
  renegotiate(): void {
    throw new Error('not today')
  }
  end(): true | Want {
    return this.ends.shift() ?? true
  }
  destroy(): void {
    this.destroyed++
  }
}

/** A {@link ScriptedEngine} with `nextRecord`. */
class TellingEngine extends ScriptedEngine {
  nextRecord: RecordType | undefined
}

function scripted(t: Test, engine = new ScriptedEngine()) {
  const stream = new RenegotiationDuplex(engineTransport(engine))
  t.teardown(() => stream.destroy())
  return { engine, stream }
}

t.test('engineTransport() throws if its argument is no engine, or an engine that has a transport', (t) => {
  t.throws(() => engineTransport({} as TLSEngine), { name: 'TypeError', message: /read\(\)/ })
  const engineWithout = Object.assign(new ScriptedEngine(), { handshaking: undefined })
  t.throws(() => engineTransport(engineWithout as never), { message: /handshaking must be a boolean, got undefined/ })
  const { engine } = scripted(t)
  t.throws(() => new RenegotiationDuplex(engineTransport(engine)), { name: 'TypeError', message: /already/ })
  t.end()
})

t.test('without nextRecord, a pending write is retried with the same object before anything is read', async (t) => {
  const { engine, stream } = scripted(t)
  stream.resume()
  await turn()
  engine.writes = ['want-write', 'want-read', 2]
  const data = t.captureFn(() => {})
  stream.on('data', data)
  const written = new Promise((resolve) => stream.write('abc', resolve))
  engine.reads = ['in']
  engine.onReady?.()
  t.same(data.calls, [], 'nothing is read during the pending write')
  engine.onReady?.()
  await written
  t.equal(engine.offered[1], engine.offered[0])
  t.equal(engine.offered[2], engine.offered[0])
  t.equal(String(engine.offered[3]), 'c', 'the rest is offered next')
  t.equal(engine.offered[3]?.buffer, engine.offered[0]?.buffer, 'the rest is a view of the same memory')
  while (data.calls.length === 0) await turn()
})

t.test('without nextRecord, a write that is pending for drainTimeout no longer stops reading', async (t) => {
  for (const [options, milliseconds] of [
    [{}, 30_000],
    [{ drainTimeout: 500 }, 500],
  ] as const) {
    const engine = new ScriptedEngine()
    const stream = new RenegotiationDuplex(engineTransport(engine, options))
    const data = t.captureFn(() => {})
    stream.on('data', data)
    await turn()
    const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    engine.writes = ['want-write', 'want-write', 'want-write', 2, 'want-write', 'want-write']
    stream.write('abc')
    engine.reads = ['in']
    clock.tick(milliseconds - 1)
    engine.onReady?.()
    t.same(data.calls, [])
    clock.tick(1)
    t.equal(data.calls.length, 1)
    await turn()
    engine.reads = ['more']
    engine.onReady?.()
    t.equal(data.calls.length, 2, 'reading goes on from then on')
    await turn()
    t.equal(String(engine.offered.at(-1)), 'c', 'reading waits again for the next write')
    engine.reads = ['again']
    engine.onReady?.()
    t.equal(data.calls.length, 2)
    stream.destroy()
    t.equal(clock.countTimers(), 0)
    clock.restore()
  }
})

t.test('engineTransport() checks its options', (t) => {
  const engine = new ScriptedEngine()
  t.throws(() => engineTransport(engine, { drainTimeout: -1 }), { name: 'RangeError', message: /drainTimeout.*-1/ })
  t.throws(() => engineTransport(engine, { allowHalfOpen: 1 } as never), {
    name: 'TypeError',
    message: /allowHalfOpen must be a boolean, got 1/,
  })
  t.equal(engineTransport(engine, { allowHalfOpen: true }).allowHalfOpen, true)
  t.end()
})

t.test('during a pending write, data and alerts are read, but no handshake records', async (t) => {
  const engine = new TellingEngine()
  const { stream } = scripted(t, engine)
  const data = t.captureFn((_chunk: Buffer) => {})
  stream.on('data', data)
  await turn()
  engine.writes = ['want-write', 'want-write', 'want-write', 'want-write']
  stream.write('abc')
  for (const [record, read] of [
    ['handshake', 0],
    ['data', 1],
    ['alert', 2],
  ] as const) {
    engine.nextRecord = record
    engine.reads = ['in']
    engine.onReady?.()
    await turn()
    t.equal(data.calls.length, read, record)
    engine.reads = []
  }
})

t.test('after data was read, a write finishes only when the ticks that a listener has queued have run', async (t) => {
  const engine = new TellingEngine()
  const { stream } = scripted(t, engine)
  await turn()
  engine.writes = ['want-write', 'want-write']
  const order: string[] = []
  stream.on('data', () => {
    order.push('data')
    process.nextTick(() => order.push('tick'))
  })
  await turn()
  stream.write('abc', () => order.push('written'))
  engine.nextRecord = 'data'
  engine.reads = ['in']
  engine.onReady?.()
  for (let turns = 0; turns < 3; turns++) await turn()
  t.same(order, ['data', 'tick', 'written'])
  t.ok(engine.offered.length >= 3)
  t.ok(
    engine.offered.every((buffer) => buffer === engine.offered[0]),
    'the same buffer is offered each time',
  )
})

t.test('a stream that is destroyed between a read and the write after it writes nothing more', async (t) => {
  const engine = new TellingEngine()
  const { stream } = scripted(t, engine)
  await turn()
  engine.writes = ['want-write', 'want-write']
  const errors: unknown[] = []
  stream.on('data', () => process.nextTick(() => stream.destroy()))
  await turn()
  stream.write('abc', (error) => errors.push(error?.message))
  const renegotiated = stream.renegotiate()
  engine.nextRecord = 'data'
  engine.reads = ['in']
  engine.onReady?.()
  const { length } = engine.offered
  await t.rejects(renegotiated, { code: 'ERR_RENEGOTIATION_CLOSED' })
  for (let turns = 0; turns < 3; turns++) await turn()
  t.equal(engine.offered.length, length)
  t.equal(errors.length, 1, 'its callback is called once')
  t.ok(errors[0])
})

t.test('a handshake that begins in the read before the tick keeps the write back until it is complete', async (t) => {
  const engine = new TellingEngine()
  const { stream } = scripted(t, engine)
  await turn()
  engine.writes = ['want-write', 'want-write']
  stream.on('data', () => {
    engine.handshaking = true
  })
  await turn()
  const written = t.captureFn(() => {})
  stream.write('abc', written)
  engine.nextRecord = 'data'
  engine.reads = ['in']
  engine.onReady?.()
  const { length } = engine.offered
  for (let turns = 0; turns < 3; turns++) await turn()
  t.equal(stream.state, 'handshaking')
  t.equal(engine.offered.length, length, 'nothing is written in the handshake')
  engine.handshaking = false
  const renegotiated = once(stream, 'renegotiated')
  engine.onReady?.()
  await renegotiated
  for (let turns = 0; turns < 5; turns++) await turn()
  t.equal(engine.offered.length, length + 1)
  t.equal(engine.offered.at(-1), engine.offered[0], 'the same buffer is offered again')
  t.equal(written.calls.length, 1)
})

t.test('nothing is written before the first handshake is complete, nor during a later one', async (t) => {
  const engine = new ScriptedEngine()
  engine.handshaking = true
  const { stream } = scripted(t, engine)
  stream.write('early')
  await turn()
  t.same(engine.offered, [])
  engine.handshaking = false
  engine.onReady?.()
  t.equal(String(engine.offered[0]), 'early')
  engine.handshaking = true
  engine.onReady?.()
  t.equal(stream.state, 'handshaking')
  await turn()
  stream.write('late')
  await turn()
  t.equal(engine.offered.length, 1)
  engine.handshaking = false
  const [report] = await Promise.all([once(stream, 'renegotiated'), engine.onReady?.()])
  t.match(
    report,
    [{ origin: 'peer', verified: false }],
    'an engine without session() cannot prove that the keys changed',
  )
  while (engine.offered.length < 2) await turn()
})

t.test('an exception of the engine destroys the stream with that error', async (t) => {
  for (const what of ['reads', 'writes'] as const) {
    const { engine, stream } = scripted(t)
    stream.resume()
    await turn()
    const error = new Error('bad length')
    engine[what] = [error]
    const errored = new Promise((resolve) => stream.once('error', resolve))
    if (what === 'writes') stream.write('a')
    else engine.onReady?.()
    t.equal(await errored, error)
    await closed(stream)
    t.equal(engine.destroyed, 1)
    t.equal(engine.onReady, null)
  }
})

for (const [record, code] of [
  ['handshake', 'ERR_RENEGOTIATION_REFUSED'],
  ['data', 'ERR_SSL_INCONSISTENT_EXTMS'],
] as const) {
  t.test(`if the engine throws when it reads a record of type ${record}, the code is ${code}`, async (t) => {
    const engine = new TellingEngine()
    const { stream } = scripted(t, engine)
    stream.resume()
    await turn()
    const renegotiating = t.captureFn(() => {})
    stream.on('renegotiating', renegotiating)
    engine.nextRecord = record
    engine.reads = [Object.assign(new Error('inconsistent extms'), { code: 'ERR_SSL_INCONSISTENT_EXTMS' })]
    const errored = nextError(stream)
    engine.onReady?.()
    t.match(await errored, { code })
    t.equal(renegotiating.calls.length, record === 'handshake' ? 1 : 0, 'a handshake that fails at once has begun')
    await closed(stream)
    t.equal(engine.destroyed, 1)
  })
}

t.test('a handshake that fails at once and exceeds peerLimit ends the stream for the limit', async (t) => {
  const engine = new TellingEngine()
  const stream = new RenegotiationDuplex(engineTransport(engine), { peerLimit: { max: 0 } })
  stream.resume()
  await turn()
  engine.nextRecord = 'handshake'
  engine.reads = [new Error('inconsistent extms')]
  const errored = nextError(stream)
  engine.onReady?.()
  t.match(await errored, { code: 'ERR_RENEGOTIATION_LIMIT' })
  await closed(stream)
})

t.test('if the peer ends during the first handshake, pending writes fail with CLOSED', async (t) => {
  const engine = new ScriptedEngine()
  engine.handshaking = true
  const { stream } = scripted(t, engine)
  stream.resume()
  const written = new Promise((resolve) => stream.write('never', resolve))
  await turn()
  const error = nextError(stream)
  engine.reads = ['']
  engine.onReady?.()
  t.match(await error, { code: 'ERR_RENEGOTIATION_CLOSED' })
  t.match(await written, { code: 'ERR_RENEGOTIATION_CLOSED' })
  await closed(stream)
})

t.test('a write that throws leaves no timer behind', async (t) => {
  const { engine, stream } = scripted(t)
  await turn()
  const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  t.teardown(() => clock.restore())
  engine.writes = [new Error('bad length')]
  const error = nextError(stream)
  stream.write('a')
  t.match(await error, { message: 'bad length' })
  t.equal(clock.countTimers(), 0)
})

t.test('an engine that returns an invalid value destroys the stream with a RangeError', async (t) => {
  for (const [what, result] of [
    ['read', -1],
    ['read', 65_537],
    ['read', undefined],
    ['write', 'WANT_WRITE'],
    ['write', 2],
    ['write', 0.5],
  ] as const) {
    const { engine, stream } = scripted(t)
    const data = t.captureFn(() => {})
    stream.on('data', data)
    await turn()
    engine[what] = () => result as number
    const errored = new Promise((resolve) => stream.once('error', resolve))
    if (what === 'write') stream.write('a')
    else engine.onReady?.()
    t.match(await errored, { name: 'RangeError', message: `engine.${what}() must return` })
    t.same(data.calls, [])
    await closed(stream)
  }
})

t.test('an engine with a certificate policy can be asked to request a certificate', async (t) => {
  const certificatePolicy = { requestCert: false, rejectUnauthorized: true }
  const asked = t.captureFn((_options: object) => {
    throw new Error('not today')
  })
  const engine = Object.assign(new ScriptedEngine(), { certificatePolicy, renegotiate: asked })
  const { stream } = scripted(t, engine)
  t.match(await rejection(stream.renegotiate({ requestCert: true })), { cause: { message: 'not today' } })
  t.match(asked.args(), [[{ requestCert: true, rejectUnauthorized: true }]])
})

t.test('an exception in a listener is not an error of the engine, and later data is still read', async (t) => {
  const { engine, stream } = scripted(t)
  await turn()
  const received: string[] = []
  stream.on('data', (chunk: Buffer) => {
    received.push(String(chunk))
    if (received.length === 1) throw new Error('mine')
  })
  await turn()
  engine.reads = ['one', 'two']
  t.throws(() => engine.onReady?.(), { message: 'mine' })
  while (received.length < 2) await turn()
  t.same(received, ['one', 'two'])
  t.equal(stream.errored, null)
})

t.test('an engine that cannot begin a handshake leaves the stream open', async (t) => {
  const { stream } = scripted(t)
  const error = await rejection(stream.renegotiate())
  t.match(error, { code: 'ERR_RENEGOTIATION_UNSUPPORTED', cause: { message: 'not today' } })
  t.equal(stream.state, 'open')
})

t.test("an error of the engine is classified by OpenSSL's reason", (t) => {
  const transport = engineTransport(new ScriptedEngine())
  t.equal(transport.failure?.(new Error('error:0A0000F5:SSL routines::unexpected record')), 'peer-data')
  t.end()
})

t.test('finish waits until the engine has sent its end', async (t) => {
  const { engine, stream } = scripted(t)
  await turn()
  engine.ends = ['want-write']
  stream.end()
  await turn()
  await turn()
  t.equal(stream.writableFinished, false)
  const finished = once(stream, 'finish')
  engine.onReady?.()
  await finished
})

t.test('the end is not sent during a handshake that comes before it', async (t) => {
  const { engine, stream } = scripted(t)
  stream.resume()
  await turn()
  engine.ends = ['want-write']
  stream.end()
  await turn()
  engine.handshaking = true
  engine.onReady?.()
  engine.ends = [true]
  engine.onReady?.()
  t.same(engine.ends, [true], 'the end is not attempted during the handshake')
  const finished = once(stream, 'finish')
  engine.handshaking = false
  engine.onReady?.()
  await finished
})

t.test('an engine that always has data to read does not starve writes or timers', async (t) => {
  const { engine, stream } = scripted(t)
  let read = 0
  engine.read = () => ++read && 1
  stream.resume()
  await turn()
  await turn()
  t.ok(read > 1, 'reading continues without onReady()')
  await new Promise((resolve) => stream.write('out', resolve))
  t.equal(String(engine.offered[0]), 'out')
})

for (const throws of [false, true]) {
  t.test(
    `answers written during corked writes are all sent${throws ? ', though a data listener throws once' : ''}`,
    async (t) => {
      const { engine, stream } = scripted(t)
      const mine = new Error('mine')
      let heard = 0
      let answers = 0
      stream.on('data', (chunk: Buffer) => {
        heard++
        if (throws && heard === 60) throw mine
        if (chunk.toString() === 'question') stream.write('answer', () => answers++)
      })
      await turn()
      // More records than are read in one turn. The rest is read when the engine is offered the next write.
      for (let i = 0; i < 100; i++) engine.reads.push(i < 40 ? 'news' : 'question')
      engine.onReady?.()
      t.ok(heard < 40, `${heard} chunks were emitted`)
      stream.cork()
      stream.write('<')
      stream.write('>')
      if (throws) t.throws(() => stream.uncork(), mine)
      else stream.uncork()
      while (answers < (throws ? 59 : 60)) await turn()
      stream.end()
      while (!stream.writableFinished) await turn()
      t.equal(heard, 100)
      const sent = Buffer.concat(engine.offered).toString()
      t.equal(sent, `<>${'answer'.repeat(answers)}`)
    },
  )
}
