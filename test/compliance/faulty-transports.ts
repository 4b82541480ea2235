import { randomBytes } from 'node:crypto'
import t from 'tap'
import { complianceTests } from '../../src/compliance/index.ts'
import type { Transport, TransportEvents, WriteCallback } from '../../src/index.ts'
import { MemoryTransport } from '../fixtures/memory-transport.ts'
import { SEED } from '../fixtures/random.ts'

/*
 * Tests the compliance tests themselves: each of these transports breaks the
 * contract in one way, and the compliance tests must fail for it.
 */

t.comment(`SEED=${SEED}`)

/** How a transport differs from one that keeps the contract: in its methods (`calls`) and in its events (`tells`). */
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
        requestSent: () => events.requestSent(),
        requestAnswered: (kind) => events.requestAnswered(kind),
        peerUpdated: (kind) => events.peerUpdated(kind),
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
  'never calls ready()': [
    { tells: () => ({ ready() {} }) },
    /not done after 1000 ms. near end: it waits until it is ready; it was told of nothing; and received 0 bytes. far end: /,
  ],
  'calls ready() twice': [{ tells: (events) => ({ ready: twice(() => events.ready()) }) }, /ready\(\) came 2 times/],
  'accepts a second attach()': [{ calls: (inner) => ({ attach: attachOnce(inner) }) }, /must throw the second time/],
  'delivers data before resume()': [
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
  'ignores pause()': [{ calls: () => ({ pause() {} }) }, /data\(\) came while paused/],
  'calls a write callback twice': [
    {
      calls: write((inner, buffer, done) => inner.write(buffer, (...result) => twice(() => done(...result))())),
    },
    /a callback was called twice/,
  ],
  'never calls a write callback': [{ calls: write((inner, buffer) => inner.write(buffer, () => {})) }, /not done/],
  'fails its writes': [{ calls: write((_inner, _buffer, done) => setImmediate(done, new Error('EPIPE'), 0)) }, /EPIPE/],
  'never calls the callback of an empty write': [
    { calls: write((inner, buffer, done) => buffer.length > 0 && inner.write(buffer, done)) },
    /not done/,
  ],
  'never takes any byte': [{ calls: write((_inner, _buffer, done) => setImmediate(done, null, 0)) }, /not done/],
  'does not report how many bytes it took': [
    { calls: write((inner, buffer, done) => inner.write(buffer, (error) => done(error))) },
    /of \d+ bytes it took undefined/,
  ],
  'reports more bytes than it was offered': [
    { calls: write((inner, buffer, done) => inner.write(buffer, (error, taken = 0) => done(error, taken + 1))) },
    /of \d+ bytes it took \d+/,
  ],
  'reports bytes that it did not send': [
    {
      calls: write((inner, buffer, done) =>
        inner.write(buffer.subarray(0, Math.min(buffer.length, 1000)), (error) => done(error, buffer.length)),
      ),
    },
    /not done/,
  ],
  'sends a byte that it did not report': [
    {
      calls: write((inner, buffer, done) =>
        inner.write(buffer, (error, taken = 0) => done(error, taken > 1000 ? taken - 1 : taken)),
      ),
    },
    /what arrives is not what was written/,
  ],
  'changes the buffer that it is given to write': [
    {
      calls: write((inner, buffer, done) => {
        inner.write(Buffer.from(buffer), done)
        buffer.fill(0)
      }),
    },
    /write\(\) changed the buffer/,
  ],
  'delivers other bytes than were written': [
    {
      tells: (events) => ({
        data: (chunk) => events.data(chunk.length > 2000 ? Buffer.from(chunk).reverse() : chunk),
      }),
    },
    /what arrives is not what was written/,
  ],
  'calls data() with an empty chunk': [
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
  'calls data() with a string': [
    { tells: (events) => ({ data: (chunk) => events.data(chunk.toString('latin1') as never) }) },
    /not as a Buffer/,
  ],
  'reuses the memory of a chunk that it has delivered': [
    { tells: (events) => ({ data: inOneBuffer(events) }) },
    /was used again/,
  ],
  'reports a wrong number of bytes for writev()': [
    { calls: writev((bytes) => Math.ceil(bytes / 2)) },
    /what arrives is not what was written/,
  ],
  'calls end() twice': [{ tells: (events) => ({ end: twice(() => events.end()) }) }, /end\(\) came 2 times/],
  'calls data() after end()': [
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
  'never calls closed()': [{ tells: () => ({ closed() {} }) }, /not done/],
  'calls closed() twice': [{ tells: (events) => ({ closed: twice(() => events.closed()) }) }, /closed\(\)/],
  'calls error() after closed()': [
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
  'closes by itself': [{ tells: (events) => ({ data: () => events.closed() }) }, /closed/],
  'fails by itself': [{ tells: (events) => ({ data: () => events.error(new Error('by itself')) }) }, /by itself/],
  'says that it cannot renegotiate, although it should': [{ calls: () => ({ unsupported: () => 'no' }) }, /no/],
  'says that it can renegotiate, although it should not': [{ renegotiates: false }, /must be a sentence/],
  'never calls handshakeStarted()': [{ tells: () => ({ handshakeStarted() {} }) }, /told that a handshake starts/],
  'never calls handshakeDone()': [{ tells: () => ({ handshakeDone() {} }) }, /not done/],
  'always returns the same keys': [{ calls: () => ({ session: () => sameKeys }) }, /changes with the keys/],
  'returns other keys in each call': [
    { calls: () => ({ session: () => ({ keys: randomBytes(8) }) }) },
    /changes only with the keys/,
  ],
  'calls handshakeDone() twice': [
    { tells: (events) => ({ handshakeDone: twice(() => events.handshakeDone()) }) },
    /told once that it is done/,
  ],
  'reads the buffer of a write after its callback': [
    {
      calls: write((inner, buffer, done) => {
        setTimeout(() => inner.write(buffer, () => {}), 1)
        setImmediate(done, null, buffer.length)
      }),
    },
    /what arrives is not what was written|Written while|not done/,
  ],
  'returns keys only in every other call': [{ calls: (inner) => ({ session: everyOther(inner) }) }, /always or never/],
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

t.test('complianceTests() throws for invalid options, and a test rejects if connect() is invalid', async (t) => {
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

t.test('a stream test that exceeds its timeout reports the state of both streams', async (t) => {
  const connect = () =>
    MemoryTransport.pair().map((inner) => faulty(inner, { calls: write(() => {}) })) as [Transport, Transport]
  const late = complianceTests({ connect, timeout: 1000 }).find(({ name }) => name.startsWith('a stream'))
  await t.rejects(late?.run() ?? Promise.resolve(), {
    message: /not done after 1000 ms. near end: open, \d+ bytes held, [1-9]\d* in flight. far end: /,
  })
})

for (const [name, [fault, message]] of Object.entries(faults)) {
  t.test(`the compliance tests fail for a transport that ${name}`, async (t) => {
    const connect = () => MemoryTransport.pair().map((inner) => faulty(inner, fault)) as [Transport, Transport]
    const { renegotiates = true } = fault
    // The tests before the one that finds the fault must pass, on a busy machine too.
    const timeout = message.source.includes('not done') ? 1000 : 10_000
    for (const { run } of complianceTests({ connect, seed: SEED, timeout, renegotiates })) {
      const error = await run().then(
        () => undefined,
        (error: Error) => error,
      )
      if (error === undefined) continue
      t.match(error.message, message)
      t.match(error.message, `(seed ${SEED})`)
      return
    }
    t.fail('all compliance tests pass')
  })
}
