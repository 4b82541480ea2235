import t from 'tap'
import { ReadMemory } from '../../src/transports/read-memory.ts'

const KIB = 1024

t.test('small records share memory, and a full record has memory of its own', async (t) => {
  const memory = new ReadMemory()
  const first = memory.room()
  t.equal(first.length, 64 * KIB)
  const [a, b] = [memory.take(10), memory.take(20)]
  t.equal(a.buffer, b.buffer)
  t.equal(b.byteOffset - a.byteOffset, 10)
  memory.room()
  memory.take(16 * KIB)
  for (let i = 0; i < 3; i++) memory.take(memory.room().length > 16 * KIB ? 16 * KIB : memory.room().length)
  t.equal(memory.room().length, 16 * KIB)
  const record = memory.take(16 * KIB)
  t.equal(record.length, 16 * KIB)
  t.equal(
    record.buffer.byteLength,
    16 * KIB,
    'its memory is not part of the pool of Node, which has 64 KiB since version 26',
  )
})

t.test('several records have memory of their own', async (t) => {
  const memory = new ReadMemory()
  t.equal(memory.room(65_537).length, 65_537)
  t.equal(memory.take(65_536).length, 65_536)
  t.equal(memory.room(20_000).length, 20_000)
  t.equal(memory.take(20_000).buffer.byteLength, 20_000)
})

t.test('a few bytes do not hold the memory that several records needed', async (t) => {
  const memory = new ReadMemory()
  const room = memory.room(65_537)
  room.write('few bytes')
  const chunk = memory.take(9)
  t.equal(chunk.toString(), 'few bytes')
  t.not(chunk.buffer, room.buffer)
  t.equal(memory.room(65_537), room, 'it is used again')
  t.equal(chunk.toString(), 'few bytes')
  const chunks = Array.from({ length: 100 }, () => {
    memory.room(65_537)
    return memory.take(9)
  })
  t.ok(new Set(chunks.map(({ buffer }) => buffer)).size <= 2, 'they share the pool of Node')
})
