import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { SEED } from '../fixtures/random.ts'

const program = fileURLToPath(new URL('../fixtures/engine-flood.js', import.meta.url))

function start(t: Test, ...args: (string | number)[]): ChildProcess {
  const child = fork(program, args.map(String))
  t.teardown(() => void child.kill())
  return child
}

t.test('two processes at full speed lose no byte while both update keys', async (t) => {
  t.comment(`SEED=${SEED}`)
  const server = start(t, 'server', 0, SEED, 2000)
  const [port] = await once(server, 'message')
  const client = start(t, 'client', port, SEED + 1, 2000)
  const ends = [server, client]
  await Promise.all(ends.map((end) => once(end, 'message')))
  const results = ends.map((end) => once(end, 'message'))
  for (const end of ends) end.send('end')
  const [[a], [b]] = (await Promise.all(results)) as [[Result], [Result]]
  t.comment(`${a.sent.bytes} and ${b.sent.bytes} bytes, ${a.updates} and ${b.updates} key updates`)
  t.same(a.sent, b.received)
  t.same(b.sent, a.received)
  t.match(a.keyUpdates, { sent: a.updates, answered: a.updates, byPeer: b.updates })
  t.match(b.keyUpdates, { sent: b.updates, answered: b.updates, byPeer: a.updates })
})

interface Result {
  sent: { bytes: number }
  received: { bytes: number }
  updates: number
  keyUpdates: object
}
