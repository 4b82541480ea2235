import { once } from 'node:events'
import tls, { type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { wrapTLSSocket } from '../../src/index.ts'
import { type ResettingRelay, resettingRelay } from '../fixtures/resetting-relay.ts'
import { closed, nextError, rejection } from '../fixtures/settled.ts'
import { clientOptions, tlsServer } from '../fixtures/tls-pair.ts'

const CASES = ['nothing', 'data', 'data and FIN'] as const
const CLOSED = { code: 'ERR_RENEGOTIATION_CLOSED' }
const DEAD = { code: /^(EPIPE|ECONNRESET)$/, syscall: /^(read|write)$/ }

/** Returns a server's socket that has received a part of a record, and the relay that keeps the rest. */
async function midRecord(t: Test, options?: tls.TlsOptions): Promise<{ server: TLSSocket; relay: ResettingRelay }> {
  const listening = await tlsServer(t, options)
  const relay = await resettingRelay(listening.port)
  t.teardown(() => relay.close())
  const accepted = once(listening, 'secureConnection') as Promise<[TLSSocket]>
  const client = tls.connect(clientOptions(relay.port))
  client.on('error', () => {}).resume()
  t.teardown(() => client.destroy())
  const [[server]] = await Promise.all([accepted, once(client, 'secureConnect')])
  await relay.splits(() => client.write('a record'))
  return { server, relay }
}

for (const before of CASES) {
  t.test(`a plain socket emits an error if its client sends ${before} and resets (control)`, async (t) => {
    const { server, relay } = await midRecord(t)
    server.resume()
    const error = nextError(server)
    // Too much for TCP, so this write gets the error. If none were in flight, nobody would.
    server.write(Buffer.alloc(32 * 1024 * 1024))
    server.renegotiate({}, () => {})
    relay.resets(before)
    t.match(await error, DEAD)
    await closed(server)
  })

  t.test(`a stream emits an error if its client sends ${before} and resets instead of answering`, async (t) => {
    const { server, relay } = await midRecord(t)
    const stream = wrapTLSSocket(server)
    stream.resume()
    const error = nextError(stream)
    const written = new Promise((resolve) => stream.write(Buffer.alloc(3_000_000), resolve))
    stream.once('renegotiating', () => relay.resets(before))
    t.match(await rejection(stream.renegotiate()), CLOSED)
    t.match(await error, DEAD)
    t.equal(await written, await error)
    await closed(stream)
  })

  t.test(`a later write fails if the client sent ${before} and reset instead of answering`, async (t) => {
    const { server, relay } = await midRecord(t, { allowHalfOpen: true })
    const stream = wrapTLSSocket(server)
    const ended = once(stream.resume(), 'end')
    stream.once('renegotiating', () => relay.resets(before))
    t.match(await rejection(stream.renegotiate()), CLOSED)
    await ended
    const error = nextError(stream)
    const written = new Promise((resolve) => stream.write('anybody there?', resolve))
    t.match(await error, DEAD)
    t.equal(await written, await error)
    await closed(stream)
  })

  t.test(`a stream with nothing to write closes if its client sends ${before} and resets`, async (t) => {
    const { server, relay } = await midRecord(t)
    const stream = wrapTLSSocket(server)
    stream.resume()
    stream.once('renegotiating', () => relay.resets(before))
    t.match(await rejection(stream.renegotiate()), CLOSED)
    await closed(stream)
    t.equal(stream.errored, null)
  })
}
