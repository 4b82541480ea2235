import sinon from 'sinon'
import t from 'tap'
import type { Face } from '../../src/core/face.ts'
import { Gate } from '../../src/core/gate.ts'
import { inboundBudget } from '../../src/core/inbound-budget.ts'
import { parseOptions, type RenegotiationOptions } from '../../src/core/options.ts'
import { outcome } from '../fixtures/scripted-stream.ts'
import { type Script, ScriptedTransport, turn } from '../fixtures/scripted-transport.ts'

/** A gate between a scripted transport and a stub of a face. */
function gate(script: Script = {}, options?: RenegotiationOptions) {
  const transport = new ScriptedTransport(script)
  const face = {
    push: sinon.stub<[Buffer | null], boolean>().returns(true),
    read: sinon.spy(),
    listenerCount: () => 0,
    destroy: sinon.spy(),
    cork: sinon.spy(),
    uncork: sinon.spy(),
    emit: sinon.stub<[string, unknown], boolean>().returns(true),
    once: sinon.spy(),
    readableLength: 0,
    readableBuffer: [],
    readableHighWaterMark: options?.readableHighWaterMark ?? 65_536,
    writableLength: 0,
    writableEnded: false,
    writableBuffer: [] as { chunk: Buffer }[],
  }
  return {
    transport,
    face,
    gate: new Gate(face as unknown as Face, transport, parseOptions({ handshakeTimeout: 0, ...options })),
  }
}

const chunks = (...texts: string[]) => buffers(...texts).map((chunk) => ({ chunk }))
const buffers = (...texts: string[]) => texts.map((text) => Buffer.from(text))

t.test('data from the peer is pushed into the face, followed by the end of the stream', async (t) => {
  const { gate: it, face, transport } = gate()
  it.read()
  transport.peerSends('abc')
  transport.peerEnds()
  t.same(face.push.args, [[Buffer.from('abc')], [null]])
})

t.test('a face whose buffer is full pauses the transport until the face reads again', async (t) => {
  const { gate: it, face, transport } = gate()
  face.push.returns(false)
  it.read()
  transport.peerSends('abc')
  t.equal(transport.flowing, false)
  it.read()
  t.equal(transport.flowing, true)
})

t.test('gathered data and the end are pushed, and the renegotiation settles, even if a listener throws', async (t) => {
  const { gate: it, face, transport } = gate()
  const report = outcome(it.renegotiate())
  transport.brings(Buffer.from('abc'))
  face.push.onFirstCall().throws(new Error('mine'))
  t.throws(() => it.end(), /mine/)
  t.same(face.push.args, [[Buffer.from('abc')], [null]])
  t.match(await report, { code: 'ERR_RENEGOTIATION_CLOSED' })
})

t.test("destroy() releases the stream's share of the inbound budget", async (t) => {
  const { gate: it, face, transport } = gate({}, { readableHighWaterMark: 2 })
  const report = outcome(it.renegotiate())
  transport.brings(Buffer.from('abc'))
  t.equal(inboundBudget.bytes, 1)
  it.destroy(null, () => {})
  t.equal(inboundBudget.bytes, 0)
  t.same(face.push.args, [])
  await report
})

t.test('the face emits the events of a renegotiation', async (t) => {
  const { gate: it, face, transport } = gate()
  const report = it.renegotiate()
  transport.peerFinishes()
  t.same(face.emit.args, [
    ['renegotiating', { origin: 'local' }],
    ['renegotiated', await report],
  ])
})

t.test('the face is corked during the callback of a batch, and uncorked even if a listener throws', async (t) => {
  const { gate: it, face } = gate()
  const done = sinon.spy()
  it.write(Buffer.from('abc'), done)
  it.written()
  await turn()
  sinon.assert.callOrder(face.cork, done, face.uncork)
  t.throws(() => it.finished(sinon.stub().throws(new Error('mine'))), /mine/)
  t.equal(face.uncork.callCount, 2)
})

t.test('heldBytes is the writableLength of the face, minus what was given to the transport', async (t) => {
  const { gate: it, face, transport } = gate({ takes: 'when told' })
  face.writableLength = 10
  it.writev(chunks('abcd', 'ef'), () => {})
  it.written()
  t.equal(it.heldBytes, 6)
  t.equal(it.bytesInFlight, 4)
  transport.take(3)
  t.equal(it.heldBytes, 7)
  t.equal(it.bytesInFlight, 0)
})

t.test('written() destroys the face if it holds more than maxHeldBytes, but not in the state open', async (t) => {
  const { gate: it, face, transport } = gate({}, { maxHeldBytes: 3 })
  face.writableLength = 4
  it.written()
  t.equal(face.destroy.callCount, 0)
  it.read()
  transport.peerBegins()
  it.written()
  t.match(face.destroy.args, [[{ code: 'ERR_RENEGOTIATION_HOLD_OVERFLOW' }]])
})

