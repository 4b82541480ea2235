import sinon from 'sinon'
import t from 'tap'
import { KeyUsage } from '../../src/core/key-usage.ts'

t.test('new keys have a usage of zero bytes and zero records', async (t) => {
  const usage = new KeyUsage()
  t.equal(usage.bytes, 0)
  t.equal(usage.records, 0)
})

t.test('bytes count in both directions; records count by 16 KiB sent and by chunk received', async (t) => {
  const usage = new KeyUsage()
  usage.sent(1)
  t.equal(usage.records, 1)
  usage.sent(16384)
  t.equal(usage.records, 2)
  usage.sent(16385)
  t.equal(usage.records, 4)
  usage.sent(0)
  usage.received(65536)
  t.equal(usage.records, 5)
  t.equal(usage.bytes, 1 + 16384 + 16385 + 65536)
})

t.test('restart() resets the counts, and the age of the keys is counted from it', async (t) => {
  const clock = sinon.useFakeTimers({ toFake: ['performance'] })
  t.teardown(() => clock.restore())
  const usage = new KeyUsage()
  clock.tick(1500)
  t.equal(usage.ageMs, 1500)
  usage.received(5)
  usage.restart()
  t.same([usage.bytes, usage.records, usage.ageMs], [0, 0, 0])
  clock.tick(1)
  t.equal(usage.ageMs, 1)
})
