import t from 'tap'
import { next, type State, type Trigger, transitions } from '../../src/core/state.ts'

const table = `
                requested   drained       givenUp    handshakeStarted   handshakeDone   requestSent   flushed   destroyed
  open          draining    -             -          handshaking        -               -             -         closed
  draining      -           handshaking   flushing   handshaking        -               -             -         closed
  handshaking   -           -             flushing   handshaking        flushing        flushing      -         closed
  flushing      -           -             -          handshaking        -               -             open      closed
  closed        -           -             -          -                  -               -             -         closed
`
const [triggers, ...rows] = table
  .trim()
  .split('\n')
  .map((line) => line.trim().split(/\s+/)) as [Trigger[], ...string[][]]

for (const [state, ...expected] of rows as [State, ...string[]][]) {
  triggers.forEach((trigger, index) => {
    const to = expected[index]
    if (to === '-') {
      t.test(`trigger '${trigger}' is illegal in state '${state}': next() throws and changes nothing`, async (t) => {
        const before = structuredClone(transitions)
        t.throws(() => next(state, trigger), { message: `Illegal transition: '${trigger}' in state '${state}'` })
        t.same(transitions, before)
      })
    } else {
      t.test(`trigger '${trigger}' takes state '${state}' to '${to}'`, async (t) => {
        t.equal(next(state, trigger), to)
      })
    }
  })
}

t.test('the transition table has no other states and no other triggers', async (t) => {
  t.same(
    Object.keys(transitions),
    rows.map(([state]) => state),
  )
  t.ok(
    Object.values(transitions)
      .flatMap((row) => Object.keys(row))
      .every((trigger) => triggers.includes(trigger as Trigger)),
  )
})

t.test('trigger destroyed is legal in every state, and only state closed leads to no other state', async (t) => {
  for (const [state, row] of Object.entries(transitions)) {
    t.equal(row.destroyed, 'closed', state)
    t.equal(
      Object.values(row).every((to) => to === 'closed'),
      state === 'closed',
      state,
    )
  }
})
