import { constants } from 'node:crypto'
import { once } from 'node:events'
import t from 'tap'
import { connect, RenegotiationError, wrapTLSSocket } from '../../src/index.ts'
import { alertingServer } from '../fixtures/alerting-server.ts'
import { ca } from '../fixtures/pki.ts'
import { closed, nextError, rejection } from '../fixtures/settled.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'

const refusing = { secureOptions: constants.SSL_OP_NO_RENEGOTIATION }

t.test('renegotiate() of a plain socket never calls back if the peer refuses (control)', async (t) => {
  const { client, server } = await tlsPair(t, { server: refusing })
  server.on('error', () => {}).resume()
  client.resume()
  const callback = t.captureFn(() => {})
  client.renegotiate({}, callback)
  const error = await nextError(client)
  t.match(error, { code: 'ERR_SSL_NO_RENEGOTIATION' })
  client.destroy()
  await closed(client)
  t.same(callback.calls, [], 'the callback was never called')
})

for (const [begins, options] of [
  ['client', { server: refusing }],
  ['server', { client: refusing }],
] as const) {
  t.test(`a ${begins} fails with ERR_RENEGOTIATION_REFUSED and is destroyed if the peer refuses`, async (t) => {
    const pair = await tlsPair(t, options)
    const refuser = wrapTLSSocket(begins === 'client' ? pair.server : pair.client)
    const stream = wrapTLSSocket(pair[begins])
    const renegotiated = t.captureFn(() => {})
    refuser.on('renegotiated', renegotiated)
    refuser.on('error', () => {}).resume()
    stream.resume()
    const [error, rejected] = await Promise.all([nextError(stream), rejection(stream.renegotiate())])
    t.type(error, RenegotiationError)
    t.match(error, { code: 'ERR_RENEGOTIATION_REFUSED', cause: { code: /NO_RENEGOTIATION/ } })
    t.equal(rejected, error, 'the promise and the error event have the same error')
    await closed(stream)
    t.equal(stream.state, 'closed')
    t.ok(pair[begins].destroyed, 'the socket is destroyed, which Node alone does not do')
    await closed(refuser)
    t.same(renegotiated.calls, [], 'the refusing end reports no renegotiation, although Node emits `secure`')
    t.match(refuser.counters, { renegotiations: 0, byPeer: 0 })
  })
}

t.test('a server that answers with the alert unexpected_message causes ERR_RENEGOTIATION_REFUSED', async (t) => {
  const port = await alertingServer(t, 2, 10)
  const stream = connect({ host: '127.0.0.1', port, servername: 'localhost', ca, maxVersion: 'TLSv1.2' })
  await once(stream, 'secureConnect')
  stream.resume()
  stream.write('sent before the renegotiation')
  const [error, rejected] = await Promise.all([nextError(stream), rejection(stream.renegotiate())])
  t.match(error, { code: 'ERR_RENEGOTIATION_REFUSED', message: /unexpected_message/, cause: Error })
  t.equal(rejected, error, 'the promise and the error event have the same error')
  await closed(stream)
})

t.test('a server that refuses a renegotiation stays open and sends the write that it held meanwhile', async (t) => {
  const { client, server } = await tlsPair(t, { server: refusing })
  const stream = wrapTLSSocket(server)
  stream.on('error', () => {}).resume()
  client.on('error', () => {}).resume()
  const began = once(stream, 'renegotiating')
  client.renegotiate({}, () => {})
  t.same(await began, [{ origin: 'peer' }])
  await new Promise((resolve) => stream.write('held until the refusal is out', resolve))
})

t.test('renegotiate() with SSL_OP_NO_RENEGOTIATION fails as unsupported, and the stream stays open', async (t) => {
  const { client, server } = await tlsPair(t, { client: refusing })
  const stream = wrapTLSSocket(client)
  const error = await rejection(stream.renegotiate())
  t.match(error, { name: 'RenegotiationError', code: 'ERR_RENEGOTIATION_UNSUPPORTED', cause: Error })
  t.equal(stream.state, 'open')
  stream.write('still here')
  const [data] = await once(server, 'data')
  t.equal(String(data), 'still here')
})
