import t from 'tap'
import { SEED } from '../../fixtures/random.ts'
import { allIsRight, isLost, reportOf, runWeb, testWeb } from '../../fixtures/web-programs.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

testWeb(t, 'a server of node:https', 'https-server', 'https-client')

t.test('under the hook, a server of node:https gets a late certificate from a client without the hook', async (t) => {
  const run = await runWeb(t, {
    server: { name: 'https-server', hook: true },
    client: { name: 'https-client', hook: false },
  })
  allIsRight(t, run)
  t.strictSame(run.stderr, { server: reportOf(), client: '' })
})

// The first handshake resumes the session, so it brings no certificate. Node takes the second one for an attack, although
// its own server began both (ERR_TLS_SESSION_ATTACK), unless data that meets the handshake ends the connection before.
t.test('without the hook, a server of node:https loses a client that has the hook (control)', async (t) => {
  const run = await runWeb(t, {
    server: { name: 'https-server', hook: false },
    client: { name: 'https-client', hook: true },
  })
  isLost(t, run, /ERR_RENEGOTIATION_|ECONNRESET|EPROTO|EPIPE/)
  t.comment(`the client with the hook: ${run.error}`)
})
