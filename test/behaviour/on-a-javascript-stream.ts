import t from 'tap'
import { link } from '../fixtures/link.ts'
import { SEED } from '../fixtures/random.ts'

t.setTimeout(240_000)
t.comment(`SEED=${SEED}`)

t.test('the control: a plain TLS socket on a Duplex in JavaScript takes its process with it', async (t) => {
  await t.rejects(link({ seed: SEED, client: 1, silent: 'client', wrapped: false, onDuplex: true }), {
    message: /ERR_INTERNAL_ASSERTION/,
  })
})

t.test('wrapped, it renegotiates 200 times from either end while both flood, and not a byte is lost', async (t) => {
  for (const times of [{ client: 200 }, { server: 200 }, { client: 100, server: 100 }]) {
    const { client, server } = await link({ seed: SEED, onDuplex: true, ...times })
    const proper = { ended: true, error: null, unverified: 0, counters: { failed: 0 } }
    t.hasStrict(client, { ...proper, received: server.sent, served: times.client ?? 0 })
    t.hasStrict(server, { ...proper, received: client.sent, served: times.server ?? 0 })
    t.equal(client.counters?.renegotiations, server.counters?.renegotiations)
  }
})
