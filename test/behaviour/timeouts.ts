import { once } from 'node:events'
import t from 'tap'
import { type RenegotiationStream, wrapTLSSocket } from '../../src/index.ts'
import { nextError, rejection } from '../fixtures/settled.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'

/** More than the kernel takes for a peer that doesn't read. */
const TOO_MUCH = Buffer.alloc(64 * 1024 * 1024)

/** The kernel takes no more: turn after turn of the event loop, nothing moves. */
async function stalled(stream: RenegotiationStream): Promise<void> {
  let held = stream.heldBytes
  for (let turns = 0; turns < 100; turns++) {
    await new Promise(setImmediate)
    if (stream.heldBytes === held) continue
    held = stream.heldBytes
    turns = 0
  }
}

t.test('a drain that takes too long is given up, and the stream goes on', async (t) => {
  const pair = await tlsPair(t)
  pair.server.pause()
  const stream = wrapTLSSocket(pair.client)
  const written = new Promise((resolve) => stream.write(TOO_MUCH, resolve))
  await stalled(stream)
  const error = await rejection(stream.renegotiate({ drainTimeout: 50 }))
  t.match(error, { code: 'ERR_RENEGOTIATION_DRAIN_TIMEOUT', message: /in flight/ })
  t.equal(stream.state, 'open')
  pair.server.resume()
  t.notOk(await written, 'all of it is written')
  t.match(await stream.renegotiate(), { verified: true })
})

t.test('a signal gives up a drain, and the stream goes on', async (t) => {
  const pair = await tlsPair(t)
  pair.server.pause()
  const stream = wrapTLSSocket(pair.client)
  // Before its socket is: from Node 22 on, the write in flight then fails with ECANCELED.
  t.teardown(() => stream.destroy())
  stream.write(TOO_MUCH)
  await stalled(stream)
  const giveUp = new AbortController()
  const renegotiation = stream.renegotiate({ signal: giveUp.signal })
  t.equal(stream.state, 'draining')
  giveUp.abort(new Error('changed my mind'))
  const error = await rejection(renegotiation)
  t.match(error, { name: 'AbortError', code: 'ABORT_ERR', cause: { message: 'changed my mind' } })
  t.equal(stream.state, 'open')
})

t.test('a handshake that takes too long ends the stream', async (t) => {
  const pair = await tlsPair(t)
  // It reads nothing, so it never sees the ClientHello.
  pair.server.pause()
  ;(pair.server as unknown as { _handle: { readStop(): void } })._handle.readStop()
  const stream = wrapTLSSocket(pair.client)
  const errored = nextError(stream)
  const error = await rejection(stream.renegotiate({ handshakeTimeout: 50 }))
  t.match(error, { code: 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT' })
  t.equal(await errored, error)
  t.equal(stream.state, 'closed')
})

t.test("the peer's handshake may not take for ever either", async (t) => {
  const pair = await tlsPair(t)
  const stream = wrapTLSSocket(pair.server, { handshakeTimeout: 50 })
  stream.resume()
  pair.client.on('error', () => {}).resume()
  // The peer begins, and then reads nothing.
  pair.client.renegotiate({}, () => {})
  const [{ origin }] = await once(stream, 'renegotiating')
  t.equal(origin, 'peer')
  ;(pair.client as unknown as { _handle: { readStop(): void } })._handle.readStop()
  t.match(await nextError(stream), { code: 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT', message: /peer's/ })
})

t.test('a signal ends the stream once the handshake has begun', async (t) => {
  const pair = await tlsPair(t)
  const giveUp = new AbortController()
  const stream = wrapTLSSocket(pair.client)
  stream.once('renegotiating', () => giveUp.abort())
  const errored = nextError(stream)
  const error = await rejection(stream.renegotiate({ signal: giveUp.signal }))
  t.match(error, { name: 'AbortError' })
  t.equal(await errored, error)
})
