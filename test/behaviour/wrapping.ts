import { once } from 'node:events'
import net from 'node:net'
import tls from 'node:tls'
import t from 'tap'
import { createServer, tlsTransport, wrapTLSSocket } from '../../src/index.ts'
import { ca, server as serverPki } from '../fixtures/pki.ts'
import { closed, nextError, rejection } from '../fixtures/settled.ts'
import { clientOptions, tlsPair, tlsServer } from '../fixtures/tls-pair.ts'

t.test('wrapTLSSocket() throws for a socket that is already wrapped', async (t) => {
  const { client } = await tlsPair(t)
  wrapTLSSocket(client)
  t.throws(() => wrapTLSSocket(client), { name: 'TypeError', message: /wrapped already/ })
})

t.test('wrapTLSSocket() and createServer() do not wrap a stream of this package again', async (t) => {
  const { client } = await tlsPair(t)
  const stream = wrapTLSSocket(client)
  t.equal(wrapTLSSocket(stream), stream)
  t.equal(wrapTLSSocket(stream, { drainTimeout: 1 }), stream)
  t.throws(() => wrapTLSSocket(stream, { drainTimeout: -1 }), { code: 'ERR_OUT_OF_RANGE' })
  t.throws(() => tlsTransport(stream), { code: 'ERR_INVALID_ARG_VALUE', message: /stream of this package/ })
  const server = createServer(serverPki)
  const heard = once(server, 'secureConnection')
  server.emit('secureConnection', stream)
  t.equal((await heard)[0], stream)
})

t.test('wrapTLSSocket() throws for invalid arguments, and leaves the socket unchanged', async (t) => {
  const { client, server } = await tlsPair(t)
  t.throws(() => wrapTLSSocket({} as tls.TLSSocket), { name: 'TypeError', message: /tls\.TLSSocket/ })
  t.throws(() => wrapTLSSocket(client, { drainTimeout: -1 }), { name: 'RangeError', message: /drainTimeout.*-1/ })
  server.setEncoding('utf8')
  t.throws(() => wrapTLSSocket(server), { name: 'TypeError', message: /encoding.*utf8/ })
  t.equal(client.listenerCount('data'), 0)
  wrapTLSSocket(client)
})

t.test('wrapTLSSocket() throws for a socket with the option onread, which emits no data', async (t) => {
  const listening = await tlsServer(t)
  const onread = { buffer: Buffer.alloc(100), callback: () => true }
  const socket = tls.connect(clientOptions(listening.port, { onread } as object))
  t.teardown(() => socket.destroy())
  t.throws(() => wrapTLSSocket(socket), { name: 'TypeError', message: /onread/ })
})

t.test('wrapping a socket after its end() gives a stream that has also ended and can still be read', async (t) => {
  for (const finished of [false, true]) {
    const { client, server } = await tlsPair(t, { server: { allowHalfOpen: true } })
    server.resume()
    client.end()
    if (finished) await once(client, 'finish')
    const stream = wrapTLSSocket(client)
    t.match(await rejection(stream.renegotiate()), { code: 'ERR_RENEGOTIATION_CLOSED' })
    server.end('bye')
    t.equal(String((await once(stream, 'data'))[0]), 'bye')
    await closed(stream)
    t.equal(stream.errored, null)
  }
})

t.test('destroying the socket during a write closes the stream without an error event', async (t) => {
  const { client, server } = await tlsPair(t)
  server.pause()
  const stream = wrapTLSSocket(client)
  const written = new Promise((resolve) => stream.write(Buffer.alloc(32 * 1024 * 1024), resolve))
  const over = once(stream, 'close')
  client.destroy()
  t.same(await over, [false])
  t.match(await written, { code: 'ERR_STREAM_DESTROYED' })
})

t.test('data that the socket received before it was wrapped is emitted by the stream', async (t) => {
  const { client, server } = await tlsPair(t)
  client.pause()
  server.write('early')
  await once(client, 'readable')
  const stream = wrapTLSSocket(client)
  t.equal(stream.isPaused(), true, 'the stream of a paused socket is paused')
  stream.resume()
  t.equal(String((await once(stream, 'data'))[0]), 'early')
})

