import t, { type Test } from 'tap'
import { type FloodSettings, flood } from '../../fixtures/flood.ts'
import type { WebSocketResult } from '../../fixtures/programs/websocket.ts'
import { SEED } from '../../fixtures/random.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

const run = (t: Test, settings: FloodSettings) =>
  flood<WebSocketResult>(t, 'websocket', settings, ({ code }) => code !== 4000)

t.test('under the hook, ws as client and server send at full speed while both ends renegotiate', async (t) => {
  const [client, server] = await run(t, { hook: true, client: 100, server: 100 })
  const proper = { renegotiations: 100, code: 4000 }
  t.hasStrict(client, { ...proper, received: server!.sent })
  t.hasStrict(server, { ...proper, received: client!.sent })
  t.ok(client!.sent.bytes > 1_000_000 && server!.sent.bytes > 1_000_000, 'data flowed in both directions')
})

// With the latency, data is always on its way in both directions, so that the very first renegotiation fails.
for (const starter of ['client', 'server'] as const) {
  t.test(`without the hook, ws loses the connection when the ${starter} renegotiates (control)`, async (t) => {
    const ends = await run(t, { hook: false, client: 0, server: 0, [starter]: 1, latency: 20 })
    t.strictSame(
      ends.map(({ renegotiations, code }) => ({ renegotiations, code })),
      ends.map(() => ({ renegotiations: 0, code: 1006 })),
    )
  })
}
