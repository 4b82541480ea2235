import { once } from 'node:events'
import t from 'tap'
import { RenegotiationDuplex } from '../../src/index.ts'
import { MemoryTransport } from '../fixtures/memory-transport.ts'
import { closed } from '../fixtures/settled.ts'

/*
 * A partial write goes wrong at its seams: at the end of a chunk, one byte
 * before, one byte after. So: all of them.
 */

const SIZES = Array.from({ length: 24 }, (_, index) => index + 1)
const BYTES = Buffer.from(Array.from({ length: 100 }, (_, index) => index))

for (const [how, options] of [
  ['', {}],
  [', of which every third takes nothing at first', { refuseEvery: 3 }],
] as const) {
  t.test(`every size of chunk with every size of partial write${how}, renegotiating in the middle`, async (t) => {
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
      t.same(wrong, [], `chunks of ${chunk}`)
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
    // In the middle of a chunk, where it is taken in parts.
    if (start <= BYTES.length / 2 && start + size > BYTES.length / 2) void near.renegotiate()
  }
  near.end()
  await once(far, 'end')
  far.end()
  await Promise.all([near, far].map(closed))
  if (near.counters.renegotiations !== 1 || far.counters.byPeer !== 1) throw new Error('it did not renegotiate')
  return { received: Buffer.concat(received), callbacks }
}
