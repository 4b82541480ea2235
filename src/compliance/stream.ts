/*
 * The tests of a RenegotiationDuplex on the transport.
 */
import assert from 'node:assert/strict'
import { createHash, type Hash } from 'node:crypto'
import { once } from 'node:events'
import type { RenegotiationReport } from '../core/report.ts'
import type { RenegotiationDuplex } from '../faces/renegotiation-duplex.ts'
import { same } from './end.ts'
import type { Random } from './random.ts'

/** Two streams on the two ends of a connection. Each test runs twice, with each stream once as the near one. */
export interface Streams {
  readonly near: RenegotiationDuplex
  readonly far: RenegotiationDuplex
  readonly random: Random
}

type Tests = Readonly<Record<string, (streams: Streams) => Promise<void>>>

const KIB = 1024

/** Tests for a stream on any transport. The names complete the sentence "a stream on it ...". */
export const streamTests: Tests = {
  'carries floods both ways, byte for byte, and both end': async (streams) => {
    await flood(streams, { near: 0, far: 0 })
  },

  'loses nothing where the other application reads late': async ({ near, far, random }) => {
    const written = Array.from({ length: 60 }, () => random.bytes(random.size(64 * KIB)))
    for (const chunk of written) near.write(chunk)
    near.end()
    // In these turns, as much is sent as fits into the transport and the kernel. The rest must wait for the reader.
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
    same(await readAll(far), Buffer.concat(written))
  },

  'calls back every write of a stream that is destroyed, and closes': async ({ near, far, random }) => {
    const chunks = Array.from({ length: 50 }, () => random.bytes(16 * KIB))
    let callbacks = 0
    for (const chunk of chunks) near.write(chunk, () => callbacks++)
    // The far end may see an end or an error, depending on the transport.
    const closed = Promise.all([closing(near), closing(far).catch(() => {})])
    near.destroy()
    far.resume().on('end', () => far.end())
    await closed
    assert.equal(callbacks, chunks.length)
  },
}

const AHEAD = 'renegotiates although its application reads only later'

/** Tests for a stream on a transport that can renegotiate. */
export const renegotiatingStreamTests: Tests = {
  'renegotiates in the middle of floods, begun here': async (streams) => {
    await flood(streams, { near: 15, far: 0 })
  },

  'renegotiates in the middle of floods, begun at both ends': async (streams) => {
    await flood(streams, { near: 10, far: 10 })
  },

  [AHEAD]: async ({ near, far, random }) => {
    const bytes = random.bytes(512 * KIB)
    far.resume().write(bytes)
    await once(near, 'readable')
    verify(await near.renegotiate(), near)
    near.end()
    far.end()
    same(await readAll(near), bytes)
  },

  'carries out what was asked for before end()': async ({ near, far, random }) => {
    const bytes = random.bytes(100 * KIB)
    near.resume().write(bytes)
    const reports = [near.renegotiate(), near.renegotiate()]
    near.end()
    const arrived = readAll(far)
    arrived.catch(() => {})
    for (const report of await Promise.all(reports)) verify(report, near)
    far.end()
    same(await arrived, bytes)
  },

  'settles everything where it is destroyed in the middle of a handshake': async ({ near, far, random }) => {
    let callbacks = 0
    for (let i = 0; i < 50; i++) near.write(random.bytes(16 * KIB), () => callbacks++)
    near.once('renegotiating', () => near.destroy())
    far.resume().on('end', () => far.end())
    // The far end may see an end or an error, depending on the transport.
    const closed = Promise.all([closing(near), closing(far).catch(() => {})])
    const settled = await Promise.allSettled([near.renegotiate(), near.renegotiate(), far.renegotiate()])
    await closed
    assert.equal(callbacks, 50)
    for (const [index, result] of settled.entries()) {
      // The renegotiation of the far end may have completed before the stream was destroyed.
      if (result.status === 'rejected') assert.equal(result.reason.code, 'ERR_RENEGOTIATION_CLOSED')
      else assert.equal(index, 2, 'what was cut off is not fulfilled')
    }
  },
}

