import { randomBytes } from 'node:crypto'
import t from 'tap'
import { complianceTests } from '../../src/compliance/index.ts'
import type { Transport, TransportEvents, WriteCallback } from '../../src/index.ts'
import { MemoryTransport } from '../fixtures/memory-transport.ts'
import { SEED } from '../fixtures/random.ts'

/*
 * A suite that passes everything proves nothing: each of these transports breaks
 * the contract in one way, and has to be found out.
 */

t.comment(`SEED=${SEED}`)

/** How a transport differs from one that keeps the contract: in what is called, and in what it tells. */
interface Fault {
  calls?: (inner: Transport) => Partial<Transport>
  tells?: (events: TransportEvents, inner: Transport) => Partial<TransportEvents>
  renegotiates?: boolean
}

function faulty(inner: Transport, { calls, tells }: Fault): Transport {
  return {
    allowHalfOpen: true,
    peerLimit: false,
    attach: (events) =>
      inner.attach({
        ready: () => events.ready(),
        data: (chunk) => events.data(chunk),
        end: () => events.end(),
        handshakeStarted: () => events.handshakeStarted(),
        handshakeDone: () => events.handshakeDone(),
        error: (error) => events.error(error),
        closed: () => events.closed(),
        ...tells?.(events, inner),
      }),
    write: (buffer, done) => inner.write(buffer, done),
    end: (done) => inner.end(done),
    pause: () => inner.pause(),
    resume: () => inner.resume(),
    destroy: () => inner.destroy(),
    renegotiate: (options) => inner.renegotiate(options),
    unsupported: () => inner.unsupported(),
    session: () => inner.session(),
    ...calls?.(inner),
  }
}

const both = (first: () => void, second: () => void) => () => {
  first()
  second()
}
const twice = (call: () => void) => both(call, call)
const sameKeys = { keys: Buffer.from('the same') }
const write =
  (broken: (inner: Transport, buffer: Uint8Array, done: WriteCallback) => void) =>
  (inner: Transport): Partial<Transport> => ({ write: (buffer, done) => broken(inner, buffer, done) })
const writev =
  (claimed: (bytes: number) => number) =>
  (inner: Transport): Partial<Transport> => ({
    writev: (buffers, done) => inner.write(Buffer.concat(buffers), (error, taken) => done(error, claimed(taken ?? 0))),
  })

const faults: Record<string, [Fault, RegExp]> = {
  'is never ready': [
    { tells: () => ({ ready() {} }) },
    /not done after 1000 ms. near end: it waits until it is ready; it was told of nothing; and received 0 bytes. far end: /,
  ],
  'is ready twice': [{ tells: (events) => ({ ready: twice(() => events.ready()) }) }, /ready\(\) came 2 times/],
  'takes a second stream': [{ calls: (inner) => ({ attach: attachOnce(inner) }) }, /must throw the second time/],
  'starts out flowing': [
    {
      tells: (events, inner) => ({
        ready: both(
          () => events.ready(),
          () => inner.resume(),
        ),
      }),
    },
    /data\(\) came while paused|nothing comes before resume/,
  ],
  'does not pause': [{ calls: () => ({ pause() {} }) }, /data\(\) came while paused/],
  'calls back twice': [
    {
      calls: write((inner, buffer, done) => inner.write(buffer, (...result) => twice(() => done(...result))())),
    },
    /a callback was called twice/,
  ],
  'never calls back': [{ calls: write((inner, buffer) => inner.write(buffer, () => {})) }, /not done/],
  'fails its writes': [{ calls: write((_inner, _buffer, done) => setImmediate(done, new Error('EPIPE'), 0)) }, /EPIPE/],
  'never calls back for an empty write': [
    { calls: write((inner, buffer, done) => buffer.length > 0 && inner.write(buffer, done)) },
    /not done/,
  ],
  'takes nothing, ever': [{ calls: write((_inner, _buffer, done) => setImmediate(done, null, 0)) }, /not done/],
  'does not say how much it took': [
    { calls: write((inner, buffer, done) => inner.write(buffer, (error) => done(error))) },
    /of \d+ bytes it took undefined/,
  ],
  'claims more than it was offered': [
    { calls: write((inner, buffer, done) => inner.write(buffer, (error, taken = 0) => done(error, taken + 1))) },
    /of \d+ bytes it took \d+/,
  ],
  'claims what it did not take': [
    {
      calls: write((inner, buffer, done) =>
        inner.write(buffer.subarray(0, Math.min(buffer.length, 1000)), (error) => done(error, buffer.length)),
      ),
    },
    /not done/,
  ],
  'sends what it did not claim': [
    {
      calls: write((inner, buffer, done) =>
        inner.write(buffer, (error, taken = 0) => done(error, taken > 1000 ? taken - 1 : taken)),
      ),
    },
    /what arrives is not what was written/,
  ],
  'changes what it is given': [
    {
      calls: write((inner, buffer, done) => {
        inner.write(Buffer.from(buffer), done)
        buffer.fill(0)
      }),
    },
    /write\(\) changed the buffer/,
  ],
  'changes what it sends': [
    {
      tells: (events) => ({
        data: (chunk) => events.data(chunk.length > 2000 ? Buffer.from(chunk).reverse() : chunk),
      }),
    },
    /what arrives is not what was written/,
  ],
  'delivers nothing as data': [
    {
      tells: (events) => ({
        data: (chunk) =>
          both(
            () => events.data(chunk),
            () => events.data(Buffer.alloc(0)),
          )(),
      }),
    },
    /without any data/,
  ],
  'delivers text': [
    { tells: (events) => ({ data: (chunk) => events.data(chunk.toString('latin1') as never) }) },
    /not as a Buffer/,
  ],
  'uses memory again that it has handed over': [
    { tells: (events) => ({ data: inOneBuffer(events) }) },
    /was used again/,
  ],
  'counts the buffers of a writev() wrongly': [
    { calls: writev((bytes) => Math.ceil(bytes / 2)) },
    /what arrives is not what was written/,
  ],
  'tells the end twice': [{ tells: (events) => ({ end: twice(() => events.end()) }) }, /end\(\) came 2 times/],
  'tells data after the end': [
    {
      tells: (events) => ({
        end: both(
          () => events.end(),
          () => events.data(Buffer.from('late')),
        ),
      }),
    },
    /data\(\) came after end/,
  ],
  'never closes': [{ tells: () => ({ closed() {} }) }, /not done/],
  'closes twice': [{ tells: (events) => ({ closed: twice(() => events.closed()) }) }, /closed\(\)/],
  'tells something after it has closed': [
    {
      tells: (events) => ({
        closed: both(
          () => events.closed(),
          () => events.error(new Error('late')),
        ),
      }),
    },
    /after closed\(\) there came error/,
  ],
  'closes of itself': [{ tells: (events) => ({ data: () => events.closed() }) }, /closed/],
  'fails of itself': [{ tells: (events) => ({ data: () => events.error(new Error('of itself')) }) }, /of itself/],
  'can not renegotiate after all': [{ calls: () => ({ unsupported: () => 'no' }) }, /no/],
  'can renegotiate after all': [{ renegotiates: false }, /must be a sentence/],
  'does not tell that a handshake starts': [
    { tells: () => ({ handshakeStarted() {} }) },
    /told that a handshake starts/,
  ],
  'does not tell that a handshake is done': [{ tells: () => ({ handshakeDone() {} }) }, /not done/],
  'has always the same keys': [{ calls: () => ({ session: () => sameKeys }) }, /changes with the keys/],
  'has other keys whenever it is asked': [
    { calls: () => ({ session: () => ({ keys: randomBytes(8) }) }) },
    /changes only with the keys/,
  ],
  'tells twice that a handshake is done': [
    { tells: (events) => ({ handshakeDone: twice(() => events.handshakeDone()) }) },
    /told once that it is done/,
  ],
  'reads what it was given after it has called back': [
    {
      calls: write((inner, buffer, done) => {
        setTimeout(() => inner.write(buffer, () => {}), 1)
        setImmediate(done, null, buffer.length)
      }),
    },
    /what arrives is not what was written|Written while|not done/,
  ],
  'tells of its keys now and then': [{ calls: (inner) => ({ session: everyOther(inner) }) }, /always or never/],
}

