import { once } from 'node:events'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import type { LibSSL } from '../../examples/openssl-engine/libssl.ts'
import { engineTransport, RenegotiationDuplex, type RenegotiationStream, wrapTLSSocket } from '../../src/index.ts'
import { everyLibSSL } from '../fixtures/libssl.ts'
import { enginePair } from '../fixtures/openssl-engine.ts'
import { relay } from '../fixtures/relay.ts'
import { closed, rejection } from '../fixtures/settled.ts'
import { clientOptions, tlsServer } from '../fixtures/tls-pair.ts'

/*
 * The peer's close_notify arrives during a handshake. The peer sent it before the
 * ClientHello or the HelloRequest reached it. An end that has sent close_notify
 * does not answer a handshake (OpenSSL drops the handshake messages that it
 * reads), so the handshake can never complete, and renegotiate() must reject.
 * A server that has only sent a HelloRequest can still send its data. A stream
 * on a TLS socket does that. A stream on an engine cannot tell this case apart.
 */

type Streams = Record<'client' | 'server', RenegotiationStream>

/** Connects both ends through a relay, whose latency lets both begin before either knows about the other. */
async function overSockets(t: Test): Promise<Streams> {
  const server = await tlsServer(t, { allowHalfOpen: true })
  const way = await relay(server.port, { latency: 20 })
  t.teardown(() => way.close())
  const client = tls.connect({ ...clientOptions(way.port), allowHalfOpen: true } as tls.ConnectionOptions)
  const [accepted] = (await once(server, 'secureConnection')) as [tls.TLSSocket]
  return { client: wrapTLSSocket(client), server: wrapTLSSocket(accepted) }
}

function overEngines(t: Test, libssl: LibSSL): Streams {
  const engines = enginePair({ libssl, bufferSize: 4096 })
  const wrap = (name: keyof Streams) => new RenegotiationDuplex(engineTransport(engines[name], { allowHalfOpen: true }))
  const streams = { client: wrap('client'), server: wrap('server') }
  t.teardown(() => {
    for (const stream of Object.values(streams)) stream.on('error', () => {}).destroy()
  })
  return streams
}

const ways: [string, (t: Test) => Promise<Streams> | Streams, skip: string | boolean][] = [
  ['a TLS socket', overSockets, false],
  ...everyLibSSL.map(
    ({ name, libssl, skip }) => [name, (t: Test) => overEngines(t, libssl as LibSSL), skip] as (typeof ways)[number],
  ),
]

for (const [how, make, skip] of ways) {
  for (const [name, other] of [
    ['client', 'server'],
    ['server', 'client'],
  ] as const) {
    for (const writes of [false, true]) {
      const goesOn = how === 'a TLS socket' && name === 'server'
      const lost = writes && !goesOn
      const outcome = lost ? 'fails' : writes ? 'still sends the write' : 'closes cleanly'
      const what = `a ${name} with${writes ? ' a' : 'out a'} held write ${outcome}`
      t.test(`on ${how}, ${what} if close_notify arrives during its handshake`, { skip }, async (t) => {
        const { [name]: near, [other]: far } = await make(t)
        const received: Buffer[] = []
        near.on('data', (chunk) => received.push(chunk))
        // It gets no close_notify in return, because none can be sent during a handshake. OpenSSL: "unexpected eof".
        const receivedThere: Buffer[] = []
        far.on('data', (chunk) => receivedThere.push(chunk)).on('error', () => {})
        // Each end sends something first, to be sure that both are connected.
        near.write('a')
        far.write('b')
        await Promise.all([once(near, 'data'), once(far, 'data')])

        const bytes = Buffer.alloc(1000, 'before the end')
        const failed = t.captureFn((_error?: Error | null) => {})
        if (writes) near.once('renegotiating', () => near.write('held', failed))
        const errors: unknown[] = []
        near.on('error', ({ code }: NodeJS.ErrnoException) => errors.push(code))
        const rejected = rejection(near.renegotiate())
        // Neither end knows yet what the other one has begun.
        far.end(bytes)

        const when = goesOn ? /before it answered/ : /in the middle of a handshake/
        t.match(await rejected, { code: 'ERR_RENEGOTIATION_CLOSED', message: when })
        if (!lost) near.end()
        await closed(near)
        t.same(Buffer.concat(received).subarray(1), bytes, 'all data that was sent before close_notify arrives')
        t.strictSame(errors, lost ? ['ERR_RENEGOTIATION_CLOSED'] : [])
        if (lost) t.match(failed.args(), { length: 1, 0: [{ code: 'ERR_RENEGOTIATION_CLOSED' }] })
        t.same(near.unsent(), lost ? [Buffer.from('held')] : [])
        await closed(far)
        if (goesOn) t.equal(Buffer.concat(receivedThere).toString(), writes ? 'aheld' : 'a')
      })
    }
  }
}
