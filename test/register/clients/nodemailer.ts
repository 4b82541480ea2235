import t, { type Test } from 'tap'
import { type ProgramOptions, program } from '../../fixtures/program.ts'
import type { NodemailerInput, NodemailerResult } from '../../fixtures/programs/nodemailer.ts'
import type { SMTPServerInput, SMTPServerResult } from '../../fixtures/programs/smtp-server.ts'
import { SEED } from '../../fixtures/random.ts'
import { smtp, startTLSProxy } from '../../fixtures/starttls-proxy.ts'

t.comment(`SEED=${SEED}`)
const MESSAGES = 5
const env = { RENEGOTIATION_REPORT: '1' }

async function send(t: Test, port: number, options: ProgramOptions) {
  const input: NodemailerInput = { port, seed: SEED, messages: MESSAGES, bytes: 4_000_000 }
  const client = program(t, 'nodemailer', { ...options, input, env: { ...env, ...options.env } })
  return { ...(await client.told<NodemailerResult>()), ...(await client.ended) }
}

/** Starts a server of smtp-server in a process of its own. */
async function receive(t: Test, { secure, hook }: { secure: boolean; hook: boolean }) {
  const input: SMTPServerInput = { secure }
  const server = program(t, 'smtp-server', { hook, input, env })
  return {
    port: await server.told<number>(),
    async stop() {
      server.tell('stop')
      return { ...(await server.told<SMTPServerResult>()), ...(await server.ended) }
    },
  }
}

t.test('under the hook, nodemailer sends messages over STARTTLS while the server renegotiates', async (t) => {
  for (const hook of [true, false]) {
    const server = await receive(t, { secure: false, hook: false })
    const front = await startTLSProxy(t, server.port, smtp)
    const { sent, error, stderr } = await send(t, front.port, { hook })
    const { received, connections } = await server.stop()
    if (hook) {
      t.equal(error, null)
      t.equal(sent.length, MESSAGES)
      t.strictSame(received, sent)
      t.equal(connections, 1, 'it did not have to connect anew')
      t.ok(front.renegotiations >= 5, `${front.renegotiations} renegotiations`)
      t.match(stderr, /^renegotiation-duplex: 1 sockets guarded, 0 left alone/)
    } else t.comment(`without the hook: ${error ?? 'no error'}, ${front.renegotiations} renegotiations`)
  }
})

// The server makes its sockets with new tls.TLSSocket(), which the hook does not guard.
for (const hook of [true, false]) {
  t.test(
    `nodemailer renegotiates on a schedule with smtp-server ${hook ? 'under the hook' : 'without it'}`,
    async (t) => {
      const server = await receive(t, { secure: true, hook })
      const { sent, error, stderr } = await send(t, server.port, {
        hook: true,
        env: { RENEGOTIATION_REKEY: '5ms-20ms' },
      })
      const { received, connections, errors, stderr: said } = await server.stop()
      t.equal(error, null)
      t.strictSame(errors, [])
      t.equal(sent.length, MESSAGES)
      t.strictSame(received, sent)
      t.equal(connections, 1, 'it did not have to connect anew')
      const [, count] =
        /^renegotiation-duplex: 1 sockets guarded, 0 left alone, (\d+) renegotiations/.exec(stderr) ?? []
      t.ok(Number(count) >= 1, stderr)
      t.equal(said, hook ? 'renegotiation-duplex: 0 sockets guarded, 0 left alone, 0 renegotiations, 0 failed\n' : '')
    },
  )
}
