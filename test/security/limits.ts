import { once } from 'node:events'
import t from 'tap'
import { RenegotiationDuplex, tlsTransport } from '../../src/index.ts'
import { attackedClient, attackedServer, until } from '../fixtures/attack.ts'
import { closed } from '../fixtures/settled.ts'

const EXPIRED = { code: 'ERR_RENEGOTIATION_KEYS_EXPIRED' }
const hardLimit = { bytes: 200_000 }
const renegotiation = { rekey: { hardLimit }, handshakeTimeout: 0, maxInboundBytes: Infinity }
/** RECORDS times FLOOD is more than the limit, plus what may be in transit when the limit is reached. */
const FLOOD = Buffer.alloc(16_384)
const RECORDS = 200

t.test('a client that does not answer a HelloRequest cannot keep the old keys in use', async (t) => {
  const { raw, stream, errors } = await attackedServer(t, { renegotiation })
  let received = 0
  stream.on('data', (chunk: Buffer) => {
    received += chunk.length
  })
  const renegotiated = stream.renegotiate()
  await raw.expect('HelloRequest')
  for (let i = 0; i < RECORDS; i++) raw.sendData(FLOOD)
  await closed(stream)
  t.match(errors, [EXPIRED])
  t.ok(received <= hardLimit.bytes + FLOOD.length, `${received} bytes were accepted`)
  await t.rejects(renegotiated, { code: EXPIRED.code })
})

t.test('a client that does not complete its ClientHello cannot keep the old keys in use', async (t) => {
  const { raw, stream, errors } = await attackedServer(t, {
    renegotiation: { ...renegotiation, rekey: { hardLimit: { ms: 1000 } } },
  })
  stream.resume()
  const begins = once(stream, 'renegotiating')
  raw.sendHandshake('ClientHello', raw.clientHello(), { only: 5 })
  await begins
  await closed(stream)
  t.match(errors, [EXPIRED])
})

t.test('a server that does not answer a ClientHello cannot keep the old keys in use', async (t) => {
  const { raw, stream, errors } = await attackedClient(t, { renegotiation })
  let received = 0
  stream.on('data', (chunk: Buffer) => {
    received += chunk.length
  })
  void stream.renegotiate()
  await raw.expect('ClientHello')
  for (let i = 0; i < RECORDS; i++) raw.sendData(FLOOD)
  await closed(stream)
  t.match(errors, [EXPIRED])
  t.ok(received <= hardLimit.bytes + FLOOD.length, `${received} bytes were accepted`)
})

/** A stream and its transport, over the socket of an attacked end. */
function withTransport(plain: Parameters<typeof tlsTransport>[0]) {
  const transport = tlsTransport(plain)
  const stream = new RenegotiationDuplex(transport, { handshakeTimeout: 0 })
  stream.on('error', () => {}).resume()
  return { transport, stream }
}

t.test('peerAnswered is true on a server once the ClientHello is complete', async (t) => {
  const { raw, plain } = await attackedServer(t, { wrap: false })
  const { transport, stream } = withTransport(plain)
  t.equal(transport.peerAnswered, false, 'no handshake is in progress')
  void stream.renegotiate()
  await raw.expect('HelloRequest')
  t.equal(transport.peerAnswered, false)
  const complete = raw.sendHandshake('ClientHello', raw.clientHello(), { only: 50 })
  await new Promise(setImmediate)
  t.equal(transport.peerAnswered, false)
  complete()
  await until(() => transport.peerAnswered === true)
  t.equal(stream.state, 'handshaking')
  stream.destroy()
  t.equal(transport.peerAnswered, false)
})

t.test('peerAnswered is true on a client once the ServerHello has arrived, whoever began', async (t) => {
  for (const begins of ['we', 'the server']) {
    const { raw, plain } = await attackedClient(t, { wrap: false })
    const { transport, stream } = withTransport(plain)
    if (begins === 'we') void stream.renegotiate()
    else raw.sendHandshake('HelloRequest')
    const { state } = raw
    await until(() => raw.state !== state)
    t.equal(transport.peerAnswered, false, begins)
    void raw.handshake({ until: 'ServerHello' })
    await until(() => transport.peerAnswered === true)
    t.equal(stream.state, 'handshaking')
    stream.destroy()
  }
})

t.test('a rekey schedule exempts no more handshakes from peerLimit than it would begin itself', async (t) => {
  for (const rekey of [{ everyMs: [1, 600_000] as const }, { everyBytes: 100_000 }, { everyRecords: 1000 }]) {
    const { raw, stream, errors } = await attackedServer(t, { renegotiation: { rekey } })
    stream.resume()
    let handshakes = 0
    for (; handshakes < 100; handshakes++) {
      raw.sendData('x')
      const refused = await raw.handshake().then(
        () => false,
        () => true,
      )
      if (refused) break
    }
    await closed(stream)
    t.match(errors, [{ code: 'ERR_RENEGOTIATION_LIMIT' }])
    t.ok(handshakes <= 4, `${handshakes} handshakes were allowed instead of 3 (${Object.keys(rekey)})`)
  }
})

t.test('a message that does not belong in the handshake is ERR_RENEGOTIATION_REFUSED', async (t) => {
  const { raw, stream, errors } = await attackedServer(t)
  stream.resume()
  await raw.handshake({ until: 'ClientHello' })
  raw.sendHandshake('Finished', Buffer.alloc(12))
  await closed(stream)
  t.match(errors, [{ code: 'ERR_RENEGOTIATION_REFUSED', cause: { code: 'ERR_SSL_UNEXPECTED_MESSAGE' } }])
})