t.test('an error of the transport destroys the face', async (t) => {
  const { face, transport } = gate()
  const error = new Error('reset')
  transport.breaks(error)
  t.same(face.destroy.args, [[error]])
})

t.test('a failed write destroys the face', async (t) => {
  const { gate: it, face, transport } = gate({ takes: 'when told' })
  const error = new Error('reset')
  it.write(Buffer.from('abc'), () => {})
  it.written()
  transport.failWrite(error)
  t.same(face.destroy.args, [[error]])
})

t.test('final() ends the transport, and passes on the error if there is one', async (t) => {
  for (const error of [undefined, new Error('reset')]) {
    const { gate: it, transport } = gate({ ends: 'when told' })
    const done = sinon.spy()
    it.final(done)
    t.equal(transport.ended, true)
    t.equal(done.callCount, 0)
    transport.endDone(error)
    t.same(done.args, [[error]])
  }
})

t.test('final() waits for the renegotiations that were requested before it', async (t) => {
  const { gate: it, transport } = gate()
  const done = sinon.spy()
  const result = outcome(it.renegotiate())
  it.final(done)
  t.equal(transport.ended, false)
  transport.peerFinishes()
  t.match(await result, { origin: 'local' })
  t.equal(transport.ended, true)
  t.equal(done.callCount, 1)
})

t.test('final() does not end a transport that is destroyed while final() waits', async (t) => {
  const { gate: it, transport } = gate()
  void it.renegotiate()
  it.final(() => t.fail('final() called back'))
  it.destroy(null, () => {})
  t.equal(transport.ended, false)
})

t.test('destroy() destroys the transport, and calls back once the transport has closed', async (t) => {
  const { gate: it, transport } = gate({ destroys: 'when told' })
  const done = sinon.spy()
  it.destroy(null, done)
  t.equal(it.state, 'closed')
  t.equal(transport.destroyed, true)
  await turn()
  t.equal(done.callCount, 0)
  transport.closes()
  t.equal(done.callCount, 1)
})

t.test('destroy() does not destroy a transport that has already closed', async (t) => {
  const { gate: it, face, transport } = gate()
  const done = sinon.spy()
  transport.closes()
  t.same(face.destroy.args, [[]])
  it.destroy(null, done)
  t.equal(done.callCount, 0)
  await turn()
  t.equal(done.callCount, 1)
  t.equal(transport.destroyed, false)
})

t.test('destroy() calls back the parked write, with its own error or ERR_STREAM_DESTROYED', async (t) => {
  const mine = new Error('mine')
  for (const [error, answer] of [
    [mine, mine],
    [null, { code: 'ERR_STREAM_DESTROYED' }],
  ] as const) {
    const { gate: it } = gate({ takes: 'when told' })
    const done = sinon.spy()
    it.write(Buffer.from('abc'), done)
    it.written()
    it.destroy(error, () => {})
    t.equal(done.callCount, 0, 'not called back within destroy()')
    await turn()
    t.equal(done.callCount, 1)
    t.match(done.firstCall.args[0], answer)
  }
})

t.test('unsent() returns the rest of the outbox, followed by the queue of the face', async (t) => {
  const { gate: it, face, transport } = gate({ takes: 'when told' })
  it.writev(chunks('abc', 'def'), () => {})
  it.written()
  transport.take()
  await turn()
  transport.take(1)
  t.same(it.unsent(), [])
  face.writableBuffer = chunks('ghi')
  it.destroy(null, () => {})
  t.same(it.unsent(), buffers('ef', 'ghi'))
})

t.test('unsent() returns the Uint8Arrays of the face as Buffers over the same memory', async (t) => {
  const { gate: it, face } = gate()
  const bytes = new Uint8Array([0, 1, 2, 3]).subarray(1, 3)
  face.writableBuffer = [{ chunk: bytes as Buffer }]
  it.destroy(null, () => {})
  const [buffer] = it.unsent()
  t.ok(Buffer.isBuffer(buffer))
  t.same(buffer, Buffer.from([1, 2]))
  t.equal(buffer?.buffer, bytes.buffer)
})

t.test('a transport that closes destroys the face, unless both sides have ended', async (t) => {
  for (const [ours, peers] of [
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ] as const) {
    const { gate: it, face, transport } = gate()
    it.read()
    if (ours) it.final(() => {})
    if (peers) transport.peerEnds()
    transport.closes()
    t.equal(face.destroy.callCount, ours && peers ? 0 : 1, `our side ended: ${ours}, the peer's side ended: ${peers}`)
  }
})
