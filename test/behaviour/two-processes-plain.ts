import t from 'tap'
import { link } from '../fixtures/link.ts'
import { SEED } from '../fixtures/random.ts'

t.setTimeout(60_000)
t.comment(`SEED=${SEED}`)

for (const starter of ['client', 'server'] as const) {
  t.test(`the control: plain sockets die of the first renegotiation that a ${starter} begins`, async (t) => {
    const { client, server } = await link({ seed: SEED, [starter]: 1, wrapped: false })
    t.equal(client.served + server.served, 0)
    t.has([client.error?.code, server.error?.code], ['EPROTO'])
    t.match(`${client.error?.message} ${server.error?.message}`, 'unexpected record')
  })
}
