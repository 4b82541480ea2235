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
  usage.restart('both')
  t.same([usage.bytes, usage.records, usage.ageMs], [0, 0, 0])
  clock.tick(1)
  t.equal(usage.ageMs, 1)
})

t.test('restart() of one direction keeps the counts of the other, and the age is that of the older keys', async (t) => {
  const clock = sinon.useFakeTimers({ toFake: ['performance'] })
  t.teardown(() => clock.restore())
  const usage = new KeyUsage()
  usage.sent(1)
  usage.received(10)
  clock.tick(5)
  usage.restart('sending')
  t.same([usage.bytes, usage.records, usage.ageMs], [10, 1, 5])
  clock.tick(5)
  usage.sent(2)
  usage.restart('receiving')
  t.same([usage.bytes, usage.records, usage.ageMs], [2, 1, 5])
})

t.test('the counters tell both directions together, and each', async (t) => {
  const clock = sinon.useFakeTimers({ toFake: ['performance'] })
  t.teardown(() => clock.restore())
  const usage = new KeyUsage()
  clock.tick(3)
  usage.restart('sending')
  clock.tick(4)
  usage.sent(20_000)
  usage.received(10)
  const sending = { bytes: 20_000, records: 2, ageMs: 4 }
  const receiving = { bytes: 10, records: 1, ageMs: 7 }
  const { counters } = usage
  t.same(counters, { bytes: 20_010, records: 3, ageMs: 7, sending, receiving })
  usage.restart('receiving')
  usage.sent(1)
  t.same(counters.receiving, receiving, 'the counters are a copy')
  t.same(counters.sending, sending)
})
