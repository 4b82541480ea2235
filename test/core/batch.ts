import t from 'tap'
import { Batch } from '../../src/core/batch.ts'

const buffers = (...texts: string[]) => texts.map((text) => Buffer.from(text))
const texts = (views: readonly Uint8Array[]) => views.map((view) => Buffer.from(view).toString())

t.test('peek() gives the buffers themselves where it needs all of them', async (t) => {
  const [a, b] = buffers('abc', 'def') as [Buffer, Buffer]
  const [first, second] = new Batch([a, b]).peek(6)
  t.equal(first, a)
  t.equal(second, b)
})

t.test('peek() gives a view of the same memory where it needs a part', async (t) => {
  const [a] = buffers('abcdef') as [Buffer]
  const batch = new Batch([a])
  batch.advance(1)
  const [view] = batch.peek(3) as readonly [Uint8Array]
  t.equal(view.buffer, a.buffer)
  t.equal(view.byteOffset, a.byteOffset + 1)
  t.same(texts([view]), ['bcd'])
})

t.test('peek() moves nothing', async (t) => {
  const batch = new Batch(buffers('abc', 'def'))
  t.same(texts(batch.peek(4)), ['abc', 'd'])
  t.same(texts(batch.peek(4)), ['abc', 'd'])
})

t.test('advance() stops anywhere: in a buffer, between two, at the end', async (t) => {
  const batch = new Batch(buffers('abc', 'def'))
  batch.advance(2)
  t.same(texts(batch.peek(Infinity)), ['c', 'def'])
  batch.advance(1)
  t.same(texts(batch.peek(Infinity)), ['def'])
  batch.advance(3)
  t.same(batch.peek(Infinity), [])
})

t.test('one advance() may leave several buffers behind', async (t) => {
  const batch = new Batch(buffers('ab', 'cd', 'ef', 'gh'))
  batch.advance(5)
  t.same(texts(batch.peek(Infinity)), ['f', 'gh'])
})

t.test('empty buffers are passed over', async (t) => {
  const batch = new Batch(buffers('', 'ab', '', '', 'c', ''))
  t.same(texts(batch.peek(Infinity)), ['ab', 'c'])
  batch.advance(2)
  t.same(texts(batch.peek(Infinity)), ['c'])
  batch.advance(1)
  t.same(batch.peek(Infinity), [])
})

t.test('a batch of nothing is at its end', async (t) => {
  t.same(new Batch([]).peek(1), [])
  t.same(new Batch(buffers('', '')).peek(1), [])
})

t.test(
  'every size of a peek and every part of it that is taken, over buffers of every size, give all bytes in order',
  async (t) => {
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
  },
)
