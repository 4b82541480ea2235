import t from 'tap'
import { Batch } from '../../src/core/batch.ts'

const buffers = (...texts: string[]) => texts.map((text) => Buffer.from(text))
const texts = (views: readonly Uint8Array[]) => views.map((view) => Buffer.from(view).toString())

t.test('peek() returns the buffers themselves if all of their bytes are needed', async (t) => {
  const [a, b] = buffers('abc', 'def') as [Buffer, Buffer]
  const [first, second] = new Batch([a, b]).peek(6)
  t.equal(first, a)
  t.equal(second, b)
})

t.test('peek() returns a view of the same memory if only a part of a buffer is needed', async (t) => {
  const [a] = buffers('abcdef') as [Buffer]
  const batch = new Batch([a])
  batch.advance(1)
  const [view] = batch.peek(3) as readonly [Uint8Array]
  t.equal(view.buffer, a.buffer)
  t.equal(view.byteOffset, a.byteOffset + 1)
  t.same(texts([view]), ['bcd'])
})

t.test('peek() does not consume anything', async (t) => {
  const batch = new Batch(buffers('abc', 'def'))
  t.same(texts(batch.peek(4)), ['abc', 'd'])
  t.same(texts(batch.peek(4)), ['abc', 'd'])
})

t.test('advance() can stop inside a buffer, between two buffers and at the end', async (t) => {
  const batch = new Batch(buffers('abc', 'def'))
  batch.advance(2)
  t.same(texts(batch.peek(Infinity)), ['c', 'def'])
  batch.advance(1)
  t.same(texts(batch.peek(Infinity)), ['def'])
  batch.advance(3)
  t.same(batch.peek(Infinity), [])
})

t.test('a single advance() can skip several buffers', async (t) => {
  const batch = new Batch(buffers('ab', 'cd', 'ef', 'gh'))
  batch.advance(5)
  t.same(texts(batch.peek(Infinity)), ['f', 'gh'])
})

t.test('peek() and advance() skip empty buffers', async (t) => {
  const batch = new Batch(buffers('', 'ab', '', '', 'c', ''))
  t.same(texts(batch.peek(Infinity)), ['ab', 'c'])
  batch.advance(2)
  t.same(texts(batch.peek(Infinity)), ['c'])
  batch.advance(1)
  t.same(batch.peek(Infinity), [])
})

t.test('peek() returns nothing for a batch without bytes', async (t) => {
  t.same(new Batch([]).peek(1), [])
  t.same(new Batch(buffers('', '')).peek(1), [])
})

t.test('for every buffer size, peek size and part taken, all bytes come out in order', async (t) => {
  const text = 'abcdefghijkl'
  for (let size = 1; size <= text.length; size++) {
    const chunks = buffers(...(text.match(new RegExp(`.{1,${size}}`, 'g')) as string[]))
    for (let max = 1; max <= text.length; max++) {
      for (let part = 1; part <= max; part++) {
        const batch = new Batch(chunks)
        let seen = ''
        for (let views = batch.peek(max); views.length > 0; views = batch.peek(max)) {
          const taken = texts(views).join('').slice(0, part)
          seen += taken
          batch.advance(taken.length)
        }
        if (seen !== text) t.fail(`buffers of ${size}, peeks of ${max}, ${part} taken: ${seen}`)
      }
    }
  }
})
