import assert from 'node:assert/strict'
import { Duplex } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { encode, type Frame, FrameReader, MODULUS } from '../../examples/iec104-link/apci.ts'
import { Link } from '../../examples/iec104-link/link.ts'

const plain = { noNullPrototype: true }
const number = fc.nat(MODULUS - 1)
const frame: fc.Arbitrary<Frame> = fc.oneof(
  fc.record(
    {
      format: fc.constant('I' as const),
      sent: number,
      received: number,
      asdu: fc.uint8Array({ minLength: 1, maxLength: 249 }).map((octets) => Buffer.from(octets)),
    },
    plain,
  ),
  fc.record({ format: fc.constant('S' as const), received: number }, plain),
  fc.record(
    {
      format: fc.constant('U' as const),
      function: fc.constantFrom(
        ...(['STARTDT act', 'STARTDT con', 'STOPDT act', 'STOPDT con', 'TESTFR act', 'TESTFR con'] as const),
      ),
    },
    plain,
  ),
)

t.test('frames arrive as they were sent, however the octets are cut', async (t) => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 20 }), fc.array(fc.integer({ min: 1, max: 300 })), (frames, cuts) => {
      const octets = Buffer.concat(frames.map(encode))
      const reader = new FrameReader()
      const read: Frame[] = []
      let at = 0
      for (const cut of [...cuts, octets.length]) {
        read.push(...reader.read(octets.subarray(at, at + cut)))
        at += cut
      }
      assert.deepEqual(read, frames)
    }),
    { numRuns: 200 },
  )
  t.pass()
})

t.test('octets that are no frame are an error at once, and nothing is kept', async (t) => {
  for (const [hex, message] of [
    ['67', /begins with 0x68, got 0x67/],
    ['6804', undefined],
    ['6803', /length of 4 to 253, got 3/],
    ['6800', /got 0$/],
    ['68fe', /got 254/],
    ['680400000000', /no frame with the control fields 00000000/],
    ['68050100000000', /no frame/],
    ['680401000100', /no frame/],
    ['680403000000', /no frame/],
    ['68040f000000', /no frame/],
    ['680407000200', /no frame/],
    ['68050000010000', /no frame/],
    ['68040700000068040100000067', /got 0x67/],
  ] as const) {
    const read = () => [...new FrameReader().read(Buffer.from(hex, 'hex'))]
    if (message === undefined) t.same(read(), [])
    else t.throws(read, { message }, hex)
  }
  t.throws(() => encode({ format: 'I', sent: 0, received: 0, asdu: Buffer.alloc(250) }), { name: 'RangeError' })
})

t.test('random octets lead to frames or to an error, and never to more memory than a frame', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 600 }), { maxLength: 10 }), (chunks) => {
      const reader = new FrameReader()
      try {
        for (const chunk of chunks)
          for (const { format } of reader.read(Buffer.from(chunk))) assert.match(format, /[ISU]/)
      } catch (error) {
        assert.match((error as Error).message, /frame/)
      }
    }),
  )
  t.pass()
})

/** A link, and what it sends; `hears` is what the peer sends. */
function link(t: Test, role: 'controlling' | 'controlled', times: { t1?: number; t2?: number; t3?: number } = {}) {
  const written: Buffer[] = []
  const stream = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      written.push(chunk)
      done()
    },
  })
  t.teardown(() => stream.destroy())
  const telegrams: string[] = []
  const link = new Link(stream, { role, onTelegram: (asdu) => telegrams.push(asdu.toString()), ...times })
  return {
    link,
    telegrams,
    sent: () => [...new FrameReader().read(Buffer.concat(written.splice(0)))],
    async hears(...frames: Frame[]) {
      stream.push(Buffer.concat(frames.map(encode)))
      await turn()
    },
  }
}

const telegram = (sent: number, received = 0): Frame => ({ format: 'I', sent, received, asdu: Buffer.from(`${sent}`) })
const confirmed = (what: 'STARTDT' | 'STOPDT'): Frame => ({ format: 'U', function: `${what} con` })

