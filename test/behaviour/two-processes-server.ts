import t from 'tap'
import { link } from '../fixtures/link.ts'
import { SEED } from '../fixtures/random.ts'

/** LINK_TIMES is for a shorter run. */
const TIMES = Number(process.env['LINK_TIMES'] ?? 1000)

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

t.test(`a server renegotiates ${TIMES} times while both ends send at full speed, and no byte is lost`, async (t) => {
  const { client, server } = await link({ seed: SEED, server: TIMES })
  const proper = { protocol: 'TLSv1.2', ended: true, error: null, unverified: 0 }
  t.hasStrict(server, {
    ...proper,
    received: client.sent,
    local: TIMES,
    peer: 0,
    counters: { renegotiations: TIMES, byPeer: 0, failed: 0 },
  })
  t.hasStrict(client, {
    ...proper,
    received: server.sent,
    local: 0,
    peer: TIMES,
    counters: { renegotiations: TIMES, byPeer: TIMES, failed: 0 },
  })
})
