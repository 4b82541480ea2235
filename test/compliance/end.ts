import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { End, same } from '../../src/compliance/end.ts'
import type { TransportEvents, WriteCallback } from '../../src/index.ts'

t.test('a write that was taken in part continues only after the handshake that began meanwhile', async (t) => {
  let events!: TransportEvents
  const offers: [string, WriteCallback][] = []
  const end = new End({
    allowHalfOpen: true,
    peerLimit: false,
    attach: (told) => {
      events = told
    },
    write: (buffer, done) => void offers.push([buffer.toString(), done]),
    end() {},
    pause() {},
    resume() {},
    destroy() {},
    renegotiate() {},
    unsupported: () => undefined,
    session: () => ({}),
  })
  const written = end.write(Buffer.from('abc'))
  events.handshakeStarted()
  offers[0]?.[1](null, 1)
  await turn()
  t.equal(offers.length, 1)
  events.handshakeDone()
  await turn()
  t.equal(offers[1]?.[0], 'bc')
  offers[1]?.[1](null, 2)
  await written
  events.requestSent()
  events.requestAnswered('key-update')
  events.peerUpdated('key-update')
  t.strictSame(end.told.slice(-3), ['requestSent', 'requestAnswered', 'peerUpdated'])
})

t.test('same() reports the first byte at which two buffers differ', (t) => {
  const message = /5 bytes for 4, and from byte 2 they differ/
  t.throws(() => same(Buffer.from('abXde'), Buffer.from('abcd')), { message })
  same(Buffer.from('abc'), Buffer.from('abc'))
  t.end()
})
