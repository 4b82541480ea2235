import t, { type Test } from 'tap'
import { type ProgramOptions, program } from '../../fixtures/program.ts'
import type { ImapflowInput, ImapflowResult } from '../../fixtures/programs/imapflow.ts'
import { SEED } from '../../fixtures/random.ts'
import { renegotiatingProxy } from '../../fixtures/renegotiating-proxy.ts'
import { dovecot, skip } from '../../fixtures/servers.ts'
import { imap, startTLSProxy } from '../../fixtures/starttls-proxy.ts'

t.comment(`SEED=${SEED}`)
const MESSAGES = 2

async function run(t: Test, port: number, secure: boolean, options: ProgramOptions) {
  const input: ImapflowInput = { port, secure, seed: SEED, messages: MESSAGES, bytes: 4_000_000 }
  const env = { RENEGOTIATION_REPORT: '1', ...options.env }
  const client = program(t, 'imapflow', { ...options, env, input })
  return { ...(await client.told<ImapflowResult>()), ...(await client.ended) }
}

if (skip.dovecot) t.plan(0, skip.dovecot)
else {
  for (const secure of [false, true]) {
    t.test(`under the hook, imapflow uses Dovecot, ${secure ? 'TLS at once' : 'STARTTLS'}`, async (t) => {
      const { port, securePort } = await dovecot(t)
      const { sent, received, error, stderr } = await run(t, secure ? securePort : port, secure, { hook: true })
      t.equal(error, null)
      t.equal(sent.length, MESSAGES)
      t.strictSame(received, sent)
      t.equal(stderr, 'renegotiation-duplex: 1 sockets guarded, 0 left alone, 0 renegotiations, 0 failed\n')
    })
  }

  // In front of Dovecot, because Dovecot 2.3 crashes when a client renegotiates before it has logged in.
  const { port: backend } = await dovecot(t, { secure: false })

  for (const secure of [false, true]) {
    const proxy = (t: Test, options: { everyBytes?: number } = {}) =>
      secure ? renegotiatingProxy(t, backend, options) : startTLSProxy(t, backend, imap, options)
    const how = secure ? 'TLS at once' : 'STARTTLS'

    t.test(`under the hook, imapflow appends and fetches while the server renegotiates, ${how}`, async (t) => {
      const front = await proxy(t)
      const { sent, received, error, stderr } = await run(t, front.port, secure, { hook: true })
      t.equal(error, null)
      t.equal(sent.length, MESSAGES)
      t.strictSame(received, sent)
      t.match(stderr, /^renegotiation-duplex: 1 sockets guarded, 0 left alone/)
      t.ok(front.renegotiations >= 10, `${front.renegotiations} renegotiations`)

      const plain = await proxy(t)
      const { error: itsError } = await run(t, plain.port, secure, { hook: false })
      // It may be lucky, because most data goes in one direction at a time.
      t.comment(`without the hook: ${itsError ?? 'no error'}, ${plain.renegotiations} renegotiations`)
    })

    t.test(`under the hook, imapflow renegotiates on a schedule, ${how}`, async (t) => {
      const front = await proxy(t, { everyBytes: Infinity })
      const env = { RENEGOTIATION_REKEY: '5ms-20ms' }
      const { sent, received, error, stderr } = await run(t, front.port, secure, { hook: true, env })
      t.equal(error, null)
      t.equal(sent.length, MESSAGES)
      t.strictSame(received, sent)
      const [, count] =
        /^renegotiation-duplex: 1 sockets guarded, 0 left alone, (\d+) renegotiations/.exec(stderr) ?? []
      t.ok(Number(count) >= 1, stderr)
    })
  }
}
