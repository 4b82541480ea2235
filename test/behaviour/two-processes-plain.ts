import t from 'tap'
import { link } from '../fixtures/link.ts'
import { SEED } from '../fixtures/random.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

// With the latency, data is always on its way in both directions, so that the very first renegotiation fails.
for (const starter of ['client', 'server'] as const) {
  t.test(`plain sockets lose the connection at the first renegotiation of the ${starter} (control)`, async (t) => {
    const { client, server } = await link({ seed: SEED, [starter]: 1, wrapped: false, latency: 20 })
    t.equal(client.served + server.served, 0)
    t.match([client.error, server.error], [{ code: 'EPROTO', message: 'unexpected record' }])
  })
}
