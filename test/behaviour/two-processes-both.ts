import t, { type Test } from 'tap'
import { type LinkReport, link } from '../fixtures/link.ts'
import { SEED } from '../fixtures/random.ts'

t.setTimeout(240_000)
t.comment(`SEED=${SEED}`)

t.test('both ends renegotiate 500 times each while both flood, and not a byte is lost', async (t) => {
  check(t, await link({ seed: SEED, client: 500, server: 500 }), 500)
})

t.test('the same, 20 times each, where everything takes 20 ms to the other end', async (t) => {
  check(t, await link({ seed: SEED, client: 20, server: 20, latency: 20 }), 20)
})

/** Where both ends begin at once, it is one handshake, and each may take it for its own. */
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
  t.ok(client.peer <= server.local, 'what the client puts down to its peer, the server began')
  t.ok(server.peer <= client.local, 'what the server puts down to its peer, the client began')
}
