import t, { type Test } from 'tap'
import type { Transport } from '../../src/core/transport.ts'
import { engineTransport, RenegotiationDuplex, type TLSEngine, type Want } from '../../src/index.ts'
import { outcome, scriptedStream } from '../fixtures/scripted-stream.ts'
import { turn } from '../fixtures/scripted-transport.ts'
import { closed } from '../fixtures/settled.ts'

const mine = new Error('mine')
const throws = () => {
  throw mine
}

/** Lets the method or getter `name` of `target` throw from now on. */
function breaks(target: object, name: string, isGetter = false): void {
  Object.defineProperty(target, name, { configurable: true, ...(isGetter ? { get: throws } : { value: throws }) })
}

type Scripted = ReturnType<typeof scriptedStream>

/** Each part of a transport, and what makes the stream use it. */
const calls: { name: keyof Transport; isGetter?: boolean; happens: (it: Scripted) => unknown }[] = [
  { name: 'write', happens: ({ stream }) => stream.write('a') },
  { name: 'writev', happens: corkedWrite },
  { name: 'writev', isGetter: true, happens: corkedWrite },
  { name: 'end', happens: ({ stream }) => stream.end() },
  {
    name: 'pause',
    happens: ({ stream, transport }) => {
      stream.pause()
      transport.peerSends(Buffer.alloc(200_000))
    },
  },
  { name: 'resume', happens: ({ transport }) => transport.peerBegins() },
  { name: 'session', happens: ({ stream }) => stream.renegotiate() },
  { name: 'session', happens: ({ transport }) => transport.peerBegins() },
  { name: 'unsupported', happens: ({ stream }) => stream.renegotiate() },
  { name: 'unsupported', happens: ({ transport }) => transport.peerBegins() },
  { name: 'certificatePolicy', isGetter: true, happens: ({ stream }) => stream.renegotiate() },
  { name: 'certificatePolicy', isGetter: true, happens: ({ stream }) => stream.renegotiate({ requestCert: true }) },
  { name: 'peerLimit', isGetter: true, happens: ({ transport }) => transport.peerBegins() },
]

function corkedWrite({ stream }: Scripted): void {
  stream.cork()
  stream.write('a')
  stream.write('b')
  stream.uncork()
}

/** Checks that everything requested has settled, and that the error is the transport's own. */
async function isOver(t: Test, { stream, errors, events }: Scripted, settled: Promise<unknown>): Promise<void> {
  await closed(stream)
  t.same(errors, [mine])
  t.equal(stream.state, 'closed')
  t.equal(events.at(-1), 'close')
  t.match(await settled, { name: 'RenegotiationError' })
}

for (const { name, isGetter, happens } of calls) {
  t.test(
    `an exception in ${name}${isGetter ? ' (a getter)' : ''} of the transport destroys the stream: ${happens}`,
    async (t) => {
      const it = scriptedStream({ reads: name !== 'resume' })
      // A stream reads in the turn after it is made.
      if (name !== 'session' && name !== 'unsupported' && name !== 'resume') await turn()
      breaks(it.transport, name, isGetter)
      happens(it)
      const settled = outcome(it.stream.renegotiate())
      const held = new Promise((resolve) => it.stream.write('held', resolve))
      await isOver(t, it, settled)
      t.match(await held, Error)
    },
  )
}

for (const name of ['session', 'accepted', 'failure', 'takeBack'] as const) {
  t.test(`an exception in ${name} of the transport at the end of a handshake destroys the stream`, async (t) => {
    const it = scriptedStream({ certificatePolicy: { requestCert: false, rejectUnauthorized: false } })
    const settled = outcome(it.stream.renegotiate())
    const held = new Promise((resolve) => it.stream.write('held', resolve))
    await turn()
    t.equal(it.stream.state, 'handshaking')
    breaks(it.transport, name)
    if (name === 'failure') it.transport.breaks(new Error('another'))
    else if (name === 'takeBack') it.transport.peerEnds()
    else it.transport.peerFinishes()
    await isOver(t, it, settled)
    t.match(await held, Error)
  })
}

t.test('an exception in peerAnswered, read when the keys reach their hard limit, destroys the stream', async (t) => {
  const it = scriptedStream({}, { rekey: { hardLimit: { bytes: 10 } } })
  const settled = outcome(it.stream.renegotiate())
  await turn()
  breaks(it.transport, 'peerAnswered', true)
  it.transport.peerSends('more than ten bytes')
  await isOver(t, it, settled)
})

