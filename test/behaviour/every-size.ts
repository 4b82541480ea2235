import { once } from 'node:events'
import t from 'tap'
import { RenegotiationDuplex } from '../../src/index.ts'
import { MemoryTransport } from '../fixtures/memory-transport.ts'
import { closed } from '../fixtures/settled.ts'

/*
 * A partial write is likely to fail at the end of a chunk, or one byte before or
 * after it. So this test tries every size of chunk with every size of partial
 * write.
 */

const SIZES = Array.from({ length: 24 }, (_, index) => index + 1)
const BYTES = Buffer.from(Array.from({ length: 100 }, (_, index) => index))

for (const [how, options] of [
  ['', {}],
  [', every third refused at first', { refuseEvery: 3 }],
] as const) {
  t.test(`chunks of any size survive a renegotiation over partial writes of any size${how}`, async (t) => {
    for (const chunk of SIZES) {
      const wrong: string[] = []
      await Promise.all(
        SIZES.map(async (portion) => {
          const { received, callbacks } = await carry(chunk, MemoryTransport.pair({ portion, ...options }))
          if (!received.equals(BYTES) || callbacks !== Math.ceil(BYTES.length / chunk)) {
            wrong.push(`${portion}: ${callbacks} callbacks, ${received.toString('hex')}`)
          }
        }),
      )
      t.same(wrong, [], `all bytes and callbacks of chunks of ${chunk} bytes`)
    }
  })
}

async function carry(size: number, transports: [MemoryTransport, MemoryTransport]) {
  const [near, far] = transports.map((transport) => new RenegotiationDuplex(transport)) as [
    RenegotiationDuplex,
    RenegotiationDuplex,
  ]
  near.resume()
  const received: Buffer[] = []
  far.on('data', (chunk) => received.push(chunk))
  let callbacks = 0
  for (let start = 0; start < BYTES.length; start += size) {
    near.write(BYTES.subarray(start, start + size), () => callbacks++)
    // While the chunk in the middle is written, which may be in parts.
    if (start <= BYTES.length / 2 && start + size > BYTES.length / 2) void near.renegotiate()
  }
  near.end()
  await once(far, 'end')
  far.end()
  await Promise.all([near, far].map(closed))
  if (near.counters.renegotiations !== 1 || far.counters.byPeer !== 1) throw new Error('it did not renegotiate')
  return { received: Buffer.concat(received), callbacks }
}
