import { once } from 'node:events'
import t from 'tap'
import { wrapTLSSocket } from '../../src/index.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'

const MiB = 1024 * 1024

t.test('a renegotiation during a write() of 1 GiB succeeds, and needs less than 256 MiB of memory', async (t) => {
  const pair = await tlsPair(t)
  const stream = wrapTLSSocket(pair.client, { peerLimit: false })
  const huge = Buffer.alloc(1024 * MiB, 1)
  const before = process.memoryUsage.rss()
  let received = 0
  let most = 0
  pair.server.on('data', (chunk: Buffer) => {
    // Only about once per MiB, because measuring takes longer than reading.
    if (Math.floor(received / MiB) !== Math.floor((received + chunk.length) / MiB)) {
      most = Math.max(most, process.memoryUsage.rss())
    }
    received += chunk.length
  })
  stream.write(huge)
  while (received < 512 * MiB) await once(pair.server, 'data')
  t.match(await stream.renegotiate(), { verified: true })
  stream.end()
  await once(pair.server, 'end')
  t.equal(received, huge.length)
  t.comment(`${Math.round((most - before) / MiB)} MiB above the gigabyte itself`)
  t.ok(most - before < 256 * MiB)
})
