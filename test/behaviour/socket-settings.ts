import { once } from 'node:events'
import tls from 'node:tls'
import t from 'tap'
import { wrapTLSSocket } from '../../src/index.ts'
import { clientOptions, tlsPair, tlsServer } from '../fixtures/tls-pair.ts'

for (const begins of ['client', 'server'] as const) {
  t.test(`both sockets keep their timeouts in a renegotiation that the ${begins} begins`, async (t) => {
    const pair = await tlsPair(t)
    const streams = { client: wrapTLSSocket(pair.client), server: wrapTLSSocket(pair.server) }
    streams.client.resume()
    streams.server.resume()
    pair.client.setTimeout(60_000)
    pair.server.setTimeout(70_000)
    const other = begins === 'client' ? streams.server : streams.client
    await Promise.all([streams[begins].renegotiate(), once(other, 'renegotiated')])
    t.equal(pair.client.timeout, 60_000)
    t.equal(pair.server.timeout, 70_000)
  })
}

t.test('a renegotiation sets the timeout of a plain server to 0 (control)', async (t) => {
  const { client, server } = await tlsPair(t)
  client.resume()
  server.setTimeout(70_000)
  await new Promise((resolve) => server.renegotiate({}, resolve))
  t.equal(server.timeout, 0)
})

for (const timeout of [80_000, 0]) {
  t.test(`a timeout of ${timeout} ms that is set during a handshake is kept`, async (t) => {
    const pair = await tlsPair(t)
    pair.client.resume()
    const stream = wrapTLSSocket(pair.server)
    pair.server.setTimeout(60_000)
    stream.once('renegotiating', () => pair.server.setTimeout(timeout))
    await stream.renegotiate()
    t.equal(pair.server.timeout, timeout)
  })
}

for (const chosen of [false, true]) {
  const does = chosen ? "leaves Nagle's algorithm off if it was off" : "turns Nagle's algorithm off, and then on again"
  t.test(`a renegotiation ${does}`, async (t) => {
    const pair = await tlsPair(t)
    pair.server.resume()
    pair.client.setNoDelay(chosen)
    const stream = wrapTLSSocket(pair.client)
    const { _handle: handle } = pair.client as unknown as { _handle: { setNoDelay(enable: boolean): void } }
    const set = t.capture(handle, 'setNoDelay', handle.setNoDelay)
    await stream.renegotiate()
    await new Promise(setImmediate)
    t.same(
      set.args().map(([enable]) => enable),
      [true, chosen],
    )
  })
}

t.test('setNoDelay(true) during a renegotiation stays in effect after it', async (t) => {
  const pair = await tlsPair(t)
  pair.server.resume()
  const stream = wrapTLSSocket(pair.client)
  const { _handle: handle } = pair.client as unknown as { _handle: { setNoDelay(enable: boolean): void } }
  const set = t.capture(handle, 'setNoDelay', handle.setNoDelay)
  stream.once('renegotiating', () => pair.client.setNoDelay(true))
  await stream.renegotiate()
  await new Promise(setImmediate)
  t.same(set.args().at(-1), [true])
})

t.test('a corked stream on a corked socket renegotiates, and keeps its writes until uncork()', async (t) => {
  const pair = await tlsPair(t)
  pair.server.on('data', () => {})
  pair.client.cork()
  pair.client.write('before ')
  const stream = wrapTLSSocket(pair.client)
  stream.cork()
  stream.write('corked')
  t.ok((await stream.renegotiate()).verified)
  t.equal(stream.heldBytes, 6)
  const data = once(pair.server, 'data')
  stream.uncork()
  t.equal(String((await data)[0]), 'corked')
})

t.test('a plain client emits `secureConnect` again after a renegotiation (control)', async (t) => {
  const { client, server } = await tlsPair(t)
  client.resume()
  server.resume()
  const again = once(client, 'secureConnect')
  client.renegotiate({}, () => {})
  await again
})

for (const when of ['before', 'after'] as const) {
  const often = when === 'before' ? 'once' : 'never'
  t.test(`a client wrapped ${when} \`secureConnect\` emits it ${often}, even if it renegotiates twice`, async (t) => {
    const server = await tlsServer(t)
    server.on('secureConnection', (socket) => socket.resume())
    const socket = tls.connect(clientOptions(server.port))
    if (when === 'after') await once(socket, 'secureConnect')
    const stream = wrapTLSSocket(socket)
    const secureConnect = t.captureFn(() => {})
    stream.on('secureConnect', secureConnect)
    await stream.renegotiate()
    await stream.renegotiate()
    t.equal(secureConnect.calls.length, when === 'before' ? 1 : 0)
    stream.destroy()
  })
}