t.test('a controlling station starts, sends at most 12 telegrams ahead, and acknowledges after 8', async (t) => {
  const { link: it, sent, hears, telegrams } = link(t, 'controlling')
  const started = it.start()
  t.same(sent(), [{ format: 'U', function: 'STARTDT act' }])
  it.send(Array.from({ length: 20 }, (_, index) => Buffer.from(`${index}`)))
  t.same(sent(), [])
  await hears(confirmed('STARTDT'))
  await started
  t.match(
    sent().map((frame) => frame.format === 'I' && frame.sent),
    Array.from({ length: 12 }, (_, index) => index),
  )
  await hears({ format: 'S', received: 5 })
  t.equal(sent().length, 5)
  await hears(...Array.from({ length: 8 }, (_, index) => telegram(index, 17)))
  t.match(sent(), [{ format: 'S', received: 8 }, ...Array.from({ length: 3 }, () => ({ format: 'I', received: 8 }))])
  t.same(telegrams, ['0', '1', '2', '3', '4', '5', '6', '7'])
  await hears({ format: 'S', received: 20 })
  await it.drained()
})

for (const [what, frames, message] of [
  ['a telegram that is missing', [telegram(1)], /Telegram 1 was received instead of 0/],
  ['a telegram that comes twice', [telegram(0), telegram(0)], /Telegram 0 was received instead of 1/],
  ['an acknowledgement of what was not sent', [{ format: 'S', received: 1 }], /acknowledged, but was not sent/],
  ['an acknowledgement that goes back', [telegram(0, MODULUS - 1)], /acknowledged, but was not sent/],
  ['a confirmation that nobody asked for', [confirmed('STARTDT')], /Nobody has asked for STARTDT con/],
] as [string, Frame[], RegExp][]) {
  t.test(`${what} ends the link`, async (t) => {
    const { link: it, hears } = link(t, 'controlled')
    await hears({ format: 'U', function: 'STARTDT act' }, ...frames)
    t.match(await it.closed, { message })
  })
}

t.test('an order of the controlled station ends the link', async (t) => {
  const { link: it, hears } = link(t, 'controlling')
  await hears({ format: 'U', function: 'STOPDT act' })
  t.match(await it.closed, { message: /The controlled station has sent STOPDT act/ })
})

t.test('a controlled station sends nothing before STARTDT and after STOPDT', async (t) => {
  const { link: it, sent, hears } = link(t, 'controlled')
  it.send([Buffer.from('a')])
  t.same(sent(), [])
  await hears({ format: 'U', function: 'STARTDT act' })
  t.match(sent(), [{ format: 'S' }, { format: 'U', function: 'STARTDT con' }, { format: 'I', sent: 0 }])
  await hears({ format: 'U', function: 'STOPDT act' })
  it.send([Buffer.from('b')])
  t.match(sent(), [{ format: 'S' }, { format: 'U', function: 'STOPDT con' }])
  t.equal(it.queued, 1)
})

t.test('an idle link is tested after t3, and ended if nobody answers within t1', async (t) => {
  const { link: it, sent, hears } = link(t, 'controlled', { t1: 30, t3: 20 })
  await hears({ format: 'U', function: 'TESTFR act' })
  t.match(await it.closed, { message: 'There was no confirmation within t1' })
  t.same(sent(), [
    { format: 'U', function: 'TESTFR con' },
    { format: 'U', function: 'TESTFR act' },
  ])
})

t.test('a telegram that is not acknowledged within t1 ends the link; t2 acknowledges what was received', async (t) => {
  const { link: it, sent, hears } = link(t, 'controlled', { t1: 60, t2: 20 })
  await hears({ format: 'U', function: 'STARTDT act' }, telegram(0))
  it.send([Buffer.from('nobody takes it')])
  await hears(telegram(1))
  t.match(await it.closed, { message: 'A telegram was not acknowledged within t1' })
  t.match(sent().at(-1), { format: 'S', received: 2 })
})

t.test('the numbers start again after 15 bits', async (t) => {
  const { sent, hears, telegrams, link: it } = link(t, 'controlled')
  await hears({ format: 'U', function: 'STARTDT act' })
  for (let at = 0; at < MODULUS + 8; at += 8) {
    await hears(...Array.from({ length: 8 }, (_, index) => telegram((at + index) % MODULUS)))
  }
  t.equal(telegrams.length, MODULUS + 8)
  t.match(sent().at(-1), { format: 'S', received: 8 })
  t.equal(it.counts.received, MODULUS + 8)
})
