import { once } from 'node:events'
import t from 'tap'
import { wrapTLSSocket } from '../../src/index.ts'
import { nextError } from '../fixtures/settled.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'

t.test('the second renegotiation that a plain server begins fails with ERR_TLS_SESSION_ATTACK (control)', async (t) => {
  const { client, server } = await tlsPair(t)
  client.on('error', () => {}).resume()
  server.resume()
  const error = nextError(server)
  server.renegotiate({}, () => server.renegotiate({}, () => {}))
  t.match(await error, { code: 'ERR_TLS_SESSION_ATTACK' })
})

t.test('a server can begin 20 renegotiations in a row', async (t) => {
  const pair = await tlsPair(t)
  wrapTLSSocket(pair.client).resume()
  const stream = wrapTLSSocket(pair.server)
  for (let i = 0; i < 20; i++) t.ok((await stream.renegotiate()).verified)
  t.match(stream.counters, { renegotiations: 20, byPeer: 0 })
})

t.test('by default, the fourth renegotiation of a client ends the server with ERR_RENEGOTIATION_LIMIT', async (t) => {
  const pair = await tlsPair(t)
  const stream = wrapTLSSocket(pair.server)
  stream.resume()
  const peer = wrapTLSSocket(pair.client)
  peer.on('error', () => {}).resume()
  for (let i = 0; i < 3; i++) await peer.renegotiate()
  await stream.renegotiate()
  const error = nextError(stream)
  void peer.renegotiate()
  t.match(await error, { code: 'ERR_RENEGOTIATION_LIMIT', message: /more than 3 handshakes within 600000 ms/ })
  t.match(stream.counters, { renegotiations: 4, byPeer: 3 })
})

t.test('with peerLimit.max 0, a client fails with ERR_RENEGOTIATION_LIMIT if its server renegotiates', async (t) => {
  const pair = await tlsPair(t)
  const stream = wrapTLSSocket(pair.client, { peerLimit: { max: 0, windowMs: 1000 } })
  stream.resume()
  pair.server.on('error', () => {}).resume()
  const error = nextError(stream)
  pair.server.renegotiate({}, () => {})
  t.match(await error, { code: 'ERR_RENEGOTIATION_LIMIT' })
})

t.test('with peerLimit: false on the server, a client can begin 20 renegotiations in a row', async (t) => {
  const pair = await tlsPair(t)
  const stream = wrapTLSSocket(pair.server, { peerLimit: false })
  stream.resume()
  const peer = wrapTLSSocket(pair.client)
  peer.resume()
  for (let i = 0; i < 20; i++) await peer.renegotiate()
  if (stream.counters.renegotiations < 20) await once(stream, 'renegotiated')
  t.match(stream.counters, { renegotiations: 20, byPeer: 20 })
})
