import { once } from 'node:events'
import type { TLSSocket } from 'node:tls'
import t from 'tap'
import { wrapTLSSocket } from '../../src/index.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'

const warnings: Error[] = []
process.on('warning', (warning) => warnings.push(warning))

/** Removes `_handle.onhandshakestart`, as if this release of Node did not have it. */
function forgetHook(socket: TLSSocket): TLSSocket {
  const { _handle: handle } = socket as unknown as { _handle: { onhandshakestart?: unknown } }
  handle.onhandshakestart = undefined
  return socket
}

for (const side of ['client', 'server'] as const) {
  t.test(
    `without Node's handshake hook, a ${side} still renegotiates, and reports handshakes of the peer`,
    async (t) => {
      const pair = await tlsPair(t)
      const stream = wrapTLSSocket(forgetHook(pair[side]), { peerLimit: false })
      const peer = wrapTLSSocket(side === 'client' ? pair.server : pair.client, { peerLimit: false })
      stream.resume()
      peer.resume()
      for (let i = 0; i < 5; i++) t.match(await stream.renegotiate(), { origin: 'local', verified: true })
      const seen = once(stream, 'renegotiated')
      await peer.renegotiate()
      t.match(await seen, [{ origin: 'peer', verified: true }])
      t.match(await stream.renegotiate(), { verified: true })
      t.match(stream.counters, { renegotiations: 7, byPeer: 1 })
      t.equal(stream.state, 'open')
    },
  )
}

t.test('the missing handshake hook was reported by a single process warning with a code', (t) => {
  t.match(warnings, [{ name: 'RenegotiationWarning', code: 'RENEGOTIATION_NO_HANDSHAKE_HOOK' }])
  t.equal(warnings.length, 1)
  t.end()
})
