import { once } from 'node:events'
import net from 'node:net'
import tls from 'node:tls'
import t from 'tap'
import { RenegotiationError, wrapTLSSocket } from '../../src/index.ts'
import { closed, nextError, rejection } from '../fixtures/settled.ts'
import { clientOptions, tlsPair, tlsServer } from '../fixtures/tls-pair.ts'

t.test('a plain socket that is destroyed during a renegotiation never calls the callback (control)', async (t) => {
  const { client, server } = await tlsPair(t)
  server.on('error', () => {})
  const callback = t.captureFn(() => {})
  client.renegotiate({}, callback)
  client.destroy()
  await closed(client)
  t.same(callback.calls, [])
})

t.test('destroying a stream during a handshake rejects the renegotiation and fails the held write', async (t) => {
  const pair = await tlsPair(t)
  pair.server.on('error', () => {})
  const stream = wrapTLSSocket(pair.client)
  const written = new Promise((resolve) => stream.once('renegotiating', () => stream.write('held', resolve)))
  const renegotiation = stream.renegotiate()
  await once(stream, 'renegotiating')
  t.equal(stream.state, 'handshaking')
  stream.destroy()
  t.match(await rejection(renegotiation), { code: 'ERR_RENEGOTIATION_CLOSED' })
  t.match(await written, { code: 'ERR_STREAM_DESTROYED' })
  t.equal(stream.state, 'closed')
  await closed(stream)
})

t.test('destroy(error) during a handshake emits that error unchanged, and rejects with it as the cause', async (t) => {
  const pair = await tlsPair(t)
  pair.server.on('error', () => {})
  const stream = wrapTLSSocket(pair.server)
  stream.once('renegotiating', () => stream.destroy(new Error('enough')))
  const error = nextError(stream)
  t.match(await rejection(stream.renegotiate()), { code: 'ERR_RENEGOTIATION_CLOSED', cause: { message: 'enough' } })
  t.equal((await error).message, 'enough')
  t.notOk((await error) instanceof RenegotiationError)
})

t.test('if the connection is reset during a handshake, the stream emits ECONNRESET', async (t) => {
  const listening = await tlsServer(t)
  const middle = net.createServer().listen(0, '127.0.0.1')
  await once(middle, 'listening')
  t.teardown(() => middle.close())
  const client = tls.connect(clientOptions((middle.address() as net.AddressInfo).port))
  const [link] = (await once(middle, 'connection')) as [net.Socket]
  const onward = net.connect(listening.port, '127.0.0.1')
  link.pipe(onward).pipe(link)
  await once(client, 'secureConnect')
  const stream = wrapTLSSocket(client)
  const error = nextError(stream)
  const renegotiation = stream.renegotiate()
  await once(stream, 'renegotiating')
  // The reset waits for the ClientHello. A write that meets a reset would get the error, and a read then only the end.
  link
    .unpipe(onward)
    .once('data', () => link.resetAndDestroy())
    .resume()
  t.match(await error, { code: 'ECONNRESET' })
  t.match(await rejection(renegotiation), { code: 'ERR_RENEGOTIATION_CLOSED', cause: { code: 'ECONNRESET' } })
  onward.destroy()
})

t.test('if the connection cannot be made, a renegotiation requested before it is rejected', async (t) => {
  const pair = await tlsPair(t)
  const address = pair.client.address() as { port: number }
  const stream = wrapTLSSocket(tls.connect({ port: address.port, host: '127.0.0.1' }))
  const error = nextError(stream)
  const rejected = rejection(stream.renegotiate())
  t.match(await error, { code: /ECONN/ })
  t.match(await rejected, { code: 'ERR_RENEGOTIATION_CLOSED', cause: { code: /ECONN/ } })
})

t.test('renegotiate() after end() is rejected, and the stream still closes without an error', async (t) => {
  const pair = await tlsPair(t)
  pair.server.resume()
  const stream = wrapTLSSocket(pair.client)
  stream.resume()
  stream.end('last')
  t.match(await rejection(stream.renegotiate()), { code: 'ERR_RENEGOTIATION_CLOSED' })
  await closed(stream)
  t.equal(stream.errored, null)
})

t.test('renegotiate() after the peer has ended is rejected, and a half-open stream can still write', async (t) => {
  const pair = await tlsPair(t, { client: { allowHalfOpen: true } })
  const stream = wrapTLSSocket(pair.client)
  stream.resume()
  pair.server.end()
  await once(stream, 'end')
  t.match(await rejection(stream.renegotiate()), { code: 'ERR_RENEGOTIATION_CLOSED' })
  t.equal(stream.state, 'open')
  stream.end('still going')
  const [data] = await once(pair.server, 'data')
  t.equal(String(data), 'still going')
})

t.test('if close_notify arrives during a handshake, renegotiate() rejects and earlier data arrives', async (t) => {
  const pair = await tlsPair(t)
  pair.server.pause()
  const stream = wrapTLSSocket(pair.client)
  const renegotiation = stream.renegotiate()
  await once(stream, 'renegotiating')
  pair.server.end('goodbye')
  const [data] = await once(stream, 'data')
  t.equal(String(data), 'goodbye')
  t.match(await rejection(renegotiation), { code: 'ERR_RENEGOTIATION_CLOSED' })
  await closed(stream)
  t.equal(stream.errored, null, 'there is no error, because no write was held')
})

t.test('if close_notify arrives during a handshake, a held write fails with ERR_RENEGOTIATION_CLOSED', async (t) => {
  const pair = await tlsPair(t)
  pair.server.on('error', () => {}).pause()
  const stream = wrapTLSSocket(pair.client)
  stream.resume()
  const renegotiation = stream.renegotiate()
  await once(stream, 'renegotiating')
  const written = new Promise((resolve) => stream.write('held', resolve))
  const error = nextError(stream)
  pair.server.end()
  t.match(await rejection(renegotiation), { code: 'ERR_RENEGOTIATION_CLOSED' })
  t.match(await written, { code: 'ERR_RENEGOTIATION_CLOSED' })
  t.match(await error, { code: 'ERR_RENEGOTIATION_CLOSED' })
})

t.test('if the socket below is destroyed without an error, the stream closes without an error', async (t) => {
  const pair = await tlsPair(t)
  pair.server.on('error', () => {}).pause()
  const stream = wrapTLSSocket(pair.client)
  const error = t.captureFn(() => {})
  stream.on('error', error)
  const written = new Promise((resolve) => stream.write(Buffer.alloc(64 * 1024 * 1024), resolve))
  const renegotiation = stream.renegotiate()
  setImmediate(() => pair.client.destroy())
  t.match(await written, { code: 'ERR_STREAM_DESTROYED' })
  t.match(await rejection(renegotiation), { code: 'ERR_RENEGOTIATION_CLOSED' })
  await closed(stream)
  t.same(error.calls, [])
})
