import t, { type Test } from 'tap'
import { type ProgramOptions, program } from '../../fixtures/program.ts'
import type { FTPInput, FTPResult } from '../../fixtures/programs/ftp.ts'
import { SEED } from '../../fixtures/random.ts'
import { proftpd, skip } from '../../fixtures/servers.ts'
import { ftp, startTLSProxy } from '../../fixtures/starttls-proxy.ts'

t.comment(`SEED=${SEED}`)

async function run(t: Test, settings: Omit<FTPInput, 'seed'>, options: ProgramOptions) {
  const input: FTPInput = { ...settings, seed: SEED }
  const env = { RENEGOTIATION_REPORT: '1', ...options.env }
  const client = program(t, 'ftp', { ...options, env, input })
  return { ...(await client.told<FTPResult>()), ...(await client.ended) }
}

if (skip.proftpd) t.plan(0, skip.proftpd)
else {
  t.test('under the hook, basic-ftp resumes the session of its control connection, as ProFTPD requires', async (t) => {
    const { port } = await proftpd(t)
    const { sent, received, error, stderr } = await run(t, { port, files: 2, bytes: 4_000_000 }, { hook: true })
    t.equal(error, null)
    t.equal(sent.length, 2)
    t.strictSame(received, sent)
    t.equal(stderr, 'renegotiation-duplex: 5 sockets guarded, 0 left alone, 0 renegotiations, 0 failed\n')
  })

  const settings = { files: 2, bytes: 4_000_000 }

  t.test('under the hook, basic-ftp transfers files while the server renegotiates on all connections', async (t) => {
    const { port } = await proftpd(t, { secure: false })
    const front = await startTLSProxy(t, port, ftp)
    const { sent, received, error } = await run(t, { ...settings, port: front.port }, { hook: true })
    t.equal(error, null)
    t.equal(sent.length, 2)
    t.strictSame(received, sent)
    t.ok(front.renegotiations >= 10, `${front.renegotiations} renegotiations`)
    t.equal(front.resumed, 4, 'each data connection resumed the session')

    const plain = await startTLSProxy(t, port, ftp)
    const { error: itsError } = await run(t, { ...settings, port: plain.port }, { hook: false })
    // It may be lucky, because a data connection has data in one direction only.
    t.comment(`without the hook: ${itsError ?? 'no error'}, ${plain.renegotiations} renegotiations`)
  })

  t.test('under the hook, basic-ftp renegotiates on a schedule on all connections', async (t) => {
    const { port } = await proftpd(t, { secure: false })
    const front = await startTLSProxy(t, port, ftp, { everyBytes: Infinity })
    const env = { RENEGOTIATION_REKEY: '2ms-5ms' }
    const { sent, received, error, stderr } = await run(t, { ...settings, port: front.port }, { hook: true, env })
    t.equal(error, null)
    t.equal(sent.length, 2)
    t.strictSame(received, sent)
    // While a server renegotiates, a ticket of another connection may be of no use: see full-handshake.ts.
    t.ok(front.resumed >= 1, `${front.resumed} data connections resumed the session`)
    // One may be in progress when a connection is closed.
    const [, count] = /^renegotiation-duplex: 5 sockets guarded, 0 left alone, (\d+) renegotiations/.exec(stderr) ?? []
    t.ok(Number(count) >= 2, stderr)
  })
}
