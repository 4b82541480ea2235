import { once } from 'node:events'
import type { TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { type RenegotiationOptions, wrapTLSSocket } from '../../src/index.ts'
import { closed, rejection } from '../fixtures/settled.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'

const BYTES = 3_000_000
const halfOpen = { server: { allowHalfOpen: true }, client: { allowHalfOpen: true } } as const

/** Returns a client that does not read, and a server's stream. `began` resolves when that has sent a HelloRequest. */
async function asked(t: Test, options?: RenegotiationOptions) {
  const { client, server } = await tlsPair(t, halfOpen)
  client.pause()
  const stream = wrapTLSSocket(server, options)
  stream.resume()
  const began = once(stream, 'renegotiating')
  return { client, stream, began }
}

/** Ends the client, which then reads until the connection closes. Returns how many bytes it received. */
async function endsAndReads(client: TLSSocket): Promise<number> {
  let bytes = 0
  client.on('error', () => {})
  client.end()
  await once(client, 'finish')
  client.on('data', (chunk) => {
    bytes += chunk.length
  })
  client.resume()
  await closed(client)
  return bytes
}

t.test('a client that ends instead of answering a renegotiation still receives all data of the server', async (t) => {
  const { client, stream, began } = await asked(t)
  const renegotiation = rejection(stream.renegotiate())
  await began
  stream.setTimeout(12_345)
  stream.end(Buffer.alloc(BYTES))
  t.equal(stream.state, 'handshaking')
  t.equal(await endsAndReads(client), BYTES)
  t.match(await renegotiation, { code: 'ERR_RENEGOTIATION_CLOSED', message: /before it answered/ })
  await closed(stream)
  t.equal(stream.errored, null)
  t.match(stream.counters, { renegotiations: 0, failed: 1 })
})

t.test('a client that ends unanswered and then reads a little in each turn still receives all data', async (t) => {
  const { client, stream, began } = await asked(t)
  const renegotiation = rejection(stream.renegotiate())
  await began
  stream.end(Buffer.alloc(2 * BYTES))
  client.end()
  t.match(await renegotiation, { code: 'ERR_RENEGOTIATION_CLOSED' })
  let bytes = 0
  client.on('data', (chunk) => {
    bytes += chunk.length
    client.pause()
    setImmediate(() => setImmediate(() => client.resume()))
  })
  client.resume()
  await once(client, 'end')
  t.equal(bytes, 2 * BYTES)
  await closed(stream)
  t.equal(stream.errored, null)
})

t.test('a client that ends during a scheduled renegotiation gets all data, and no failure is emitted', async (t) => {
  const failed = t.captureFn(() => {})
  const { client, stream, began } = await asked(t, { rekey: { everyMs: 1 } })
  stream.on('renegotiationFailed', failed)
  await began
  stream.end(Buffer.alloc(BYTES))
  t.equal(await endsAndReads(client), BYTES)
  await closed(stream)
  t.equal(stream.errored, null)
  t.same(failed.calls, [])
})
