import t from 'tap'
import { Inbox } from '../src/inbox.ts'

/** An inbox between an application with room for `room` bytes and a transport that is only listened to. */
function inbox({ room = 2, maxInboundBytes = 6 } = {}) {
  const delivered: string[] = []
  const calls: string[] = []
  let buffered = 0
  const inbox = new Inbox(
    {
      push(chunk) {
        delivered.push(chunk === null ? 'end' : chunk.toString())
        buffered += chunk?.length ?? 0
        return buffered < room
      },
      get readableLength() {
        return buffered
      },
      readableBuffer: [],
      once: () => {},
      destroy: () => {},
    },
    { pause: () => calls.push('pause'), resume: () => calls.push('resume') },
    { maxInboundBytes, readableHighWaterMark: room },
  )
  return {
    inbox,
    delivered,
    /** What the transport was told since this was last asked. */
    told: () => calls.splice(0),
    receive: (text: string) => inbox.receive(Buffer.from(text)),
    applicationReads(bytes = buffered) {
      buffered -= bytes
      inbox.want()
    },
  }
}

t.test('nothing is asked of the transport before the application wants it', async (t) => {
  const { told } = inbox()
  t.same(told(), [])
})

t.test('the transport is resumed once, however often the application says that it has room', async (t) => {
  const { inbox: it, told } = inbox()
  it.want()
  it.want()
  t.same(told(), ['resume'])
})

t.test('what comes in is delivered in order, and counted', async (t) => {
  const { inbox: it, receive, delivered } = inbox()
  receive('ab')
  receive('c')
  t.same(delivered, ['ab', 'c'])
  t.equal(it.bytesRead, 3)
})

t.test('an application that has enough stops the transport, one that has room again lets it go', async (t) => {
  const { inbox: it, receive, told, applicationReads } = inbox()
  it.want()
  receive('a')
  t.same(told(), ['resume'])
  receive('b')
  t.same(told(), ['pause'])
  applicationReads()
  t.same(told(), ['resume'])
})

t.test('reading ahead goes on whether the application reads or not', async (t) => {
  const { inbox: it, receive, told } = inbox()
  it.readAhead(true)
  t.same(told(), ['resume'])
  receive('ab')
  receive('cd')
  t.same(told(), [])
})

t.test('reading ahead stops at maxInboundBytes', async (t) => {
  const { inbox: it, receive, told } = inbox()
  it.readAhead(true)
  receive('abcde')
  t.same(told(), ['resume'])
  receive('f')
  t.same(told(), ['pause'])
})

t.test('reading ahead, stopped at maxInboundBytes, goes on when the application wants more', async (t) => {
  const { inbox: it, receive, told, applicationReads } = inbox()
  it.readAhead(true)
  receive('abcdefgh')
  t.same(told(), ['resume', 'pause'])
  applicationReads()
  t.same(told(), ['resume'])
})

t.test('after reading ahead it is as it was: stopped where the application has enough', async (t) => {
  const { inbox: it, receive, told } = inbox()
  it.want()
  receive('abc')
  t.same(told(), ['resume', 'pause'])
  it.readAhead(true)
  t.same(told(), ['resume'])
  it.readAhead(false)
  t.same(told(), ['pause'])
})

t.test('after reading ahead it is as it was: going on where the application has room', async (t) => {
  const { inbox: it, told } = inbox()
  it.want()
  it.readAhead(true)
  it.readAhead(false)
  t.same(told(), ['resume'])
})

t.test('with maxInboundBytes 0 nothing is read ahead', async (t) => {
  const { inbox: it, told } = inbox({ maxInboundBytes: 0 })
  it.readAhead(true)
  t.same(told(), [])
})

t.test('with maxInboundBytes Infinity there is no end', async (t) => {
  const { inbox: it, receive, told } = inbox({ maxInboundBytes: Infinity })
  it.readAhead(true)
  receive('a'.repeat(1_000_000))
  t.same(told(), ['resume'])
})
