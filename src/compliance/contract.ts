/*
 * The tests of the transport contract, run without a stream.
 */
import assert from 'node:assert/strict'
import { type End, same, turns } from './end.ts'
import type { Random } from './random.ts'

/** The two ends of a connection, both ready. Each test runs twice, with each end once as the near one. */
export interface Ends {
  readonly near: End
  readonly far: End
  readonly random: Random
}

type Tests = Readonly<Record<string, (ends: Ends) => Promise<void>>>

const KIB = 1024
/** How many turns of the event loop a test waits to see that nothing happens. */
const SOME_TURNS = 20

/** Tests for every transport. The names complete the sentence "the transport ...". */
export const contractTests: Tests = {
  'tells that it is ready, once, and takes no second stream': async ({ near, far }) => {
    assert.throws(() => near.transport.attach(near), 'attach() must throw the second time')
    far.resume()
    await near.write(Buffer.from('still here'))
    await received(far, 'still here')
    assert.equal(near.count('ready'), 1)
  },

  'starts out paused': async ({ near, far, random }) => {
    const bytes = random.bytes(KIB)
    const written = far.write(bytes)
    written.catch(() => {})
    await turns(SOME_TURNS)
    assert.equal(near.received.length, 0, 'nothing comes before resume()')
    near.resume()
    await written
    await received(near, bytes)
  },

  'gives no data after pause(), not even when that is called within data()': async ({ near, far, random }) => {
    const bytes = random.bytes(300 * KIB)
    near.onData = () => near.pause()
    const written = far.write(bytes)
    written.catch(() => {})
    while (near.received.length < bytes.length) {
      const { length } = near.received
      near.resume()
      await near.until('there is more data', () => near.received.length > length)
      await turns(2)
    }
    await written
    same(near.received, bytes)
  },

  'takes writes of every size, changes nothing in them, and delivers them in order': async ({ near, far, random }) => {
    far.resume()
    const written: Buffer[] = []
    const sizes = [1, 2, 3, 5, 16, 255, 256, 257, 1000, 4096, 16383, 16384, 16385, 65536, 300 * KIB, 1, 2]
    for (const size of [...sizes, ...Array.from({ length: 30 }, () => random.size(64 * KIB))]) {
      const buffer = random.bytes(size)
      written.push(Buffer.from(buffer))
      await near.write(buffer)
      // After the callback, the memory belongs to the application again, which may overwrite it.
      buffer.fill(0)
    }
    await received(far, Buffer.concat(written))
  },

  'calls back for an empty write, of which nothing arrives': async ({ near, far }) => {
    far.resume()
    await near.offer(new Uint8Array(0))
    await near.write(Buffer.from('a'))
    await near.offer(new Uint8Array(0))
    await near.write(Buffer.from('b'))
    await received(far, 'ab')
  },

  'takes several buffers at once, where it has writev()': async ({ near, far, random }) => {
    far.resume()
    const buffers = Array.from({ length: 200 }, () => random.bytes(random.size(4 * KIB)))
    await near.writeAll(buffers)
    await received(far, Buffer.concat(buffers))
  },

  'carries data both ways at once': async ({ near, far, random }) => {
    const there = random.bytes(600 * KIB)
    const back = random.bytes(600 * KIB)
    near.resume()
    far.resume()
    await Promise.all([near.write(there), far.write(back)])
    await received(far, there)
    await received(near, back)
  },

  'takes a write from within data()': async ({ near, far, random }) => {
    const bytes = random.bytes(100 * KIB)
    let echoed = Promise.resolve()
    let unwritten = 0
    far.onData = (chunk) => {
      const write = () => far.write(chunk)
      // In the very call if no write is in flight. Otherwise after that one: a transport takes one write at a time.
      echoed = unwritten === 0 ? write() : echoed.then(write)
      unwritten++
      echoed.then(
        () => unwritten--,
        () => {},
      )
    }
    far.resume()
    near.resume()
    await near.write(bytes)
    await received(near, bytes)
    await echoed
  },

  'tells the end after all data, once, and the other way stays open': async ({ near, far, random }) => {
    const there = random.bytes(200 * KIB)
    const back = random.bytes(50 * KIB)
    far.resume()
    await near.write(there)
    await near.finish()
    await far.until('the end is there', () => far.told.includes('end'))
    same(far.received, there)
    near.resume()
    await far.write(back)
    await received(near, back)
    await far.finish()
    await near.until('the end is there', () => near.told.includes('end'))
  },

  'is closed by destroy(), with a write in flight, and tells nothing after that': async ({ near, far, random }) => {
    far.mayFail = true
    far.resume()
    near.transport.write(random.bytes(1024 * KIB), () => {})
    await near.destroy()
    const { length } = near.told
    await far.until('it has heard of it', () => far.told.some((told) => told !== 'data' && told !== 'ready'))
    await far.destroy()
    await turns(SOME_TURNS)
    assert.equal(near.told.length, length, `after closed() there came ${near.told.slice(length)}`)
  },

  'can be destroyed from within data()': async ({ near, far, random }) => {
    far.mayFail = near.mayFail = true
    near.onData = () => near.count('data') === 1 && void near.destroy()
    near.resume()
    far.transport.write(random.bytes(200 * KIB), () => {})
    await near.until('it is closed', () => near.told.includes('closed'))
    assert.equal(near.count('data'), 1, 'no data after destroy()')
  },
}

