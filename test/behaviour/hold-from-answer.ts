import { once } from 'node:events'
import { Duplex } from 'node:stream'
import tls, { type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import {
  connect,
  createServer,
  duplexTransport,
  RenegotiationDuplex,
  type RenegotiationOptions,
  wrapTLSSocket,
} from '../../src/index.ts'
import { createServer as createOpenSSLServer } from '../../src/openssl/index.ts'
import { mallory, until } from '../fixtures/attack.ts'
import { link } from '../fixtures/link.ts'
import { Random, SEED } from '../fixtures/random.ts'
import { closed, nextError, rejection } from '../fixtures/settled.ts'
import { Tally } from '../fixtures/tally.ts'
import { tlsPair, tlsServer } from '../fixtures/tls-pair.ts'
import { RawPeer } from '../fixtures/tls12/peer.ts'

/** LINK_TIMES is for a shorter run. */
const TIMES = Math.min(300, Number(process.env['LINK_TIMES'] ?? 300))
const holdFrom: RenegotiationOptions = { holdFrom: 'answer', peerLimit: false }

t.setTimeout(240_000)
t.comment(`SEED=${SEED}`)

for (const [what, options] of [
  ['a server renegotiates', { server: TIMES }],
  ['a server renegotiates and resumes', { server: TIMES, serverOptions: { resumption: true } }],
  ['both ends renegotiate', { server: Math.ceil(TIMES / 2), client: Math.ceil(TIMES / 2) }],
  ['a server renegotiates over a round trip of 20 ms', { server: Math.ceil(TIMES / 10), latency: 10 }],
  [
    'both ends renegotiate over a round trip of 20 ms',
    { server: Math.ceil(TIMES / 20), client: Math.ceil(TIMES / 20), latency: 10 },
  ],
  ['a server renegotiates on a Duplex in JavaScript', { server: Math.ceil(TIMES / 2), onDuplex: true }],
] as const) {
  t.test(`${what}, writes on until the answer, and no byte is lost`, async (t) => {
    const serverOptions = { holdFrom: 'answer', ...('serverOptions' in options && options.serverOptions) } as const
    const { client, server } = await link({ seed: SEED, ...options, serverOptions })
    const proper = { protocol: 'TLSv1.2', ended: true, error: null, unverified: 0 }
    t.hasStrict(server, { ...proper, received: client.sent, served: options.server })
    t.hasStrict(client, { ...proper, received: server.sent })
  })
}

/** A server that renegotiates, and a scripted client that has received its HelloRequest and not answered it. */
async function asked(t: Test, options: RenegotiationOptions) {
  const listening = await tlsServer(t, {})
  const accepted = once(listening, 'secureConnection') as Promise<[TLSSocket]>
  const raw = await RawPeer.connect({ port: listening.port, servername: 'localhost', ...mallory }, t)
  await raw.handshake()
  const [plain] = await accepted
  const stream = wrapTLSSocket(plain, options)
  t.teardown(() => stream.destroy())
  stream.on('error', () => {}).resume()
  const result = stream.renegotiate()
  // Not every test waits for the result at once. A failure before that would be an unhandled rejection.
  result.catch(() => {})
  await raw.expect('HelloRequest')
  return { raw, stream, plain, result }
}

/** Writes, and resolves when the write has left. */
function wrote(stream: Duplex, text: string): Promise<void> {
  return new Promise((resolve, reject) => void stream.write(text, (error) => (error ? reject(error) : resolve())))
}

t.test('writes leave until the answer comes, and are held from then on', async (t) => {
  const { raw, stream, result } = await asked(t, holdFrom)
  await wrote(stream, 'after the request')
  t.equal(stream.state, 'handshaking')
  t.equal(String(await raw.data(17)), 'after the request')
  t.equal(stream.counters.hold.count, 1, 'writes were held until the request was sent')

  await raw.handshake({ until: 'ClientHello' })
  await raw.expect('ServerHello')
  let left = false
  const held = wrote(stream, ', after the answer').then(() => {
    left = true
  })
  t.equal(stream.heldBytes, 18)
  for (let turns = 0; turns < 20; turns++) await new Promise(setImmediate)
  t.equal(left, false)
  for (const name of ['Certificate', 'ServerKeyExchange', 'ServerHelloDone'] as const) await raw.expect(name)
  raw.sendHandshake('ClientKeyExchange', raw.clientKeyExchange())
  raw.sendChangeCipherSpec()
  raw.sendHandshake('Finished', raw.finished())
  t.match(await result, { origin: 'local', verified: true, resumed: false })
  await held
  t.equal(stream.counters.hold.count, 2)
  t.equal(String(await raw.data(35)), 'after the request, after the answer')
})

t.test('without the option, and with request, nothing leaves after the request (control)', async (t) => {
  for (const options of [{}, { holdFrom: 'request' }] as const) {
    const { raw, stream, result } = await asked(t, options)
    let left = false
    const held = wrote(stream, 'held').then(() => {
      left = true
    })
    for (let turns = 0; turns < 20; turns++) await new Promise(setImmediate)
    t.strictSame([left, stream.heldBytes, raw.receivedBytes], [false, 4, 0])
    await raw.handshake()
    await Promise.all([result, held])
  }
})

t.test('a client that never answers is disconnected after handshakeTimeout, however much is written', async (t) => {
  const { stream, result } = await asked(t, { ...holdFrom, handshakeTimeout: 200 })
  const failed = stream.errored ?? nextError(stream)
  const write = (): void => void (stream.destroyed || stream.write('more', () => setImmediate(write)))
  write()
  const error = await rejection(result)
  t.match(error, { code: 'ERR_RENEGOTIATION_HANDSHAKE_TIMEOUT' })
  t.equal(await failed, error)
})

t.test(
  'what is written before the answer does not count for maxHeldBytes, and what is written after it does',
  async (t) => {
    const { raw, stream, result } = await asked(t, { ...holdFrom, maxHeldBytes: 10 })
    await until(() => stream.counters.hold.count === 1)
    for (let i = 0; i < 10; i++) stream.write('ten bytes.')
    t.equal(stream.destroyed, false)
    t.equal((await raw.data(100)).length, 100)
    const failed = nextError(stream)
    void raw.handshake({ until: 'ClientHello' })
    await raw.expect('ServerHello')
    stream.write('eleven byte')
    t.match(await failed, { code: 'ERR_RENEGOTIATION_HOLD_OVERFLOW' })
    t.match(await rejection(result), { code: 'ERR_RENEGOTIATION_HOLD_OVERFLOW' })
  },
)

t.test('keys that reach their hard limit before the answer are not used any more', async (t) => {
  const rekey = { everyBytes: 1000, hardLimit: { bytes: 2000 } }
  const { raw, stream } = await asked(t, { ...holdFrom, rekey })
  const failed = nextError(stream)
  stream.write(Buffer.alloc(5000))
  t.match(await failed, { code: 'ERR_RENEGOTIATION_KEYS_EXPIRED' })
  t.ok(raw.receivedBytes <= 2000)
})

t.test('a client that ends unanswered gets everything that the server writes', async (t) => {
  const { raw, stream, result } = await asked(t, holdFrom)
  await wrote(stream, 'one, ')
  stream.end('two')
  raw.close()
  t.match(await rejection(result), { code: 'ERR_RENEGOTIATION_CLOSED', message: /before it answered/ })
  t.equal(String(await raw.data(8)), 'one, two')
  await closed(stream)
  t.equal(stream.errored, null)
})

t.test('a plain client that only reads stays connected, and gets every byte', async (t) => {
  const { client, server } = await tlsPair(t)
  const stream = wrapTLSSocket(server, holdFrom)
  stream.resume()
  const [sent, received] = [new Tally(), new Tally()]
  client.on('data', (chunk) => received.add(chunk))
  let isOver = false
  const random = new Random(SEED)
  const flood = async () => {
    while (!isOver) {
      const chunk = random.chunk()
      sent.add(chunk)
      if (!stream.write(chunk)) await once(stream, 'drain')
    }
  }
  const flooding = flood()
  for (let i = 0; i < 20; i++) t.match(await stream.renegotiate(), { verified: true })
  isOver = true
  await flooding
  const ended = once(client, 'end')
  stream.end()
  await ended
  t.same(received.sum(), sent.sum())
})

t.test('a plain client that writes as well loses the connection', async (t) => {
  const { client, server } = await link({
    seed: SEED,
    server: 20,
    serverOptions: { holdFrom: 'answer' },
    plainClient: true,
  })
  t.match(client, { ended: false, error: { message: /unexpected record/ } })
  t.notSame(client.received, server.sent, 'data of the server was lost')
})

t.test('the option is refused where it would have no effect', async (t) => {
  const answer = { holdFrom: 'answer' } as const
  const refused = { code: 'ERR_INVALID_ARG_VALUE', message: /holdFrom: 'answer' is an option of a server/ }
  t.throws(() => connect({ port: 1, renegotiation: answer }), refused)
  t.throws(() => wrapTLSSocket(new tls.TLSSocket(new Duplex()), answer), refused)
  t.throws(() => new RenegotiationDuplex(duplexTransport(new Duplex()), answer), refused)
  t.throws(() => createOpenSSLServer({ renegotiation: answer }), refused)
  t.throws(() => createServer({ renegotiation: { holdFrom: 'reply' as 'answer' } }), {
    code: 'ERR_INVALID_ARG_VALUE',
    message: "holdFrom must be 'request' or 'answer', got 'reply'",
  })
})
