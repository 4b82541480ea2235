import t from 'tap'
import { SmallChunks } from '../../src/core/small-chunks.ts'

const SLAB_BYTES = 64 * 1024

t.test('take() returns all added chunks as one buffer, in order', async (t) => {
  const chunks = new SmallChunks()
  t.equal(chunks.add(Buffer.from('ab')), undefined)
  t.equal(chunks.add(Buffer.from('c')), undefined)
  t.equal(chunks.bytes, 3)
  t.equal(chunks.take().toString(), 'abc')
  t.equal(chunks.bytes, 0)
})

t.test('add() copies the chunk, so that its memory can be reused', async (t) => {
  const chunks = new SmallChunks()
  const chunk = Buffer.from('ab')
  chunks.add(chunk)
  chunk.fill('x')
  t.equal(chunks.take().toString(), 'ab')
})

t.test('chunks that are added after take() use the rest of the same slab', async (t) => {
  const chunks = new SmallChunks()
  chunks.add(Buffer.from('ab'))
  const first = chunks.take()
  chunks.add(Buffer.from('cd'))
  const second = chunks.take()
  t.equal(first.toString(), 'ab', 'the first buffer is not overwritten')
  t.equal(second.buffer, first.buffer)
  t.equal(second.byteOffset, 2)
})

t.test('a slab is filled to the last byte, and then add() returns it', async (t) => {
  for (const beyond of [0, 1, 999]) {
    const chunks = new SmallChunks()
    chunks.add(Buffer.from('ab'))
    const taken = chunks.take()
    const rest = Buffer.alloc(SLAB_BYTES - 3, 'x')
    for (let at = 0; at < rest.length; at += 4096) t.equal(chunks.add(rest.subarray(at, at + 4096)), undefined)
    const full = chunks.add(Buffer.alloc(1 + beyond, 'y')) as Buffer
    t.equal(full.length, SLAB_BYTES - 2)
    t.equal(full.buffer, taken.buffer)
    t.ok(full.equals(Buffer.concat([rest, Buffer.from('y')])))
    t.equal(chunks.bytes, beyond)
    if (beyond > 0) t.equal(chunks.take().toString(), 'y'.repeat(beyond))
  }
})
