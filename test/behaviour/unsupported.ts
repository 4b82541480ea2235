import { once } from 'node:events'
import { Duplex } from 'node:stream'
import tls from 'node:tls'
import t from 'tap'
import { wrapTLSSocket } from '../../src/index.ts'
import { ca, server as serverPki } from '../fixtures/pki.ts'
import { nextError, rejection } from '../fixtures/settled.ts'
import { type PairOptions, tlsPair } from '../fixtures/tls-pair.ts'

const cases: [string, PairOptions, RegExp][] = [
  ['TLS 1.3', { server: { maxVersion: 'TLSv1.3' } }, /TLS 1\.3/],
  ['HTTP/2', { server: { ALPNProtocols: ['h2'] }, client: { ALPNProtocols: ['h2'] } }, /HTTP\/2/],
]

for (const [what, options, message] of cases) {
  for (const side of ['client', 'server'] as const) {
    t.test(`with ${what}, renegotiate() of a ${side} fails before it holds a write, and data arrives`, async (t) => {
      const pair = await tlsPair(t, options)
      const stream = wrapTLSSocket(pair[side])
      const peer = wrapTLSSocket(side === 'client' ? pair.server : pair.client)
      const renegotiating = t.captureFn(() => {})
      stream.on('renegotiating', renegotiating)
      const rejected = rejection(stream.renegotiate())
      stream.write('there')
      t.match(await rejected, { code: 'ERR_RENEGOTIATION_UNSUPPORTED', message })
      t.equal(stream.state, 'open')
      t.equal(stream.counters.failed, 1)
      t.equal(String((await once(peer, 'data'))[0]), 'there')
      peer.write('and back')
      t.equal(String((await once(stream, 'data'))[0]), 'and back')
      t.same(renegotiating.calls, [])
    })
  }
}

t.test('renegotiate() fails after disableRenegotiation(), and the stream stays open', async (t) => {
  const { client } = await tlsPair(t)
  client.disableRenegotiation()
  const stream = wrapTLSSocket(client)
  const error = await rejection(stream.renegotiate())
  t.match(error, { code: 'ERR_RENEGOTIATION_UNSUPPORTED', message: /disableRenegotiation/ })
  t.equal(stream.state, 'open')
})

t.test("after disableRenegotiation(), a server fails with Node's own error if its client renegotiates", async (t) => {
  const { client, server } = await tlsPair(t)
  server.disableRenegotiation()
  const stream = wrapTLSSocket(server)
  stream.resume()
  client.on('error', () => {}).resume()
  const error = nextError(stream)
  client.renegotiate({}, () => {})
  t.match(await error, { code: 'ERR_TLS_RENEGOTIATION_DISABLED' })
})

t.test('after disableRenegotiation(), a client fails if its server renegotiates, unlike a plain client', async (t) => {
  const { client, server } = await tlsPair(t)
  client.disableRenegotiation()
  const stream = wrapTLSSocket(client)
  stream.resume()
  server.on('error', () => {}).resume()
  const error = nextError(stream)
  server.renegotiate({}, () => {})
  t.match(await error, { code: 'ERR_RENEGOTIATION_UNSUPPORTED', message: /The peer began.*disableRenegotiation/ })
})

t.test('renegotiate() on a JavaScript Duplex fails if Node lacks a private part, and data still arrives', async (t) => {
  const [near, far] = duplexPair()
  const sockets = {
    client: tls.connect({ socket: near, ca, servername: 'localhost', maxVersion: 'TLSv1.2' }),
    server: new tls.TLSSocket(far, { ...serverPki, isServer: true }),
  }
  await Promise.all([once(sockets.client, 'secureConnect'), once(sockets.server, 'secure')])
  const wrapUnmended = (socket: tls.TLSSocket) => {
    // As if Node's private part had another name.
    const { _parentWrap: below } = (socket as unknown as { _handle: { _parentWrap: { doWrite: unknown } } })._handle
    const { doWrite } = below
    below.doWrite = undefined
    const stream = wrapTLSSocket(socket)
    below.doWrite = doWrite
    return stream
  }
  const client = wrapUnmended(sockets.client)
  const server = wrapUnmended(sockets.server)
  t.match(await rejection(client.renegotiate()), { code: 'ERR_RENEGOTIATION_UNSUPPORTED', message: /in JavaScript/ })
  t.match(await rejection(server.renegotiate()), { code: 'ERR_RENEGOTIATION_UNSUPPORTED', message: /in JavaScript/ })
  client.write('there')
  t.equal(String((await once(server, 'data'))[0]), 'there')
  server.write('and back')
  t.equal(String((await once(client, 'data'))[0]), 'and back')
  client.destroy()
  server.destroy()
})

/** Two ends of a connection in memory. */
function duplexPair(): [Duplex, Duplex] {
  const make = (other: () => Duplex) =>
    new Duplex({
      read() {},
      write(chunk, _encoding, done) {
        other().push(chunk)
        done()
      },
      final(done) {
        other().push(null)
        done()
      },
    })
  const near: Duplex = make(() => far)
  const far: Duplex = make(() => near)
  return [near, far]
}
