import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { inboundBudget } from '../../src/core/inbound-budget.ts'
import { Inbox } from '../../src/core/inbox.ts'

const made: Inbox[] = []

// Releases what the test left charged to the budget of the process, as a destroyed stream does.
t.afterEach(() => {
  for (const inbox of made.splice(0)) inbox.close()
})

/** An inbox between an application with room for `room` bytes and a transport that records its calls. */
function inbox({ room = 2, maxInboundBytes = 6, chunks = 0, listeners = 0 } = {}) {
  const delivered: string[] = []
  const calls: string[] = []
  const destroyed: Error[] = []
  const ends: (() => void)[] = []
  const readableBuffer = { length: chunks }
  let buffered = 0
  const face = {
    onPush: (_text: string) => {},
    push(chunk: Buffer | null) {
      const text = chunk === null ? 'the end' : chunk.toString()
      delivered.push(text)
      face.onPush(text)
      buffered += chunk?.length ?? 0
      return buffered < room
    },
    get readableLength() {
      return buffered
    },
    readableBuffer,
    readableHighWaterMark: room,
    read: () => null,
    listenerCount: () => listeners,
    once: (_event: 'end', listener: () => void) => ends.push(listener),
    destroy: (error: Error) => destroyed.push(error),
  }
  const transport = { pause: () => void calls.push('pause'), resume: () => void calls.push('resume') }
  const inbox = new Inbox(face, transport, { maxInboundBytes })
  made.push(inbox)
  return {
    inbox,
    face,
    transport,
    delivered,
    destroyed,
    readableBuffer,
    /** The calls of the transport since the last call of told(). */
    told: () => calls.splice(0),
    receive: (text: string) => inbox.receive(Buffer.from(text)),
    applicationReads(bytes = buffered) {
      buffered -= bytes
      inbox.want()
    },
    /** After the end, a Readable no longer calls read(). */
    applicationReadsToTheEnd() {
      buffered = 0
      for (const listener of ends) listener()
    },
  }
}

type Bed = ReturnType<typeof inbox>

const large = 'x'.repeat(4096)

t.test('a new inbox does not resume the transport before the application reads', async (t) => {
  const { told } = inbox()
  t.same(told(), [])
})

t.test('the transport is resumed once, even if the application asks for data several times', async (t) => {
  const { inbox: it, told } = inbox()
  it.want()
  it.want()
  t.same(told(), ['resume'])
})

t.test('received chunks are delivered in order, and bytesRead counts them', async (t) => {
  const { inbox: it, receive, delivered } = inbox()
  receive('ab')
  receive('c')
  t.same(delivered, ['ab', 'c'])
  t.equal(it.bytesRead, 3)
})

t.test('the transport is paused when the application has enough, and resumed when it has room', async (t) => {
  const { inbox: it, receive, told, applicationReads } = inbox()
  it.want()
  receive('a')
  t.same(told(), ['resume'])
  receive('b')
  t.same(told(), ['pause'])
  applicationReads()
  t.same(told(), ['resume'])
})

t.test('after a thousand unread small chunks, the transport is paused until the application reads', async (t) => {
  const { inbox: it, receive, told, readableBuffer } = inbox({ room: 65_536, chunks: 1023, maxInboundBytes: Infinity })
  it.want()
  receive('a')
  t.same(told(), ['resume'])
  readableBuffer.length = 1024
  receive('b')
  t.same(told(), ['pause'])
  it.want()
  t.same(told(), [], 'a Readable asks for more below its high water mark, even if nobody reads')
  it.wasRead()
  t.same(told(), ['resume'])
  it.wasRead()
  t.same(told(), [])
  receive(large)
  t.same(told(), [], 'large chunks do not count')
  receive('c')
  t.same(told(), ['pause'])
  it.readAhead(true)
  t.same(told(), ['resume'], 'a handshake message may come after the data')
  it.readAhead(false)
  t.same(told(), ['pause'])
})

t.test('an application with a readable listener may leave any number of small chunks unread', async (t) => {
  const { inbox: it, receive, told } = inbox({ room: 65_536, chunks: 5000, listeners: 1 })
  it.want()
  receive('a')
  t.same(told(), ['resume'])
})

