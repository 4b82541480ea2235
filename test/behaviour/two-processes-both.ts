import t, { type Test } from 'tap'
import { type LinkReport, link } from '../fixtures/link.ts'
import { SEED } from '../fixtures/random.ts'

/** LINK_TIMES is for a shorter run. */
const TIMES = Number(process.env['LINK_TIMES'] ?? 1000) / 2

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

t.test(`both ends renegotiate ${TIMES} times each while both send at full speed, and no byte is lost`, async (t) => {
  check(t, await link({ seed: SEED, client: TIMES, server: TIMES }), TIMES)
})

t.test('both ends renegotiate 20 times each at full speed with a latency of 20 ms, and no byte is lost', async (t) => {
  check(t, await link({ seed: SEED, client: 20, server: 20, latency: 20 }), 20)
})

/** If both ends begin at the same time, there is one handshake, and each end may count it as its own. */
function check(t: Test, { client, server }: LinkReport, each: number): void {
  const total = client.local + client.peer
  const proper = { protocol: 'TLSv1.2', ended: true, error: null, served: each, unverified: 0 }
  t.hasStrict(client, {
    ...proper,
    received: server.sent,
    counters: { renegotiations: total, byPeer: client.peer, failed: 0 },
  })
  t.hasStrict(server, {
    ...proper,
    received: client.sent,
    counters: { renegotiations: total, byPeer: server.peer, failed: 0 },
  })
  t.ok(client.peer <= server.local, 'the server began every renegotiation that the client counts as one of its peer')
  t.ok(server.peer <= client.local, 'the client began every renegotiation that the server counts as one of its peer')
}