/** Tests for a stream on a transport with key updates. Nothing is read ahead of the application for their answers. */
export const keyUpdateStreamTests: Tests = {
  ...renegotiatingStreamTests,
  [AHEAD]: async ({ near, far, random }) => {
    const bytes = random.bytes(512 * KIB)
    far.resume().write(bytes)
    await once(near, 'readable')
    const renegotiated = near.renegotiate()
    const arrived = readAll(near)
    arrived.catch(() => {})
    verify(await renegotiated, near)
    near.end()
    far.end()
    same(await arrived, bytes)
  },
}

/** Tests for a stream on a transport that cannot renegotiate. */
export const otherStreamTests: Tests = {
  'refuses to renegotiate, and goes on': async ({ near, far, random }) => {
    const bytes = random.bytes(100 * KIB)
    near.resume().write(bytes)
    await assert.rejects(near.renegotiate(), { code: 'ERR_RENEGOTIATION_UNSUPPORTED' })
    assert.equal(near.state, 'open')
    near.end(bytes)
    far.end()
    same(await readAll(far), Buffer.concat([bytes, bytes]))
  },
}

interface Side {
  readonly stream: RenegotiationDuplex
  readonly sent: Hash
  readonly received: Hash
  bytes: number
  /** How many renegotiations this side must still begin. */
  toGo: number
}

/** Both ends write as fast as backpressure allows and renegotiate at random moments. Then both end. */
async function flood({ near, far, random }: Streams, times: { near: number; far: number }): Promise<void> {
  const pool = random.bytes(128 * KIB)
  const side = (stream: RenegotiationDuplex, toGo: number): Side => {
    return { stream, sent: createHash('sha256'), received: createHash('sha256'), bytes: 0, toGo }
  }
  const sides = [side(near, times.near), side(far, times.far)]
  const goesOn = () => sides.some(({ bytes, toGo }) => toGo > 0 || bytes < 2 * 1024 * KIB)

  const run = async (side: Side): Promise<void> => {
    const { stream } = side
    stream.on('data', (chunk: Buffer) => {
      side.received.update(chunk)
      side.bytes += chunk.length
    })
    const write = async () => {
      while (goesOn()) {
        const start = random.below(pool.length / 2)
        const chunk = pool.subarray(start, start + random.size(pool.length / 2))
        side.sent.update(chunk)
        if (!stream.write(chunk)) await once(stream, 'drain')
      }
      stream.end()
    }
    const renegotiate = async () => {
      while (side.toGo > 0) {
        verify(await stream.renegotiate(), stream)
        side.toGo--
        const next = side.bytes + random.below(128 * KIB)
        while (side.toGo > 0 && side.bytes < next) await once(stream, 'data')
      }
    }
    await Promise.all([closing(stream), write(), renegotiate()])
  }
  await Promise.all(sides.map(run))

  const [a, b] = sides.map(({ sent, received }) => ({ sent: sent.digest('hex'), received: received.digest('hex') }))
  assert.equal(b?.received, a?.sent, 'what arrives at the far end is what was written')
  assert.equal(a?.received, b?.sent, 'what arrives at the near end is what was written')
  const { renegotiations } = near.counters
  assert.equal(far.counters.renegotiations, renegotiations, 'both ends count the same renegotiations')
  // If both ends begin at the same time, one renegotiation serves both.
  assert.ok(
    renegotiations >= Math.max(times.near, times.far) && renegotiations <= times.near + times.far,
    `there were ${renegotiations} renegotiations`,
  )
}

function verify({ verified }: RenegotiationReport, { transport }: RenegotiationDuplex): void {
  assert.equal(verified, transport.session().keys !== undefined, 'new keys are told from old ones')
}

async function readAll(stream: RenegotiationDuplex): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** Resolves when the stream has closed. Rejects with its error. */
function closing(stream: RenegotiationDuplex): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.once('error', reject)
    stream.once('close', resolve)
  })
}
