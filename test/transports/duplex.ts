import { once } from 'node:events'
import { Duplex } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import tls from 'node:tls'
import { Duplex as ReadableStreamDuplex } from 'readable-stream'
import t, { type Test } from 'tap'
import {
  type DuplexTransportOptions,
  duplexTransport,
  type PeerHandshakes,
  RenegotiationDuplex,
  type RenegotiationReport,
} from '../../src/index.ts'
import { closed, nextError, rejection } from '../fixtures/settled.ts'

/** A Duplex that keeps what is written, and calls back at once or when told. */
class Below extends Duplex {
  readonly written: Buffer[] = []
  /** Set by the test: writes wait. */
  waits = false
  takes: () => void = () => {}

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.written.push(chunk)
    if (this.waits) this.takes = done
    else done()
  }
}

function over(t: Test, options?: DuplexTransportOptions, below = new Below()) {
  const stream = new RenegotiationDuplex(duplexTransport(below, options))
  t.teardown(() => stream.on('error', () => {}).destroy())
  stream.resume()
  return { below, stream, written: () => Buffer.concat(below.written).toString() }
}

/** A promise, and how to settle it. */
function deferred() {
  let resolve!: () => void
  let reject!: (reason: unknown) => void
  const promise = new Promise<void>((...both) => {
    ;[resolve, reject] = both
  })
  return { promise, resolve, reject }
}

t.test('duplexTransport() throws a TypeError that names the bad argument', (t) => {
  const bad: [unknown, unknown, RegExp][] = [
    [undefined, {}, /duplex must be a Duplex of .*, got undefined/],
    [{ write() {} }, {}, /duplex must be a Duplex/],
    [new tls.TLSSocket(new Below()), {}, /tlsTransport\(\)/],
    [new Duplex({ objectMode: true }), {}, /object mode/],
    [new Duplex({ encoding: 'utf8' }), {}, /encoding set, it has 'utf8'/],
    [{ writableLength: 0, readableLength: 0 }, {}, /readable-stream 4/],
    [new Below(), { peerHandshakes() {} }, /peerHandshakes needs renegotiate/],
    [new Below(), { renegotiate: true }, /renegotiate must be a function, got true/],
    [new Below(), { peerHandshakes: 1 }, /peerHandshakes must be a function, got 1/],
    [new Below(), { session: () => ({ keys: 'abc' }) }, /session\(\).keys must be a Uint8Array, got 'abc'/],
    [new Below(), { session: null }, /session must be a function, got null/],
  ]
  for (const [duplex, options, message] of bad) {
    t.throws(() => duplexTransport(duplex as Duplex, options as DuplexTransportOptions), { name: 'TypeError', message })
  }
  t.end()
})

t.test('a Duplex can be wrapped only once', (t) => {
  const { below } = over(t)
  t.throws(() => new RenegotiationDuplex(duplexTransport(below)), { name: 'TypeError', message: /wrapped already/ })
  t.end()
})

t.test('without the option renegotiate, a renegotiation is UNSUPPORTED, and data flows on', async (t) => {
  const { stream, written } = over(t)
  t.match(await rejection(stream.renegotiate()), {
    code: 'ERR_RENEGOTIATION_UNSUPPORTED',
    message: /no way to renegotiate/,
  })
  stream.write('on')
  t.equal(written(), 'on')
})

t.test('if the option renegotiate throws, nothing has begun, and the stream stays open', async (t) => {
  const { stream, written } = over(t, {
    renegotiate() {
      throw new Error('not today')
    },
  })
  t.match(await rejection(stream.renegotiate()), {
    code: 'ERR_RENEGOTIATION_UNSUPPORTED',
    cause: { message: 'not today' },
  })
  stream.write('on')
  t.equal(written(), 'on')
  t.equal(stream.state, 'open')
})

t.test('if the promise of the option renegotiate rejects, the stream is destroyed', async (t) => {
  for (const [reason, message] of [
    [new Error('no answer'), 'no answer'],
    ['no Error', /rejected with 'no Error'/],
  ] as const) {
    const { stream } = over(t, { renegotiate: () => Promise.reject(reason) })
    const error = nextError(stream)
    const rejected = rejection(stream.renegotiate())
    t.match(await rejected, { code: 'ERR_RENEGOTIATION_REFUSED', cause: { message } })
    t.equal(await error, await rejected)
    await closed(stream)
  }
})

t.test('writes are held from before renegotiate() until its promise is fulfilled', async (t) => {
  const { promise, resolve } = deferred()
  const keys = [Buffer.from('old'), Buffer.from('new')]
  const { below, stream, written } = over(t, {
    renegotiate: (options) => {
      t.match(options, { requestCert: false })
      t.equal(below.writableLength, 0, 'nothing is in flight')
      return promise
    },
    session: () => ({ keys: keys[0] }),
  })
  below.waits = true
  stream.write('in flight')
  const renegotiated = stream.renegotiate()
  stream.write(', held')
  await turn()
  await turn()
  t.equal(stream.state, 'draining')
  below.waits = false
  const begun = once(stream, 'renegotiating')
  below.takes()
  await begun
  t.equal(written(), 'in flight')
  keys.shift()
  resolve()
  t.match(await renegotiated, { origin: 'local', verified: true })
  await turn()
  t.equal(written(), 'in flight, held')
  t.ok(
    below.written.every(({ length }) => length > 0),
    'no empty write reached the Duplex',
  )
})

