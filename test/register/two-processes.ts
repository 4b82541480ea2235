import t, { type Test } from 'tap'
import { type FloodSettings, flood } from '../fixtures/flood.ts'
import type { FloodResult } from '../fixtures/programs/flood.ts'
import { SEED } from '../fixtures/random.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

const run = (t: Test, settings: FloodSettings) =>
  flood<FloodResult>(t, 'flood', settings, ({ error }) => error !== null)

for (const [client, server] of [
  [1000, 0],
  [0, 1000],
  [500, 500],
] as const) {
  const who = `the client ${client} times and the server ${server} times`
  t.test(`under the hook, plain node:tls code renegotiates, ${who}, at full speed, without a loss`, async (t) => {
    const [ofClient, ofServer] = await run(t, { hook: true, client, server })
    const proper = { ended: true, error: null }
    t.hasStrict(ofClient, { ...proper, renegotiations: client, received: ofServer!.sent })
    t.hasStrict(ofServer, { ...proper, renegotiations: server, received: ofClient!.sent })
    t.ok(ofClient!.sent.bytes > 1_000_000 && ofServer!.sent.bytes > 1_000_000, 'data flowed in both directions')
  })
}

// With the latency, data is always on its way in both directions, so that the very first renegotiation fails.
for (const starter of ['client', 'server'] as const) {
  t.test(
    `without the hook, the same code loses the connection when the ${starter} renegotiates (control)`,
    async (t) => {
      const ends = await run(t, { hook: false, client: 0, server: 0, [starter]: 1, latency: 20 })
      t.ok(ends.every(({ renegotiations }) => renegotiations === 0))
      t.match(ends.map(({ error }) => error).join(), /EPROTO/)
    },
  )
}
