import t from 'tap'
import { clientAndServer, versions } from '../fixtures/openssl-pair.ts'
import { Random, SEED } from '../fixtures/random.ts'
import { Tally } from '../fixtures/tally.ts'

const BYTES = 3_000_000

t.comment(`SEED=${SEED}`)

for (const version of versions) {
  t.test(`data flows while both ends request one renegotiation right after the other, ${version}`, async (t) => {
    const renegotiation = { peerLimit: false } as const
    const { client, server } = await clientAndServer(t, version, {
      client: { renegotiation },
      server: { renegotiation },
    })
    const random = new Random(SEED)
    const directions = [
      [client, server],
      [server, client],
    ] as const
    await Promise.all(
      directions.map(async ([from, to]) => {
        const again = (): unknown => from.renegotiate().then(again, () => {})
        again()
        const sent = new Tally()
        const received = new Tally()
        const enough = new Promise<void>((resolve, reject) => {
          to.on('error', reject).on('data', (chunk) => {
            received.add(chunk)
            if (received.bytes >= BYTES) resolve()
          })
        })
        const send = () => {
          while (sent.bytes < BYTES) {
            const chunk = random.chunk(Math.min(100_000, BYTES - sent.bytes))
            sent.add(chunk)
            if (!from.write(chunk)) return from.once('drain', send)
          }
          return from
        }
        send()
        await enough
        t.same(received.sum(), sent.sum())
        t.ok(from.counters.renegotiations > 0)
      }),
    )
  })
}
