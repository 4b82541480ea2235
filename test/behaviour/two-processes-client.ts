import t from 'tap'
import { link } from '../fixtures/link.ts'
import { SEED } from '../fixtures/random.ts'

t.setTimeout(240_000)
t.comment(`SEED=${SEED}`)

t.test('a client renegotiates 1,000 times while both ends send at full speed, and no byte is lost', async (t) => {
  const { client, server } = await link({ seed: SEED, client: 1000 })
  const proper = { protocol: 'TLSv1.2', ended: true, error: null, unverified: 0 }
  t.hasStrict(client, {
    ...proper,
    received: server.sent,
    local: 1000,
    peer: 0,
    counters: { renegotiations: 1000, byPeer: 0, failed: 0 },
  })
  t.hasStrict(server, {
    ...proper,
    received: client.sent,
    local: 0,
    peer: 1000,
    counters: { renegotiations: 1000, byPeer: 1000, failed: 0 },
  })
})