t.test('if a socket is wrapped while connecting, writes and renegotiations wait for the connection', async (t) => {
  const listening = await tlsServer(t)
  listening.on('secureConnection', (socket) => socket.pipe(socket))
  // A name with two addresses: Node tries them one after the other, with a handle each (autoSelectFamily).
  const lookup = ((_host: string, _options: object, done: (error: null, addresses: object[]) => void) =>
    done(null, [
      { address: '::1', family: 6 },
      { address: '127.0.0.1', family: 4 },
    ])) as unknown as net.LookupFunction
  const socket = tls.connect(
    clientOptions(listening.port, { host: 'two.test', lookup, autoSelectFamily: true } as object),
  )
  const stream = wrapTLSSocket(socket)
  const renegotiation = stream.renegotiate()
  stream.write('at last')
  t.ok((await renegotiation).verified)
  t.equal(String((await once(stream, 'data'))[0]), 'at last')
  const again = await stream.renegotiate()
  t.ok(again.verified)
  stream.end()
  await closed(stream)
})

t.test('a server socket made by new tls.TLSSocket() can be wrapped, and either end can renegotiate', async (t) => {
  const listening = net.createServer().listen(0, '127.0.0.1')
  await once(listening, 'listening')
  t.teardown(() => listening.close())
  const accepted = once(listening, 'connection')
  const client = tls.connect(clientOptions((listening.address() as net.AddressInfo).port))
  const [raw] = (await accepted) as [net.Socket]
  const stream = wrapTLSSocket(
    new tls.TLSSocket(raw, { ...serverPki, ca, isServer: true, maxVersion: 'TLSv1.2' } as tls.TLSSocketOptions),
  )
  const peer = wrapTLSSocket(client)
  peer.resume()
  stream.resume()
  t.match(await stream.renegotiate(), { origin: 'local', verified: true })
  const seen = once(stream, 'renegotiated')
  await peer.renegotiate()
  t.match(await seen, [{ origin: 'peer', verified: true }])
  stream.destroy()
  await closed(stream)
  await closed(peer)
})

t.test('wrapping a destroyed socket gives a stream that closes, with the error of the socket if any', async (t) => {
  const { client } = await tlsPair(t)
  client.destroy()
  const closing = wrapTLSSocket(client)
  await closed(closing)
  t.equal(closing.state, 'closed')

  const { client: failed } = await tlsPair(t)
  failed.on('error', () => {})
  failed.destroy(new Error('long ago'))
  await closed(failed)
  const stream = wrapTLSSocket(failed)
  t.equal((await nextError(stream)).message, 'long ago')
})

t.test('wrapping a socket whose peer has ended gives a stream that ends and can still write', async (t) => {
  const { client, server } = await tlsPair(t, { client: { allowHalfOpen: true } })
  client.resume()
  server.end()
  await once(client, 'end')
  const stream = wrapTLSSocket(client)
  stream.resume()
  await once(stream, 'end')
  stream.end('bye')
  t.equal(String((await once(server, 'data'))[0]), 'bye')
})

t.test('the package leaves no listeners on the socket after close', async (t) => {
  const counts = (socket: tls.TLSSocket) =>
    Object.fromEntries(socket.eventNames().map((name) => [String(name), socket.listenerCount(name)]))
  const control = await tlsPair(t)
  const pair = await tlsPair(t)
  for (const { client, server } of [control, pair]) {
    client.resume()
    server.resume()
  }
  const streams = [wrapTLSSocket(pair.client), wrapTLSSocket(pair.server)] as const
  for (const stream of streams) stream.resume()
  await streams[0].renegotiate()
  await streams[1].renegotiate()
  const hook = (pair.client as unknown as { _handle: { onhandshakestart: unknown } })._handle
  streams[0].end()
  control.client.end()
  await Promise.all([closed(streams[0]), closed(streams[1]), closed(control.client), closed(control.server)])
  await new Promise(setImmediate)
  t.same(counts(pair.client), counts(control.client))
  t.same(counts(pair.server), counts(control.server))
  t.not(hook.onhandshakestart, undefined)
})
