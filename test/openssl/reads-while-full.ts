import t from 'tap'
import { clientEngine, MemoryLink, serverEngine } from '../fixtures/engine-end.ts'

t.test('data alone that waits to be sent does not stop reading, or two ends would wait for each other', (t) => {
  const link = new MemoryLink(clientEngine(), serverEngine({ maxOutputBytes: 65_536 })).run()
  link.client.engine.write(Buffer.from('hello'))
  const server = link.server.engine
  // As much as it takes at most: just below the limit, and then one write more.
  server.write(Buffer.alloc(65_400))
  t.ok(server.outputBytes > 65_448 && server.outputBytes <= 65_536)
  server.write(Buffer.alloc(65_536))
  t.equal(server.write(Buffer.alloc(1)), 'want-write')
  link.carry('client')
  t.equal(link.server.text, 'hello')
  for (const { engine } of [link.client, link.server]) engine.destroy()
  t.end()
})
