import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import tls, { type TLSSocket } from 'node:tls'
import t from 'tap'
import { wrapTLSSocket } from '../../src/index.ts'
import { ca, server as identity } from '../fixtures/pki.ts'
import { relay } from '../fixtures/relay.ts'
import { allowResumption } from '../fixtures/tls-pair.ts'

t.test('a handshake completes if its last message arrives together with the first of the next one', async (t) => {
  const server = tls.createServer({ ...identity, maxVersion: 'TLSv1.2' }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const between = await relay((server.address() as AddressInfo).port, { latency: 20, inBursts: true })
  const client = tls.connect({ host: '127.0.0.1', port: between.port, ca })
  t.teardown(() => {
    client.destroy()
    server.close()
    between.close()
  })
  const [[socket]] = (await Promise.all([once(server, 'secureConnection'), once(client, 'secure')])) as [
    [TLSSocket],
    unknown,
  ]
  allowResumption(socket)
  const stream = wrapTLSSocket(socket)
  stream.resume()

  // The last message of an abbreviated handshake that a server begins is the client's.
  client.once('secure', () => setImmediate(() => client.renegotiate({}, () => {})))
  t.match(await stream.renegotiate(), { origin: 'local', resumed: true })
  const [report] = await once(stream, 'renegotiated')
  t.match(report, { origin: 'peer', verified: true })
})
