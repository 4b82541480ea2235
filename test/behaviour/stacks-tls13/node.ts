import t from 'tap'
import { connected } from '../../fixtures/stack-cell-tls13.ts'
import { missing, testStackTLS13 } from '../../fixtures/stack-tests-tls13.ts'
import { stacksTLS13 } from '../../fixtures/stacks-tls13.ts'
import { build } from '../../fixtures/toolchains.ts'
import { Traffic } from '../../fixtures/traffic.ts'

testStackTLS13('node')

const stack = stacksTLS13['node']
if (stack === undefined) throw new Error('there is no stack node')

t.test('a Node.js that only reads never answers, and the stream stays open', { skip: missing(stack) }, async (t) => {
  const command = build(t, stack.toolchain)
  for (const role of ['client', 'server'] as const) {
    const { peer, stream } = await connected(t, command, role)
    const traffic = new Traffic(peer, stream)
    await traffic.moves()
    peer.tell('stop')
    await peer.says('stopped')
    const report = await stream.renegotiate({ handshakeTimeout: 200 })
    t.match(report, { origin: 'local', kind: 'key-update', verified: false }, `our end is a ${role}`)
    t.equal(stream.state, 'open')
    await traffic.finish()
    t.match(stream.counters, { renegotiations: 1, failed: 0 })
    traffic.stop()
  }
})
