import t from 'tap'
import type { Kind, Stream } from '../fixtures/two-ends/end.ts'
import { Explorer } from '../fixtures/two-ends/explorer.ts'
import { installHandClocks } from '../fixtures/two-ends/hand-clock.ts'
import { LearnedEnd } from '../fixtures/two-ends/learned-end.ts'
import { importOpened } from '../fixtures/two-ends/opened-copy.ts'

const { TWO_ENDS_DEPTH = '12' } = process.env

t.test('x', async (t) => {
  const { RenegotiationDuplex } = await importOpened<{ RenegotiationDuplex: Stream }>('faces/renegotiation-duplex.js')
  const kind = (role: 'client' | 'server'): Kind => ({
    role,
    below: role === 'client' ? 'buffers' : 'stops midway',
    abbreviated: false,
    allowHalfOpen: true,
    Stream: RenegotiationDuplex,
    writes: 2,
    renegotiations: 2,
    ends: true,
    destroys: false,
    readsAtOnce: role === 'client',
  })
  const restore = installHandClocks()
  try {
    const client = await LearnedEnd.learn(kind('client'))
    const server = await LearnedEnd.learn(kind('server'))
    const explorer = new Explorer(client, server)
    for (let depth = 1; depth <= Number(TWO_ENDS_DEPTH); depth++) {
      const start = process.hrtime.bigint()
      const { states, finding } = await explorer.explore(depth)
      console.log(depth, states.at(-1), Number(process.hrtime.bigint() - start) / 1e6, client.size, server.size, client.stepsRun, server.stepsRun, explorer.restful)
      if (finding) {
        console.log(finding)
        break
      }
    }
  } finally {
    restore()
  }
  t.pass()
})
