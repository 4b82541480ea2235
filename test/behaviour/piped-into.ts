import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { PassThrough, Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { wrapTLSSocket } from '../../src/index.ts'
import { Tally } from '../fixtures/tally.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'

/*
 * The pipe() of a Readable writes to its destination in several ways, and from Node 26.12 on also past its write(): it
 * calls _write() itself, if the destination has nothing to write (writeKnownBuffer in Node's writable.js).
 */

/** Too large for one write, so that the callback of the last one comes when nothing else is due. */
const CHUNK = Buffer.alloc(400_000, 'a chunk')
const CHUNKS = 30

const sources: [name: string, make: () => Readable][] = [
  [
    'of bytes whose _read() pushes at once',
    () => {
      let left = CHUNKS
      return new Readable({
        read() {
          this.push(left-- > 0 ? CHUNK : null)
        },
      })
    },
  ],
  [
    'of bytes whose _read() pushes later',
    () => {
      let left = CHUNKS
      return new Readable({
        read() {
          setImmediate(() => this.push(left-- > 0 ? CHUNK : null))
        },
      })
    },
  ],
  ['of objects', () => Readable.from(Array.from({ length: CHUNKS }, () => CHUNK))],
  ['that transforms another', () => Readable.from(Array.from({ length: CHUNKS }, () => CHUNK)).pipe(new PassThrough())],
  ['of a file', () => createReadStream(fileURLToPath(import.meta.url), { highWaterMark: 64 })],
]

for (const [name, make] of sources) {
  t.test(`a stream ${name} can be piped into a stream of this package, also while it renegotiates`, async (t) => {
    const { client, server } = await tlsPair(t)
    const near = wrapTLSSocket(client)
    const far = wrapTLSSocket(server, { peerLimit: false })
    near.resume()
    const [sent, received] = [new Tally(), new Tally()]
    const source = make()
    let renegotiated: Promise<unknown> | undefined
    far.on('data', (chunk: Buffer) => {
      received.add(chunk)
      // Not before: the end of a renegotiation writes whatever waits.
      renegotiated ??= near.renegotiate()
    })
    const push = source.push.bind(source)
    source.push = (chunk: Buffer | null) => {
      if (chunk !== null) sent.add(chunk)
      return push(chunk)
    }
    source.pipe(near)
    await once(far, 'end')
    await renegotiated
    t.strictSame(received.sum(), sent.sum())
    t.ok(received.bytes > 1000)
  })
}
