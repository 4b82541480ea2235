import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import t from 'tap'
import { wrapTLSSocket } from '../../src/index.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'

async function hashOf(stream: Readable | TLSSocket): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of stream) hash.update(chunk)
  return hash.digest('hex')
}

for (const allowHalfOpen of [false, true]) {
  t.test(
    `all data that was queued when the peer ended arrives, ${allowHalfOpen ? 'with' : 'without'} allowHalfOpen`,
    async (t) => {
      const { client, server } = await tlsPair(t, { client: { allowHalfOpen: true }, server: { allowHalfOpen } })
      const stream = wrapTLSSocket(server)
      t.equal(stream.allowHalfOpen, allowHalfOpen)
      stream.resume()
      const queued = randomBytes(10_000_000)
      for (let at = 0; at < queued.length; at += 100_000) stream.write(queued.subarray(at, at + 100_000))
      client.end()
      await once(stream, 'end')
      if (allowHalfOpen) stream.end()
      t.equal(await hashOf(client), createHash('sha256').update(queued).digest('hex'))
    },
  )
}
