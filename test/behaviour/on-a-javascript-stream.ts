import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import tls from 'node:tls'
import t from 'tap'
import { wrapTLSSocket } from '../../src/index.ts'
import { JavaScriptDuplex } from '../fixtures/javascript-duplex.ts'
import { link } from '../fixtures/link.ts'
import { ca, server as identity } from '../fixtures/pki.ts'
import { SEED } from '../fixtures/random.ts'
import { closed, rejection } from '../fixtures/settled.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

t.test('renegotiating a plain TLS socket on a JavaScript Duplex crashes the process (control)', async (t) => {
  await t.rejects(link({ seed: SEED, client: 1, silent: 'client', wrapped: false, onDuplex: true }), {
    message: /ERR_INTERNAL_ASSERTION/,
  })
})

t.test('if the JavaScript Duplex below is destroyed, renegotiate() rejects and the process stays alive', async (t) => {
  const { client, server } = await tlsPair(t)
  server.on('error', () => {}).resume()
  const below = new JavaScriptDuplex(client)
  const other = new JavaScriptDuplex(server)
  const inside = wrapTLSSocket(tls.connect({ socket: below, ca, servername: 'localhost', maxVersion: 'TLSv1.2' }))
  new tls.TLSSocket(other, { ...identity, isServer: true }).on('error', () => {}).resume()
  await once(inside, 'secureConnect')
  inside.on('error', () => {}).once('renegotiating', () => below.destroy())
  t.match(await rejection(inside.renegotiate()), { code: 'ERR_RENEGOTIATION_CLOSED' })
  await closed(inside)
  // The write in flight fails only after that. Its error must not be an unhandled one.
  for (let i = 0; i < 3; i++) await turn()
})

t.test('streams on JavaScript Duplexes renegotiate 200 times while both ends send, and no byte is lost', async (t) => {
  for (const times of [{ client: 200 }, { server: 200 }, { client: 100, server: 100 }]) {
    const { client, server } = await link({ seed: SEED, onDuplex: true, ...times })
    const proper = { ended: true, error: null, unverified: 0, counters: { failed: 0 } }
    t.hasStrict(client, { ...proper, received: server.sent, served: times.client ?? 0 })
    t.hasStrict(server, { ...proper, received: client.sent, served: times.server ?? 0 })
    t.equal(client.counters?.renegotiations, server.counters?.renegotiations)
  }
})
