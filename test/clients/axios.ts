import https from 'node:https'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import axios from 'axios'
import t, { type Test } from 'tap'
import type { RenegotiationTLSSocket } from '../../src/index.ts'
import { closed } from '../fixtures/settled.ts'
import { body, connector, hashOf, RENEGOTIATIONS_PER_BODY, Renegotiations, webServer } from '../fixtures/web.ts'

const expected = await hashOf(body())

/** Returns axios with an httpsAgent that connects to `port` by this package. */
function axiosFor(t: Test, port: number) {
  const { connect, sockets } = connector(t)
  const httpsAgent = new https.Agent({ keepAlive: true, maxSockets: 1 })
  httpsAgent.createConnection = (({ port }: { port: number }) => connect(port)) as never
  t.teardown(() => httpsAgent.destroy())
  // No proxy of the environment, and no redirects, for which axios would keep a copy of what it sends.
  const client = axios.create({ baseURL: `https://localhost:${port}`, httpsAgent, proxy: false, maxRedirects: 0 })
  return { client, sockets }
}

t.test('two axios requests on one connection stream 4 MB each way while both ends renegotiate', async (t) => {
  const renegotiations = new Renegotiations()
  const received: Promise<string>[] = []
  const { port } = await webServer(t, async (request, response) => {
    received.push(hashOf(request))
    const socket = request.socket as RenegotiationTLSSocket
    await pipeline(Readable.from(body(() => renegotiations.of(socket))), response, { end: false })
    // After a response, Node's client ignores `drain` of its socket (socketOnData: removeListener), plain or not.
    await received.at(-1)
    response.end()
  })
  const { client, sockets } = axiosFor(t, port)
  for (const time of [1, 2]) {
    // The first renegotiation comes after more data than a request buffers without a socket, so the socket exists.
    const data = Readable.from(body(() => renegotiations.of(sockets[0] as RenegotiationTLSSocket)))
    const response = await client.post('/', data, { responseType: 'stream' })
    t.equal(await hashOf(response.data), expected, 'the client received the whole body')
    t.equal(await received[time - 1], expected, 'the server received the whole body')
    await renegotiations.verified(t, time * 2 * RENEGOTIATIONS_PER_BODY)
  }
  t.equal(sockets.length, 1)
})

t.test('axios sends 4 MB with progress events and receives JSON while both ends renegotiate', async (t) => {
  const renegotiations = new Renegotiations()
  const { port } = await webServer(t, async (request, response) => {
    const hash = await hashOf(request)
    renegotiations.of(request.socket as RenegotiationTLSSocket)
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ hash }))
  })
  const { client, sockets } = axiosFor(t, port)
  const data = Buffer.concat([...body()])
  for (let i = 0; i < 5; i++) {
    const loaded: number[] = []
    const response = await client.put('/', data, { onUploadProgress: (progress) => loaded.push(progress.loaded) })
    t.strictSame(response.data, { hash: expected })
    t.equal(loaded.at(-1), data.length)
    renegotiations.of(sockets[0] as RenegotiationTLSSocket)
  }
  await renegotiations.verified(t, 10)
  t.equal(sockets.length, 1)
})

t.test('aborting an axios request closes its connection, and the next request opens another one', async (t) => {
  const { port } = await webServer(t, (request, response) => {
    if (request.url === '/endless') response.write('and so on')
    else response.end('done')
  })
  const { client, sockets } = axiosFor(t, port)
  const controller = new AbortController()
  const { data } = await client.get('/endless', { responseType: 'stream', signal: controller.signal })
  const renegotiated = sockets[0]?.renegotiate()
  controller.abort()
  await closed(data)
  await t.rejects(renegotiated as Promise<unknown>, { code: 'ERR_RENEGOTIATION_CLOSED' })
  t.equal((await client.get('/')).data, 'done')
  t.equal(sockets.length, 2)
})
