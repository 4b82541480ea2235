import t from 'tap'
import { wrapTLSSocket } from '../../src/index.ts'
import { countRenegotiations, leaveAlone, newCounts } from '../../src/register/counts.ts'
import { closed, rejection } from '../fixtures/settled.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'

t.test('sockets that are left alone are counted by reason', async (t) => {
  const counts = newCounts()
  for (const reason of ['TLS 1.3', 'host', 'TLS 1.3'] as const) leaveAlone(counts, reason)
  t.strictSame(counts.leftAlone, { 'TLS 1.3': 2, host: 1 })
})

t.test('each renegotiation is counted once for each stream, whoever begins it, and failures are counted', async (t) => {
  const counts = newCounts()
  countRenegotiations(counts)
  const sockets = await tlsPair(t)
  const client = wrapTLSSocket(sockets.client).resume()
  const server = wrapTLSSocket(sockets.server).resume()
  await client.renegotiate()
  t.match(counts, { renegotiations: 2, failed: 0 })
  // Of two requests at the same time, the handshake of one may count for both.
  await Promise.all([client.renegotiate(), server.renegotiate()])
  const { renegotiations } = counts
  t.ok(renegotiations === 4 || renegotiations === 6, `${renegotiations} renegotiations`)
  t.equal(renegotiations, client.counters.renegotiations + server.counters.renegotiations)
  server.destroy()
  await rejection(client.renegotiate())
  await closed(client)
  t.match(counts, { renegotiations, failed: 1 })
})
