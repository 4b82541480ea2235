import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { engineTransport, RenegotiationDuplex, type TLSEngine } from '../../src/index.ts'
import { enginePair, type TracedEngine } from '../fixtures/openssl-engine.ts'
import { Random, SEED } from '../fixtures/random.ts'
import { closed } from '../fixtures/settled.ts'
import { Tally } from '../fixtures/tally.ts'

t.comment(`SEED=${SEED}`)

/** An engine without `nextRecord`, like that of a binding which cannot look at records. */
class Untelling implements TLSEngine {
  readonly #engine: TracedEngine

  constructor(engine: TracedEngine) {
    this.#engine = engine
  }
  get onReady() {
    return this.#engine.onReady
  }
  set onReady(onReady) {
    this.#engine.onReady = onReady
  }
  get handshaking() {
    return this.#engine.handshaking
  }
  read(into: Uint8Array) {
    return this.#engine.read(into)
  }
  write(from: Uint8Array) {
    return this.#engine.write(from)
  }
  renegotiate(options?: object) {
    this.#engine.renegotiate(options)
  }
  end() {
    return this.#engine.end()
  }
  destroy() {
    this.#engine.destroy()
  }
}

function pair(drainTimeout: number) {
  const engines = enginePair({ bufferSize: 4096, portion: 4096, capacity: 4096 })
  const wrap = (engine: TracedEngine) =>
    new RenegotiationDuplex(engineTransport(new Untelling(engine), { allowHalfOpen: true, drainTimeout }))
  return { client: wrap(engines.client), server: wrap(engines.server), wire: engines.wire }
}

t.test('two engines without nextRecord and drainTimeout deadlock if all buffers are full', async (t) => {
  const { client, server, wire } = pair(0)
  for (const stream of [client, server]) stream.resume().write(Buffer.alloc(1_000_000))
  let turns = -1
  while (wire.turns !== turns) {
    turns = wire.turns
    for (let i = 0; i < 50; i++) await turn()
  }
  t.ok(client.bytesInFlight > 0 && server.bytesInFlight > 0, 'both writes are still in flight')
  client.destroy()
  server.destroy()
})

t.test('two engines without nextRecord but with drainTimeout exchange all data, and then renegotiate', async (t) => {
  const { client, server } = pair(1)
  const random = new Random(SEED)
  const ends = [client, server].map((stream) => {
    const sent = new Tally()
    const received = new Tally()
    stream.on('data', (chunk) => received.add(chunk))
    const written: Promise<unknown>[] = []
    for (let i = 0; i < 10; i++) {
      const chunk = random.chunk(64 * 1024)
      sent.add(chunk)
      written.push(new Promise((resolve) => stream.write(chunk, resolve)))
    }
    return { sent, received, written: Promise.all(written) }
  })
  await Promise.all(ends.map(({ written }) => written))
  t.match(await client.renegotiate(), { origin: 'local' })
  const done = [closed(client), closed(server)]
  client.end()
  server.end()
  await Promise.all(done)
  t.same(ends[0]?.received.sum(), ends[1]?.sent.sum())
  t.same(ends[1]?.received.sum(), ends[0]?.sent.sum())
})
