import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import t, { type Test } from 'tap'
import { Agent, type buildConnector, Client, fetch } from 'undici'
import type { RenegotiationTLSSocket } from '../../src/index.ts'
import { body, connector, hashOf, RENEGOTIATIONS_PER_BODY, Renegotiations, webServer } from '../fixtures/web.ts'

const expected = await hashOf(body())

/** Starts a server that renegotiates while it sends a body, and sends the hash of the request in a trailer. */
async function busyServer(t: Test) {
  const renegotiations = new Renegotiations()
  const server = await webServer(t, async (request, response) => {
    const socket = request.socket as RenegotiationTLSSocket
    const received = hashOf(request)
    response.writeHead(200, { trailer: 'received' })
    await pipeline(Readable.from(body(() => renegotiations.of(socket))), response, { end: false })
    response.addTrailers({ received: await received })
    response.end()
  })
  return { ...server, renegotiations }
}

/** Returns undici's option `connect`, which makes streams of this package. */
function undiciConnector(t: Test) {
  const { connect, sockets } = connector(t)
  const option: buildConnector.connector = ({ port }, callback) => {
    const socket = connect(Number(port))
    const failed = (error: Error) => callback(error, null)
    socket.once('error', failed).once('secureConnect', () => {
      socket.off('error', failed)
      callback(null, socket)
    })
  }
  return { connect: option, sockets }
}

t.test(
  'two requests of an undici Client on one connection carry 4 MB each way while both ends renegotiate',
  async (t) => {
    const { port, renegotiations } = await busyServer(t)
    const { connect, sockets } = undiciConnector(t)
    const client = new Client(`https://localhost:${port}`, { connect })
    t.teardown(() => client.destroy())
    for (const time of [1, 2]) {
      const response = await client.request({
        method: 'POST',
        path: '/',
        body: Readable.from(body(() => renegotiations.of(sockets[0] as RenegotiationTLSSocket))),
      })
      t.equal(await hashOf(response.body), expected, 'the client received the whole body')
      t.strictSame(response.trailers, { received: expected }, 'the server received the whole body')
      await renegotiations.verified(t, time * 2 * RENEGOTIATIONS_PER_BODY)
    }
    t.equal(sockets.length, 1)
  },
)

t.test('undici gets the answers to 20 pipelined requests, with a renegotiation after each request', async (t) => {
  const { port } = await webServer(t, (request, response) => response.end(`answer to ${request.url}`))
  const { connect, sockets } = undiciConnector(t)
  const client = new Client(`https://localhost:${port}`, { connect, pipelining: 10 })
  t.teardown(() => client.destroy())
  const ask = async (path: string) => (await client.request({ method: 'GET', path })).body.text()
  t.equal(await ask('/'), 'answer to /')
  const renegotiations = new Renegotiations()
  const answers: Promise<string>[] = []
  for (let i = 0; i < 20; i++) {
    answers.push(ask(`/${i}`))
    renegotiations.of(sockets[0] as RenegotiationTLSSocket)
  }
  t.strictSame(
    await Promise.all(answers),
    answers.map((_, i) => `answer to /${i}`),
  )
  await renegotiations.verified(t, 20)
  t.equal(sockets.length, 1)
})

t.test('three calls of fetch() through an undici Agent receive 4 MB each while the server renegotiates', async (t) => {
  const { port, renegotiations } = await busyServer(t)
  const { connect, sockets } = undiciConnector(t)
  const dispatcher = new Agent({ connect })
  t.teardown(() => dispatcher.destroy())
  const hashes = [1, 2, 3].map(async () => {
    const response = await fetch(`https://localhost:${port}`, {
      dispatcher,
      method: 'POST',
      body: body(),
      duplex: 'half',
    } as never)
    return hashOf(response.body as AsyncIterable<Uint8Array>)
  })
  t.strictSame(await Promise.all(hashes), [expected, expected, expected])
  await renegotiations.verified(t, 3 * RENEGOTIATIONS_PER_BODY)
  t.equal(sockets.length, 3)
})

t.test('undici reports ECONNREFUSED if the connection cannot be made', async (t) => {
  const { connect } = undiciConnector(t)
  const client = new Client('https://localhost:1', { connect })
  t.teardown(() => client.destroy())
  await t.rejects(client.request({ method: 'GET', path: '/' }), { code: 'ECONNREFUSED' })
})
