import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import t from 'tap'
import { wrapTLSSocket } from '../../src/index.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'

for (const side of ['client', 'server'] as const) {
  t.test(`a paused ${side} renegotiates although data comes before the handshake, and stays paused`, async (t) => {
    const pair = await tlsPair(t)
    const stream = wrapTLSSocket(pair[side])
    const peer = wrapTLSSocket(side === 'client' ? pair.server : pair.client)
    peer.resume()
    stream.pause()
    const sent = randomBytes(4 * 1024 * 1024)
    peer.write(sent)
    const report = await stream.renegotiate()
    peer.end()
    t.ok(report.verified)
    t.ok(report.inboundBytes > stream.readableHighWaterMark, 'it read ahead of the application')
    t.equal(stream.isPaused(), true)
    stream.end()
    const received: Buffer[] = []
    stream.on('data', (chunk: Buffer) => received.push(chunk))
    stream.resume()
    await once(stream, 'end')
    t.ok(Buffer.concat(received).equals(sent), 'every byte arrives')
  })
}

t.test('after maxInboundBytes, a stream that reads ahead stops until the application reads', async (t) => {
  const pair = await tlsPair(t)
  const stream = wrapTLSSocket(pair.client, { maxInboundBytes: 256 * 1024 })
  const peer = wrapTLSSocket(pair.server, { peerLimit: false })
  peer.resume()
  const sent = randomBytes(32 * 1024 * 1024)
  peer.end(sent)
  await once(stream, 'readable')
  const renegotiated = stream.renegotiate()
  while (stream.readableLength < 256 * 1024) await once(pair.client, 'pause')
  t.ok(stream.readableLength < 4 * 1024 * 1024, 'it read ahead, but not all of it')
  t.equal(stream.counters.renegotiations, 0)
  stream.end()
  let bytes = 0
  for await (const chunk of stream) bytes += chunk.length
  t.equal(bytes, sent.length)
  t.match(await renegotiated, { verified: true })
})
