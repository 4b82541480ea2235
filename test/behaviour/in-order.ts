import { once } from 'node:events'
import t from 'tap'
import { wrapTLSSocket } from '../../src/index.ts'
import { closed } from '../fixtures/settled.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'

t.test('three calls of renegotiate() at once cause three renegotiations, one after the other', async (t) => {
  const pair = await tlsPair(t)
  pair.server.resume()
  const stream = wrapTLSSocket(pair.client, { peerLimit: false })
  const keys = () => pair.client.exportKeyingMaterial(32, 'test', Buffer.alloc(0)).toString('hex')
  const seen = new Set([keys()])
  stream.on('renegotiated', () => seen.add(keys()))
  const reports = await Promise.all([stream.renegotiate(), stream.renegotiate(), stream.renegotiate()])
  t.match(reports, [{ origin: 'local' }, { origin: 'local' }, { origin: 'local' }])
  t.equal(seen.size, 4, 'each renegotiation changed the keys')
  t.match(stream.counters, { renegotiations: 3, byPeer: 0, failed: 0 })
})

t.test('end() waits for the renegotiations that were requested before it', async (t) => {
  const pair = await tlsPair(t)
  const peer = wrapTLSSocket(pair.server)
  const received: Buffer[] = []
  peer.on('data', (chunk: Buffer) => received.push(chunk))
  const stream = wrapTLSSocket(pair.client)
  stream.resume()
  const renegotiations = [stream.renegotiate(), stream.renegotiate()]
  stream.write('all ')
  stream.end('of it')
  for (const { verified } of await Promise.all(renegotiations)) t.ok(verified)
  await Promise.all([closed(stream), closed(peer)])
  t.equal(String(Buffer.concat(received)), 'all of it')
})

t.test('writes during a renegotiation are held and counted, and are sent in order after it', async (t) => {
  const pair = await tlsPair(t)
  const peer = wrapTLSSocket(pair.server)
  const stream = wrapTLSSocket(pair.client)
  const events: string[] = []
  stream.on('renegotiating', ({ origin }) => {
    events.push(`renegotiating by ${origin} (${stream.state})`)
    stream.write('one ', () => events.push('written one'))
    stream.write('two', () => events.push('written two'))
    t.equal(stream.heldBytes, 7)
    t.equal(stream.bytesInFlight, 0)
  })
  stream.on('renegotiated', (report) => {
    events.push(`renegotiated (${stream.state})`)
    t.equal(report.heldBytes, 7)
  })
  const data = once(peer, 'data')
  await stream.renegotiate()
  t.match(String((await data)[0]), /^one /)
  while (events.length < 4) await new Promise(setImmediate)
  t.same(events, ['renegotiating by local (handshaking)', 'renegotiated (open)', 'written one', 'written two'])
})

t.test('both ends can call renegotiate() at the same moment', async (t) => {
  const pair = await tlsPair(t)
  const client = wrapTLSSocket(pair.client, { peerLimit: false })
  const server = wrapTLSSocket(pair.server, { peerLimit: false })
  client.resume()
  server.resume()
  for (let i = 0; i < 20; i++) {
    for (const report of await Promise.all([client.renegotiate(), server.renegotiate()])) t.ok(report.verified)
  }
})
