import sinon from 'sinon'
import t from 'tap'
import { HoldTime } from '../../src/core/hold-time.ts'

t.test('the summary is all zeros if nothing was held', async (t) => {
  t.same(new HoldTime().summary, { count: 0, minMs: 0, meanMs: 0, maxMs: 0 })
})

t.test('the summary has the number of holds, and the shortest, mean and longest time', async (t) => {
  const clock = sinon.useFakeTimers({ toFake: ['performance'] })
  t.teardown(() => clock.restore())
  const hold = new HoldTime()
  for (const milliseconds of [4, 1, 7]) {
    clock.tick(100)
    hold.begins()
    clock.tick(milliseconds)
    hold.ends()
  }
  t.same(hold.summary, { count: 3, minMs: 1, meanMs: 4, maxMs: 7 })
})
