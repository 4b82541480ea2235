import t from 'tap'
import { link } from '../fixtures/link.ts'
import { SEED } from '../fixtures/random.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

for (const version of ['TLSv1', 'TLSv1.1', 'TLSv1.2'] as const) {
  t.test(`a client and a server renegotiate 25 times each with ${version}, and no byte is lost`, async (t) => {
    const { client, server } = await link({ seed: SEED, version, client: 25, server: 25 })
    const proper = { protocol: version, ended: true, error: null, served: 25, unverified: 0 }
    t.hasStrict(client, { ...proper, received: server.sent })
    t.hasStrict(server, { ...proper, received: client.sent })
  })
}