t.test('an exception in awaitsAnswer, read when a handshake has begun, destroys the stream', async (t) => {
  const it = scriptedStream({}, { holdFrom: 'answer' })
  breaks(it.transport, 'awaitsAnswer', true)
  const settled = outcome(it.stream.renegotiate())
  await isOver(t, it, settled)
})

t.test('if destroy() of the transport throws, the stream still emits close', async (t) => {
  const { stream, transport, events } = scriptedStream()
  breaks(transport, 'destroy')
  const settled = outcome(stream.renegotiate())
  stream.destroy()
  await closed(stream)
  t.same(events, ['close'])
  t.match(await settled, { code: 'ERR_RENEGOTIATION_CLOSED' })
})

t.test('a session value that is not a Uint8Array destroys the stream with a TypeError', async (t) => {
  for (const name of ['keys', 'identity', 'pskIdentity']) {
    const { stream, transport, errors } = scriptedStream()
    Object.assign(transport, { session: () => ({ [name]: 'alice' }) })
    t.match(await outcome(stream.renegotiate()), { code: 'ERR_RENEGOTIATION_CLOSED' })
    await closed(stream)
    t.match(errors, [{ name: 'TypeError', message: `session().${name} must be a Uint8Array, got 'alice'` }])
  }
})

t.test('a value other than an Error that the transport throws is wrapped in an Error', async (t) => {
  const { stream, transport, errors } = scriptedStream()
  Object.assign(transport, {
    session: () => {
      // biome-ignore lint/style/useThrowOnlyError: transports of other authors may do this
      throw 'a word'
    },
  })
  void stream.renegotiate()
  await closed(stream)
  t.match(errors, [{ message: 'The transport threw a word' }])
})

t.test('an exception in a data listener during transport.resume() is uncaught, as with any stream', async (t) => {
  const { stream, transport } = scriptedStream({ reads: false, resumes: 'at once' })
  transport.peerSends('early')
  stream.on('data', throws)
  const uncaught = new Promise((resolve) => process.setUncaughtExceptionCaptureCallback(resolve))
  t.teardown(() => process.setUncaughtExceptionCaptureCallback(null))
  stream.resume()
  t.equal(await uncaught, mine)
  t.equal(stream.destroyed, false)
  stream.destroy()
})

t.test('an exception in a prefinish listener is thrown to the transport that reports its end', async (t) => {
  const ends = scriptedStream({ ends: 'when told' })
  ends.stream.on('prefinish', throws)
  ends.stream.end()
  await turn()
  t.throws(() => ends.transport.endDone(), mine)
  ends.stream.destroy()
})

/** An engine that does nothing, until a part of it throws. */
class QuietEngine implements TLSEngine {
  onReady: (() => void) | null = null
  handshaking = false
  nextRecord: 'data' | undefined
  certificatePolicy = { requestCert: false, rejectUnauthorized: false }
  read(): Want {
    return 'want-read'
  }
  write(from: Uint8Array): number | Want {
    return from.length
  }
  renegotiate(): void {
    this.handshaking = true
  }
  session() {
    return {}
  }
  end(): true {
    return true
  }
  destroy(): void {}
}

for (const [name, isGetter] of [
  ['read', false],
  ['write', false],
  ['session', false],
  ['handshaking', true],
  ['nextRecord', true],
  ['certificatePolicy', true],
] as const) {
  t.test(`an exception in ${name} of an engine destroys the stream, and does not reach onReady's caller`, async (t) => {
    const engine = new QuietEngine()
    const stream = new RenegotiationDuplex(engineTransport(engine))
    const errors: Error[] = []
    stream.on('error', (error) => errors.push(error)).resume()
    await turn()
    if (name === 'nextRecord') {
      // The stream reads nextRecord while a write waits.
      engine.write = () => 'want-write'
      stream.write('waits')
    }
    breaks(engine, name, isGetter)
    stream.write('first')
    const settled = outcome(stream.renegotiate())
    const held = new Promise((resolve) => stream.write('held', resolve))
    engine.onReady?.()
    await closed(stream)
    t.same(errors, [mine])
    t.match(await settled, { name: 'RenegotiationError' })
    t.match(await held, Error)
  })
}