/** Tests for a transport that can renegotiate. */
export const renegotiatingContractTests: Tests = {
  'says that it can renegotiate': async ({ near }) => {
    assert.equal(near.transport.unsupported(), undefined)
  },

  'renegotiates: tells both ends when it is done, the other also when it starts, and the keys are new': async (
    ends,
  ) => {
    const { near, far, random } = ends
    near.resume()
    far.resume()
    for (let time = 1; time <= 5; time++) {
      const before = [near, far].map(({ transport }) => transport.session().keys)
      const starts = far.count('handshakeStarted')
      const done = [near, far].map((end) => end.count('handshakeDone'))
      await renegotiate(near, far)
      for (const [index, end] of [near, far].entries()) {
        assert.equal(end.count('handshakeDone'), (done[index] as number) + 1, 'each end is told once that it is done')
      }
      assert.ok(far.count('handshakeStarted') > starts, 'the other end is told that a handshake starts')
      for (const [index, { transport }] of [near, far].entries()) {
        const { keys } = transport.session()
        assert.equal(keys === undefined, before[index] === undefined, 'session() tells of keys always or never')
        if (keys !== undefined) assert.notDeepEqual(keys, before[index], 'session().keys changes with the keys')
        assert.deepEqual(transport.session().keys, keys, 'session().keys changes only with the keys')
      }
      const there = random.bytes(random.size(32 * KIB))
      const back = random.bytes(random.size(32 * KIB))
      const sums = [far.received, near.received]
      await Promise.all([near.write(there), far.write(back)])
      await received(far, Buffer.concat([sums[0] as Buffer, there]))
      await received(near, Buffer.concat([sums[1] as Buffer, back]))
    }
  },

  'reads the data that was on its way before the handshake': async ({ near, far, random }) => {
    const bytes = random.bytes(256 * KIB)
    near.resume()
    far.resume()
    const written = far.write(bytes)
    written.catch(() => {})
    await near.offer(new Uint8Array(0))
    await renegotiate(near, far)
    await written
    await received(near, bytes)
  },

  'calls back for an empty write after a handshake': async ({ near, far }) => {
    near.resume()
    far.resume()
    await renegotiate(near, far)
    await Promise.all([near.offer(new Uint8Array(0)), far.offer(new Uint8Array(0))])
  },

  'gets along where both ends begin at once': async ({ near, far, random }) => {
    near.resume()
    far.resume()
    await Promise.all([renegotiate(near, far), renegotiate(far, near)])
    const bytes = random.bytes(10 * KIB)
    await near.write(bytes)
    await received(far, bytes)
  },
}

