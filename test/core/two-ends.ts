import t from 'tap'
import { explore, type Plan } from '../fixtures/two-ends/exploration.ts'
import { plantedFaults } from '../fixtures/two-ends/planted-faults.ts'

const { TWO_ENDS_DEPTH = '12', FAULTS } = process.env

const kind = { allowHalfOpen: true, abbreviated: false, writes: 2, renegotiations: 2, ends: true, destroys: false, stops: 2 }
const kinds: Plan['kinds'] = {
  client: { ...kind, below: 'buffers', readsAtOnce: true },
  server: { ...kind, below: 'stops midway', readsAtOnce: false },
}

t.test('x', async (t) => {
  if (!FAULTS) console.log(await explore({ kinds, depth: Number(TWO_ENDS_DEPTH) }))
  else for (const fault of plantedFaults) {
    const r = await explore({ kinds, depth: Number(TWO_ENDS_DEPTH), fault })
    console.log(fault.name, '→', r.finding?.depth, r.finding?.violation.slice(0, 300), r.seconds)
    console.log('     ', r.finding?.moves.join('; '))
  }
  t.pass()
})