function attachOnce(inner: Transport): Transport['attach'] {
  let attached = false
  return (events) => {
    if (!attached) inner.attach(events)
    attached = true
  }
}

function inOneBuffer(events: TransportEvents): TransportEvents['data'] {
  const memory = Buffer.alloc(1024 * 1024)
  return (chunk) => {
    memory.set(chunk)
    events.data(memory.subarray(0, chunk.length))
  }
}

function everyOther(inner: Transport): Transport['session'] {
  let count = 0
  return () => (count++ % 2 === 0 ? inner.session() : {})
}

t.test('bad arguments are told at once, and what connect() makes when it is there', async (t) => {
  const connect = () => MemoryTransport.pair()
  const bad: [unknown, RegExp][] = [
    [undefined, /options must be an object, got undefined/],
    [{}, /connect must be a function, got undefined/],
    [{ connect, renegotiates: 'no' }, /renegotiates must be a boolean, got 'no'/],
    [{ connect, seed: 'x' }, /seed must be a number, got 'x'/],
    [{ connect, timeout: -1 }, /timeout must be .* from 0/],
  ]
  for (const [options, message] of bad) t.throws(() => complianceTests(options as never), { message })
  for (const made of [undefined, [], [connect()[0], {}]]) {
    const [first] = complianceTests({ connect: () => made as never })
    await t.rejects(first?.run() ?? Promise.resolve(), { message: /connect\(\) must make an array of two transports/ })
  }
  await complianceTests({ connect, timeout: 0 })[0]?.run()
})

t.test('a stream test that is not done in time tells what the streams were doing', async (t) => {
  const connect = () =>
    MemoryTransport.pair().map((inner) => faulty(inner, { calls: write(() => {}) })) as [Transport, Transport]
  const late = complianceTests({ connect, timeout: 100 }).find(({ name }) => name.startsWith('a stream'))
  await t.rejects(late?.run() ?? Promise.resolve(), {
    message: /not done after 100 ms. near end: open, \d+ bytes held, [1-9]\d* in flight. far end: /,
  })
})

for (const [name, [fault, message]] of Object.entries(faults)) {
  t.test(`a transport that ${name} is found out`, async (t) => {
    const connect = () => MemoryTransport.pair().map((inner) => faulty(inner, fault)) as [Transport, Transport]
    const { renegotiates = true } = fault
    for (const { run } of complianceTests({ connect, seed: SEED, timeout: 1000, renegotiates })) {
      const error = await run().then(
        () => undefined,
        (error: Error) => error,
      )
      if (error === undefined) continue
      t.match(error.message, message)
      t.match(error.message, `(seed ${SEED})`)
      return
    }
    t.fail('it passes')
  })
}