t.test('a renegotiate() without a promise completes on return, and without keys it is not verified', async (t) => {
  const { stream } = over(t, { renegotiate: () => {} })
  t.match(await stream.renegotiate(), { origin: 'local', verified: false })
})

t.test('writes are held during a handshake of the peer', async (t) => {
  let peer!: PeerHandshakes
  const { stream, written } = over(t, {
    renegotiate: () => {},
    peerHandshakes: (told) => {
      peer = told
    },
  })
  peer.done()
  t.equal(stream.state, 'open', 'done() without started() has no effect')
  peer.started()
  t.equal(stream.state, 'handshaking')
  stream.write('held')
  const renegotiated = once(stream, 'renegotiated') as Promise<[RenegotiationReport]>
  await turn()
  t.equal(written(), '')
  peer.done()
  t.match(await renegotiated, [{ origin: 'peer' }])
  await turn()
  t.equal(written(), 'held')
})

for (const first of ['ours', "the peer's"]) {
  t.test(`with both handshakes in progress, writes are held until both are done: ${first} first`, async (t) => {
    const { promise, resolve } = deferred()
    let peer!: PeerHandshakes
    const { stream } = over(t, {
      renegotiate: () => promise,
      peerHandshakes: (told) => {
        peer = told
      },
    })
    const renegotiated = stream.renegotiate()
    await once(stream, 'renegotiating')
    peer.started()
    const done = [resolve, () => peer.done()]
    if (first !== 'ours') done.reverse()
    done[0]?.()
    await turn()
    t.equal(stream.state, 'handshaking')
    done[1]?.()
    t.match(await renegotiated, { origin: 'local' })
    t.equal(stream.counters.byPeer, 0)
  })
}

t.test('the result of renegotiate() is ignored after the Duplex was destroyed', async (t) => {
  for (const settle of ['resolve', 'reject'] as const) {
    const { promise, ...settles } = deferred()
    const { below, stream } = over(t, { renegotiate: () => promise })
    const error = nextError(stream)
    const rejected = rejection(stream.renegotiate())
    await once(stream, 'renegotiating')
    below.destroy(new Error('reset'))
    settles[settle](new Error('late'))
    t.match(await error, { message: 'reset' })
    t.match(await rejected, { code: 'ERR_RENEGOTIATION_CLOSED', cause: { message: 'reset' } })
    await closed(stream)
  }
})

t.test('with a Duplex without allowHalfOpen, queued writes are sent before it ends', async (t) => {
  const below = new Below({ allowHalfOpen: false })
  const { stream, written } = over(t, {}, below)
  below.waits = true
  for (const chunk of ['a', 'b', 'c']) stream.write(chunk)
  below.push(null)
  await once(stream, 'end')
  below.waits = false
  below.takes()
  await closed(stream)
  t.equal(written(), 'abc')
  t.equal(below.writableFinished, true)
})

t.test('a Duplex of readable-stream works like one of Node', async (t) => {
  const written: Buffer[] = []
  const below = new ReadableStreamDuplex({
    read() {},
    write(chunk: Buffer, _encoding: string, done: () => void) {
      written.push(chunk)
      done()
    },
  })
  const stream = new RenegotiationDuplex(duplexTransport(below, { renegotiate: () => {} }))
  stream.write('there')
  t.match(await stream.renegotiate(), { origin: 'local' })
  below.push('and back')
  t.equal(String((await once(stream, 'data'))[0]), 'and back')
  t.equal(Buffer.concat(written).toString(), 'there')
  below.push(null)
  stream.end()
  await closed(stream)
})

t.test('during a handshake of the peer, nothing is written, not even earlier writes', async (t) => {
  let peer!: PeerHandshakes
  const { below, stream, written } = over(t, {
    renegotiate: () => {},
    peerHandshakes: (told) => {
      peer = told
    },
  })
  below.waits = true
  stream.cork()
  for (const chunk of ['a', 'b', 'c']) stream.write(chunk)
  stream.uncork()
  peer.started()
  below.takes()
  for (let i = 0; i < 5; i++) await turn()
  t.equal(written(), 'a')
  below.waits = false
  peer.done()
  while (written() !== 'abc') await turn()
})

t.test('a Duplex with _writev() gets several chunks at once', (t) => {
  class Gathering extends Below {
    readonly gathered: number[] = []
    override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
      this.gathered.push(chunks.length)
      done()
    }
  }
  const below = new Gathering()
  const { stream } = over(t, {}, below)
  stream.cork()
  for (const chunk of ['a', 'b', 'c']) stream.write(chunk)
  stream.uncork()
  t.same(below.gathered, [3])
  t.end()
})

t.test('the error of a Duplex that was destroyed just before it was wrapped reaches the stream', async (t) => {
  const below = new Below()
  below.destroy(new Error('mine'))
  const stream = new RenegotiationDuplex(duplexTransport(below))
  t.match(await nextError(stream), { message: 'mine' })
  await closed(stream)
})
