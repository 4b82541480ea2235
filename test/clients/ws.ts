import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import https from 'node:https'
import type tls from 'node:tls'
import t, { type Test } from 'tap'
import { type ClientOptions, WebSocket, WebSocketServer } from 'ws'
import type { RenegotiationTLSSocket } from '../../src/index.ts'
import { body, connector, hashOf, RENEGOTIATIONS_PER_BODY, Renegotiations, webServer } from '../fixtures/web.ts'

type Connect = (options: tls.ConnectionOptions) => RenegotiationTLSSocket

/** The two options of ws that accept a connection made elsewhere. */
const hooks: Record<string, (t: Test, connect: Connect) => ClientOptions> = {
  createConnection: (_t, connect) => ({ createConnection: connect as never }),
  agent(t, connect) {
    const agent = new https.Agent()
    agent.createConnection = connect as never
    t.teardown(() => agent.destroy())
    return { agent }
  },
}

/** Returns both ends of a WebSocket, and the streams below them. */
async function webSockets(t: Test, hook: keyof typeof hooks, perMessageDeflate: boolean) {
  const { web, port } = await webServer(t, () => t.fail('the server got a request that is no upgrade'))
  const listening = new WebSocketServer({ server: web as https.Server, perMessageDeflate })
  t.teardown(() => listening.close())
  const { connect, sockets } = connector(t)
  const options = hooks[hook]?.(t, ({ port }) => connect(Number(port)))
  const client = new WebSocket(`wss://localhost:${port}`, { perMessageDeflate, ...options })
  t.teardown(() => client.terminate())
  const accepted = once(listening, 'connection') as Promise<[WebSocket, IncomingMessage]>
  const [[server, request]] = await Promise.all([accepted, once(client, 'open')])
  const [clientSocket] = sockets as [RenegotiationTLSSocket]
  return { client, clientSocket, server, serverSocket: request.socket as RenegotiationTLSSocket }
}

const count = [...body()].length
const expected = await hashOf(body())

/** Resolves with the messages, when as many as a body has chunks have arrived. */
async function messagesOf(socket: WebSocket): Promise<Buffer[]> {
  const messages: Buffer[] = []
  return new Promise((resolve) => {
    socket.on('message', (message: Buffer) => {
      if (messages.push(message) === count) resolve(messages)
    })
  })
}

for (const hook of Object.keys(hooks)) {
  for (const perMessageDeflate of [false, true]) {
    const how = perMessageDeflate ? 'compressed' : 'uncompressed'
    t.test(`ws carries 4 MB each way, ${how}, while both ends renegotiate (option ${hook})`, async (t) => {
      const { client, clientSocket, server, serverSocket } = await webSockets(t, hook, perMessageDeflate)
      const received = Promise.all([messagesOf(client), messagesOf(server)])
      const renegotiations = new Renegotiations()
      const ends = [
        { from: client, chunks: body(() => renegotiations.of(clientSocket)) },
        { from: server, chunks: body(() => renegotiations.of(serverSocket)) },
      ]
      await Promise.all(
        ends.map(async ({ from, chunks }) => {
          for (const chunk of chunks) await new Promise((resolve) => from.send(chunk, resolve))
        }),
      )
      for (const messages of await received) t.equal(await hashOf(messages), expected, 'all messages arrived in order')
      await renegotiations.verified(t, 2 * RENEGOTIATIONS_PER_BODY)
      t.equal(clientSocket.counters.failed + serverSocket.counters.failed, 0)
    })
  }
}

t.test('pings, fragmented messages and the close code of ws work during and after a renegotiation', async (t) => {
  const { client, clientSocket, server, serverSocket } = await webSockets(t, 'agent', false)
  for (const [ours, theirs, socket] of [
    [client, server, clientSocket],
    [server, client, serverSocket],
  ] as const) {
    const message = once(theirs, 'message')
    const pong = once(ours, 'pong')
    ours.send('one, ', { fin: false })
    t.match(await socket.renegotiate(), { origin: 'local', verified: true })
    ours.ping('still there?')
    ours.send('in parts', { fin: true })
    t.equal(String((await message)[0]), 'one, in parts')
    t.equal(String((await pong)[0]), 'still there?')
  }
  const closes = Promise.all([once(client, 'close'), once(server, 'close')])
  const renegotiated = clientSocket.renegotiate()
  client.close(4000, 'goodbye')
  for (const [code, reason] of await closes) t.equal(`${code} ${reason}`, '4000 goodbye')
  t.match(await renegotiated, { verified: true }, 'the renegotiation that was requested before the close succeeds')
})