t.test('while reading ahead, small chunks beyond a thousand are gathered until the application reads', async (t) => {
  const {
    inbox: it,
    receive,
    delivered,
    readableBuffer,
  } = inbox({
    room: 65_536,
    chunks: 1023,
    maxInboundBytes: Infinity,
  })
  it.want()
  it.readAhead(true)
  receive('a')
  readableBuffer.length = 1024
  for (const text of ['b', 'c', 'd']) receive(text)
  t.same(delivered, ['a', 'b'])
  it.wasRead()
  t.same(delivered, ['a', 'b', 'cd'])
})

t.test('reading ahead continues whether the application reads or not', async (t) => {
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

t.test('reading ahead that stopped at maxInboundBytes continues when the application reads', async (t) => {
  const { inbox: it, receive, told, applicationReads } = inbox()
  it.readAhead(true)
  receive('abcdefgh')
  t.same(told(), ['resume', 'pause'])
  applicationReads()
  t.same(told(), ['resume'])
})

t.test('after reading ahead, the transport is paused again if the application has enough', async (t) => {
  const { inbox: it, receive, told } = inbox()
  it.want()
  receive('abc')
  t.same(told(), ['resume', 'pause'])
  it.readAhead(true)
  t.same(told(), ['resume'])
  it.readAhead(false)
  t.same(told(), ['pause'])
})

t.test('after reading ahead, the transport goes on flowing if the application has room', async (t) => {
  const { inbox: it, told } = inbox()
  it.want()
  it.readAhead(true)
  it.readAhead(false)
  t.same(told(), ['resume'])
})

t.test('with maxInboundBytes 0, nothing is read ahead', async (t) => {
  const { inbox: it, told } = inbox({ maxInboundBytes: 0 })
  it.readAhead(true)
  t.same(told(), [])
})

t.test('with maxInboundBytes Infinity, reading ahead has no limit', async (t) => {
  const { inbox: it, receive, told } = inbox({ maxInboundBytes: Infinity })
  it.readAhead(true)
  receive('a'.repeat(1_000_000))
  t.same(told(), ['resume'])
})

t.test('small chunks that are read ahead are gathered until the application asks for data', async (t) => {
  const { inbox: it, receive, delivered, applicationReads } = inbox()
  it.readAhead(true)
  receive('a')
  receive('b')
  t.same(delivered, [])
  t.equal(it.bytesRead, 2)
  applicationReads()
  t.same(delivered, ['ab'])
  receive('c')
  t.same(delivered, ['ab'], 'the application has enough again')
  applicationReads()
  t.same(delivered, ['ab', 'c'])
})

t.test('while reading ahead, an application that asks for data gets each chunk at once and uncopied', async (t) => {
  const { inbox: it, face, receive, delivered, applicationReads } = inbox({ room: Infinity })
  it.readAhead(true)
  it.want()
  receive('a')
  applicationReads()
  t.same(delivered, ['a'])
  const chunk = Buffer.from('b')
  face.push = (pushed) => {
    t.equal(pushed, chunk)
    return true
  }
  it.receive(chunk)
  t.plan(2)
})

t.test('an application that asked for data but does not read it gets small chunks at once, as copies', async (t) => {
  const { inbox: it, face, receive, delivered } = inbox({ room: Infinity })
  const memory: unknown[] = []
  const { push } = face
  face.push = (chunk) => {
    memory.push(chunk?.buffer)
    return push(chunk)
  }
  it.readAhead(true)
  it.want()
  for (const text of ['a', 'b', 'c']) receive(text)
  t.same(delivered, ['a', 'b', 'c'])
  t.equal(memory[1], memory[2], 'both copies are in the same slab')
})

t.test('a large chunk is not copied, and is delivered after the gathered chunks', async (t) => {
  const { inbox: it, receive, delivered } = inbox({ maxInboundBytes: Infinity })
  it.readAhead(true)
  receive('a')
  receive(large)
  receive('b')
  receive('c')
  t.same(delivered, ['a', large])
  receive(large)
  t.same(delivered, ['a', large, 'bc', large])
})

t.test('gathered chunks are delivered when reading ahead stops', async (t) => {
  const { inbox: it, receive, delivered, told } = inbox({ room: 0 })
  it.readAhead(true)
  receive('a')
  it.readAhead(false)
  t.same(delivered, ['a'])
  t.same(told(), ['resume', 'pause'])
})

t.test('gathered chunks are delivered when maxInboundBytes pauses the transport', async (t) => {
  const { inbox: it, receive, delivered, told } = inbox()
  it.readAhead(true)
  receive('abc')
  receive('def')
  t.same(delivered, ['abcdef'])
  t.same(told(), ['resume', 'pause'])
})

t.test("gathered chunks that do not fill the application's buffer do not pause the transport", async (t) => {
  const { inbox: it, receive, delivered, told } = inbox({ room: 100 })
  it.readAhead(true)
  receive('abc')
  it.readAhead(false)
  t.same(delivered, ['abc'])
  t.same(told(), ['resume'])
})

t.test('gathered chunks are delivered before the end', async (t) => {
  const { inbox: it, receive, delivered } = inbox()
  it.readAhead(true)
  receive('a')
  it.end()
  t.same(delivered, ['a', 'the end'])
})

t.test('gathered chunks are delivered in pieces of 64 KiB, and the rest follows if there is room', async (t) => {
  const chunk = 'x'.repeat(4000)
  for (const room of [2, 100_000]) {
    const { inbox: it, receive, delivered } = inbox({ room, maxInboundBytes: Infinity })
    it.readAhead(true)
    for (let bytes = 0; bytes < 65536; bytes += chunk.length) receive(chunk)
    const lengths = delivered.map(({ length }) => length)
    t.same(lengths, room === 2 ? [65536] : [65536, 17 * 4000 - 65536])
  }
})

t.test('if a listener throws on gathered data, no data is lost and the end still comes', async (t) => {
  const { inbox: it, face, receive, delivered } = inbox({ maxInboundBytes: Infinity })
  face.onPush = (text) => {
    if (text === 'a' || text === 'b') throw new Error(text)
  }
  it.readAhead(true)
  receive('a')
  t.throws(() => receive(large), /a/)
  receive('b')
  t.throws(() => it.end(), /b/)
  t.same(delivered, ['a', large, 'b', 'the end'])
})

t.test('the overhead of each buffered chunk counts towards maxInboundBytes', async (t) => {
  const { inbox: it, receive, readableBuffer, told } = inbox({ maxInboundBytes: 8192 })
  it.readAhead(true)
  readableBuffer.length = 128
  receive('a')
  t.ok(it.hasRoom)
  readableBuffer.length = 136
  t.notOk(it.hasRoom)
  readableBuffer.length = 143
  receive('b')
  t.same(told(), ['resume'])
  readableBuffer.length = 144
  receive('c')
  t.same(told(), ['pause'])
})

/** Sets the budget to `maxBytes` for this test. */
function budget(t: Test, maxBytes: number) {
  const { maxBytes: before } = inboundBudget
  t.equal(inboundBudget.bytes, 0, 'nothing is left of earlier tests')
  inboundBudget.maxBytes = maxBytes
  t.teardown(() => {
    inboundBudget.maxBytes = before
  })
}

t.test('data read ahead beyond the high water mark is charged to the budget until it is read', async (t) => {
  budget(t, 100)
  const { inbox: it, receive, told, applicationReads } = inbox({ room: 10, maxInboundBytes: 50 })
  it.readAhead(true)
  receive('x'.repeat(10))
  t.equal(inboundBudget.bytes, 0)
  receive('x'.repeat(15))
  t.equal(inboundBudget.bytes, 15)
  it.readAhead(false)
  t.equal(inboundBudget.bytes, 15, 'still charged after reading ahead has stopped')
  t.same(told(), ['resume', 'pause'])
  applicationReads()
  t.equal(inboundBudget.bytes, 0)
})

t.test('data received in the state open is not charged to the budget, however large a chunk is', async (t) => {
  budget(t, 100)
  const { inbox: it, receive } = inbox({ room: 10 })
  it.want()
  receive('x'.repeat(50))
  t.equal(inboundBudget.bytes, 0)
})

t.test('an exhausted budget stops reading ahead on all streams until one releases its share', async (t) => {
  budget(t, 20)
  const streams = [1, 2, 3, 4].map(() => inbox({ room: 10, maxInboundBytes: 1000 }))
  const [first, second, third, fourth] = streams as [Bed, Bed, Bed, Bed]
  for (const { inbox } of streams) inbox.readAhead(true)
  first.receive('x'.repeat(30))
  t.same(first.told(), ['resume', 'pause'])
  second.receive('x'.repeat(10))
  third.receive('x'.repeat(10))
  t.same([...second.told(), ...third.told()], ['resume', 'resume'], 'ordinary buffering is not charged')
  second.receive('x')
  third.receive('x')
  t.same([...second.told(), ...third.told()], ['pause', 'pause'])
  fourth.inbox.want()
  fourth.receive('x')
  t.same(fourth.told(), ['resume'], 'an application that reads is not stopped')
  first.applicationReads()
  await turn()
  t.same([...first.told(), ...second.told(), ...third.told()], ['resume', 'resume', 'resume'])
  for (const { inbox } of streams) inbox.close()
})

t.test('a stream that was destroyed, has ended or has been read no longer waits for the budget', async (t) => {
  budget(t, 20)
  const streams = [1, 2, 3, 4].map(() => inbox({ room: 10, maxInboundBytes: 1000 }))
  for (const { inbox, receive, told } of streams) {
    inbox.readAhead(true)
    receive('x'.repeat(30))
    t.same(told(), ['resume', 'pause'])
  }
  const [destroyed, ended, read, closing] = streams as [Bed, Bed, Bed, Bed]
  destroyed.inbox.close()
  ended.inbox.end()
  ended.inbox.readAhead(true)
  read.applicationReads()
  read.told()
  closing.inbox.close()
  t.equal(inboundBudget.bytes, 20)
  inboundBudget.maxBytes = 1000
  await turn()
  for (const { told } of streams) t.same(told(), [])
  ended.applicationReadsToTheEnd()
  ended.inbox.close()
})

t.test('a share of the budget is released once: on destroy, when read to the end, or on both', async (t) => {
  budget(t, 1000)
  for (const release of ['destroyed', 'read to the end', 'both'] as const) {
    const { inbox: it, receive, applicationReadsToTheEnd } = inbox({ room: 10, maxInboundBytes: 1000 })
    it.readAhead(true)
    receive('x'.repeat(30))
    it.end()
    t.equal(inboundBudget.bytes, 20, release)
    if (release !== 'destroyed') applicationReadsToTheEnd()
    if (release !== 'read to the end') it.close()
    it.readAhead(false)
    t.equal(inboundBudget.bytes, 0, release)
  }
})

t.test('a stream that has ended takes no share of the budget any more', async (t) => {
  budget(t, 1000)
  const { inbox: it, receive, applicationReadsToTheEnd } = inbox({ room: 10, maxInboundBytes: 1000 })
  it.want()
  receive('x'.repeat(30))
  it.end()
  it.readAhead(true)
  t.equal(inboundBudget.bytes, 0, 'nothing would release a share after the end')
  applicationReadsToTheEnd()
  it.close()
})

t.test('a transport that throws when the budget resumes it destroys only its own stream', async (t) => {
  budget(t, 20)
  const streams = [1, 2, 3].map(() => inbox({ room: 10, maxInboundBytes: 1000 }))
  for (const { inbox, receive, told } of streams) {
    inbox.readAhead(true)
    receive('x'.repeat(30))
    t.same(told(), ['resume', 'pause'])
  }
  const [first, second, third] = streams as [Bed, Bed, Bed]
  const error = new Error('mine')
  second.transport.resume = () => {
    throw error
  }
  inboundBudget.maxBytes = 1000
  await turn()
  t.same(second.destroyed, [error])
  t.same([...first.told(), ...third.told()], ['resume', 'resume'])
  for (const { inbox } of streams) inbox.close()
})

t.test('unread bytes of several handshakes share one slab, instead of keeping a slab each', async (t) => {
  const chunks: Buffer[] = []
  const { inbox: it, face } = inbox({ room: 1000, maxInboundBytes: 1000 })
  const { push } = face
  face.push = (chunk) => {
    if (chunk !== null) chunks.push(chunk)
    return push(chunk)
  }
  it.want()
  for (let handshake = 0; handshake < 5; handshake++) {
    it.readAhead(true)
    // Each chunk has its own memory, because Node's pool may be as large as a slab.
    for (const letter of 'ab') it.receive(Buffer.alloc(1, letter))
    it.readAhead(false)
    it.want()
  }
  const slabs = new Set(chunks.map(({ buffer }) => buffer).filter(({ byteLength }) => byteLength === 65_536))
  t.equal(Buffer.concat(chunks).toString(), 'ab'.repeat(5))
  t.equal(slabs.size, 1)
})
