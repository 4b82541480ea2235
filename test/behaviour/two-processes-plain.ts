import t from 'tap'
import { link } from '../fixtures/link.ts'
import { SEED } from '../fixtures/random.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

// The latency is what makes sure of the very first: there always is data on its way, in both directions.
for (const starter of ['client', 'server'] as const) {
  t.test(`the control: plain sockets die of the first renegotiation that a ${starter} begins`, async (t) => {
    const { client, server } = await link({ seed: SEED, [starter]: 1, wrapped: false, latency: 20 })
    t.equal(client.served + server.served, 0)
    t.match([client.error, server.error], [{ code: 'EPROTO', message: 'unexpected record' }])
  })
}
