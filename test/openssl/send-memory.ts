import t from 'tap'
import { borrowMemory, giveBack, SEND_BYTES } from '../../src/openssl/send-memory.ts'

t.test('memory is lent again only after it was given back', async (t) => {
  const first = borrowMemory()
  const second = borrowMemory()
  t.match([first.length, second.length], [SEND_BYTES, SEND_BYTES])
  t.not(first.buffer, second.buffer)
  giveBack(first)
  t.equal(borrowMemory(), first)
})

t.test('not more is kept than a few writes need', async (t) => {
  const lent = Array.from({ length: 20 }, borrowMemory)
  for (const memory of lent) giveBack(memory)
  const again = Array.from({ length: 20 }, borrowMemory)
  const kept = again.filter((memory) => lent.includes(memory))
  t.ok(kept.length > 0 && kept.length < 10)
})
