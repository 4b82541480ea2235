import { once } from 'node:events'
import t from 'tap'
import { type RenegotiationStream, wrapTLSSocket } from '../../src/index.ts'
import { nextError, rejection } from '../fixtures/settled.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'

/** More bytes than the kernel buffers for a peer that does not read. */
const TOO_MUCH = Buffer.alloc(64 * 1024 * 1024)

/** Waits until the kernel takes no more bytes: until nothing has moved for 100 turns of the event loop. */
async function stalled(stream: RenegotiationStream): Promise<void> {
  let held = stream.heldBytes
  for (let turns = 0; turns < 100; turns++) {
    await new Promise(setImmediate)
    if (stream.heldBytes === held) continue
    held = stream.heldBytes
    turns = 0
  }
}

t.test('a drain that takes longer than drainTimeout is abandoned, and the stream can still be used', async (t) => {
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

t.test('aborting the signal during a drain rejects with AbortError, and the stream stays open', async (t) => {
  const pair = await tlsPair(t)
  pair.server.pause()
  const stream = wrapTLSSocket(pair.client)
  // The stream is destroyed before its socket. Otherwise the write in flight fails with ECANCELED from Node 22 on.
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

t.test('a handshake that takes longer than handshakeTimeout destroys the stream', async (t) => {
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

t.test('handshakeTimeout also applies to a handshake that the peer begins', async (t) => {
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

t.test('aborting the signal during a handshake destroys the stream with AbortError', async (t) => {
  const pair = await tlsPair(t)
  const giveUp = new AbortController()
  const stream = wrapTLSSocket(pair.client)
  stream.once('renegotiating', () => giveUp.abort())
  const errored = nextError(stream)
  const error = await rejection(stream.renegotiate({ signal: giveUp.signal }))
  t.match(error, { name: 'AbortError' })
  t.equal(await errored, error)
})
