import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import t, { type Test } from 'tap'
import { Agent, type buildConnector, Client, fetch } from 'undici'
import type { RenegotiationTLSSocket } from '../../src/index.ts'
import { body, connector, hashOf, RENEGOTIATIONS_PER_BODY, Renegotiations, webServer } from '../fixtures/web.ts'

const expected = await hashOf(body())

/** Answers with a body of its own, renegotiates in the middle of it, and says in a trailer what it received. */
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

/** undici's option `connect`, on our TLS. */
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
  'a Client sends 4 MB and receives 4 MB at once, and both ends renegotiate, twice on one connection',
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
      t.equal(await hashOf(response.body), expected, 'what it receives')
      t.strictSame(response.trailers, { received: expected }, 'what it sent')
      await renegotiations.verified(t, time * 2 * RENEGOTIATIONS_PER_BODY)
    }
    t.equal(sockets.length, 1)
  },
)

t.test('requests in a pipeline, and a renegotiation between any two of them', async (t) => {
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

t.test('fetch() through an Agent, with more than one connection', async (t) => {
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

t.test('a connection that cannot be is told as undici tells it', async (t) => {
  const { connect } = undiciConnector(t)
  const client = new Client('https://localhost:1', { connect })
  t.teardown(() => client.destroy())
  await t.rejects(client.request({ method: 'GET', path: '/' }), { code: 'ECONNREFUSED' })
})