/** Tests for a transport that has key updates in place of renegotiations. */
export const keyUpdateContractTests: Tests = {
  'says that it can renegotiate, and that it has key updates': async ({ near }) => {
    assert.equal(near.transport.unsupported(), undefined)
    assert.equal(near.transport.hasKeyUpdates, true)
  },

  'updates its keys: tells when the request is sent and answered, the other end that its peer has new keys': async (
    ends,
  ) => {
    const { near, far, random } = ends
    near.resume()
    far.resume()
    for (let time = 1; time <= 5; time++) {
      await updateKeys(near, far)
      const there = random.bytes(random.size(32 * KIB))
      const back = random.bytes(random.size(32 * KIB))
      const sums = [far.received, near.received]
      await Promise.all([near.write(there), far.write(back)])
      await received(far, Buffer.concat([sums[0] as Buffer, there]))
      await received(near, Buffer.concat([sums[1] as Buffer, back]))
    }
    await turns(SOME_TURNS)
    assert.deepEqual(counts(near), { requestSent: 5, requestAnswered: 5, peerUpdated: 0 })
    assert.deepEqual(counts(far), { requestSent: 0, requestAnswered: 0, peerUpdated: 5 })
  },

  'updates its keys in the middle of data': async ({ near, far, random }) => {
    const [there, back] = [random.bytes(256 * KIB), random.bytes(256 * KIB)]
    near.resume()
    far.resume()
    const written = Promise.all([near.write(there), far.write(back)])
    written.catch(() => {})
    await updateKeys(near, far)
    await written
    await received(far, there)
    await received(near, back)
  },

  'gets along where both ends update their keys at once': async ({ near, far, random }) => {
    near.resume()
    far.resume()
    await Promise.all([updateKeys(near, far), updateKeys(far, near)])
    const bytes = random.bytes(10 * KIB)
    await near.write(bytes)
    await received(far, bytes)
  },
}

/** Tests for a transport that cannot renegotiate. */
export const otherContractTests: Tests = {
  'says why it can not renegotiate': async ({ near }) => {
    const why = near.transport.unsupported()
    assert.ok(typeof why === 'string' && why.length > 0, `unsupported() must be a sentence, it is ${why}`)
  },
}

/** Waits until `end` has received as much as `bytes`, and fails if it received anything else. */
async function received(end: End, bytes: string | Buffer): Promise<void> {
  const expected = Buffer.from(bytes as string)
  await end.until(`all ${expected.length} bytes are there`, () => end.received.length >= expected.length)
  same(end.received, expected)
}

/** Begins a renegotiation at `from` and waits until both ends report that it is done. */
async function renegotiate(from: End, to: End): Promise<void> {
  const done = [from, to].map((end) => end.count('handshakeDone'))
  from.handshaking = true
  from.transport.renegotiate({ requestCert: false, rejectUnauthorized: false })
  for (const [index, end] of [from, to].entries()) {
    await end.until(
      'the handshake is done',
      () => end.count('handshakeDone') > (done[index] as number) && !end.handshaking,
    )
  }
}

function counts(end: End): Record<string, number> {
  const names = ['requestSent', 'requestAnswered', 'peerUpdated'] as const
  return Object.fromEntries(names.map((name) => [name, end.count(name)]))
}

/** Begins a key update at `from` and waits until both ends have reported it. */
async function updateKeys(from: End, to: End): Promise<void> {
  const sent = from.count('requestSent')
  const answered = from.count('requestAnswered')
  const updated = to.count('peerUpdated')
  from.transport.renegotiate({ requestCert: false, rejectUnauthorized: false })
  await from.until('the request is sent', () => from.count('requestSent') > sent)
  await from.until('the request is answered', () => from.count('requestAnswered') > answered)
  await to.until('the keys of the peer are new', () => to.count('peerUpdated') > updated)
}
