import t from 'tap'
import { SLICE_BYTES } from '../../src/core/slice.ts'
import { gather, reuse } from '../../src/transports/gather.ts'

const buffers = (...texts: string[]) => texts.map((text) => Buffer.from(text))

t.test('gather() copies all bytes in order into new memory', async (t) => {
  const [a, b] = buffers('abc', 'de') as [Buffer, Buffer]
  const gathered = gather([a, b])
  a.fill('x')
  t.equal(gathered.toString(), 'abcde')
})

t.test('memory that was given back by reuse() is used again', async (t) => {
  const first = gather(buffers('first'))
  const second = gather(buffers('second'))
  t.not(first.buffer, second.buffer)
  reuse(first)
  const third = gather(buffers('third'))
  t.equal(third.buffer, first.buffer)
  t.same([second, third].map(String), ['second', 'third'])
})

t.test('more than a slice is gathered, too, but its memory is not kept for reuse', async (t) => {
  const gathered = gather([Buffer.alloc(SLICE_BYTES), Buffer.from('x')])
  t.equal(gathered.length, SLICE_BYTES + 1)
  reuse(gathered)
  t.not(gather(buffers('small')).buffer, gathered.buffer)
})

t.test('reuse() keeps at most eight pieces of memory', async (t) => {
  const many = Array.from({ length: 20 }, () => gather(buffers('x')))
  for (const gathered of many) reuse(gathered)
  const again = new Set(Array.from({ length: 20 }, () => gather(buffers('y')).buffer))
  t.equal(many.filter(({ buffer }) => again.has(buffer)).length, 8)
})
