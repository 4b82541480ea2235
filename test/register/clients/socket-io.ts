import tls from 'node:tls'
import t, { type Test } from 'tap'
import { ca } from '../../fixtures/pki.ts'
import { type Program, type ProgramOptions, program } from '../../fixtures/program.ts'
import type { SocketIOInput, SocketIOResult } from '../../fixtures/programs/socket-io-messages.ts'
import { SEED } from '../../fixtures/random.ts'
import { renegotiatingProxy } from '../../fixtures/renegotiating-proxy.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)
type Transports = SocketIOInput['transports']
const MESSAGES = 20

function start(t: Test, end: 'server' | 'client', options: ProgramOptions, input: Partial<SocketIOInput>): Program {
  const whole = { messages: MESSAGES, transports: ['websocket'], ...input }
  return program(t, `socket-io-${end}`, { ...options, input: whole })
}

/** Checks that all messages have arrived, and that the client has closed the connection in the end. */
async function allIsRight(t: Test, server: Program, client: Program, transports: Transports): Promise<void> {
  const [ofServer, ofClient] = await Promise.all([server.told<SocketIOResult>(), client.told<SocketIOResult>()])
  t.strictSame([ofServer.error, ofClient.error], [null, null])
  t.strictSame(ofServer.sums?.received, ofClient.sums?.sent)
  t.strictSame(ofClient.sums?.received, ofServer.sums?.sent)
  t.ok([ofServer, ofClient].every(({ sums }) => sums !== undefined && sums.sent.bytes >= MESSAGES * 500_000))
  t.strictSame(ofServer.transports, transports)
  t.strictSame(ofClient.transports, transports.slice(-1))
}

for (const transports of [['websocket'], ['polling', 'websocket']] satisfies Transports[]) {
  const how = transports.length === 1 ? 'by WebSocket' : 'by polling and then WebSocket'
  t.test(
    `under the hook, Socket.IO sends 20 large messages each way ${how}, while both ends renegotiate`,
    async (t) => {
      const options = { hook: true, env: { RENEGOTIATION_REKEY: '5ms-20ms', RENEGOTIATION_REPORT: '1' } }
      const server = start(t, 'server', options, { seed: SEED, transports })
      const port = await server.told<number>()
      const client = start(t, 'client', options, { seed: SEED + 1, port, transports })
      await allIsRight(t, server, client, transports)
      for (const end of [server, client]) {
        const { stderr } = await end.ended
        const counts =
          /^renegotiation-duplex: (\d+) sockets guarded, 0 left alone, (\d+) renegotiations, (\d+) failed\n$/
        const [guarded, count, failed] = counts.exec(stderr)?.slice(1).map(Number) ?? []
        // For each connection that the client closes, a renegotiation of each end may be in progress, which then fails.
        t.ok(count! >= 5 && failed! <= 2 * guarded!, stderr)
      }
    },
  )
}

t.test(
  'under the hook, a Socket.IO client sends and gets 20 large messages while the server renegotiates',
  async (t) => {
    async function run(hook: boolean) {
      const server = start(t, 'server', { hook: false }, { seed: SEED })
      const backend = await server.told<number>()
      const proxy = await renegotiatingProxy(t, () => tls.connect({ host: '127.0.0.1', port: backend, ca }))
      const client = start(t, 'client', { hook }, { seed: SEED + 1, port: proxy.port })
      return { server, client, proxy }
    }
    const { server, client, proxy } = await run(true)
    await allIsRight(t, server, client, ['websocket'])
    t.match(proxy.errors, [])
    t.ok(proxy.renegotiations >= 50, `${proxy.renegotiations} renegotiations`)

    const plain = await run(false)
    const { error } = await plain.client.told<SocketIOResult>()
    t.comment(`without the hook: ${error ?? 'no error'}, ${plain.proxy.renegotiations} renegotiations`)
  },
)
