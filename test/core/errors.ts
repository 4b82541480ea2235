import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { inspect } from 'node:util'
import t from 'tap'
import { AbortError, RenegotiationError, streamDestroyed } from '../../src/core/errors.ts'

t.test('a RenegotiationError is an Error with a name and a code', async (t) => {
  const error = new RenegotiationError('ERR_RENEGOTIATION_REFUSED', 'No, it said')
  t.type(error, Error)
  t.match(error, { name: 'RenegotiationError', code: 'ERR_RENEGOTIATION_REFUSED', message: 'No, it said' })
  t.match(inspect(error), /RenegotiationError: No, it said/)
  t.match(error.stack, /errors/)
})

t.test('a RenegotiationError has a cause only if one was given', async (t) => {
  const cause = new Error('alert')
  t.equal(new RenegotiationError('ERR_RENEGOTIATION_REFUSED', '', cause).cause, cause)
  t.notOk('cause' in new RenegotiationError('ERR_RENEGOTIATION_REFUSED', ''))
})

t.test("an AbortError has the name and code of Node's own, and the signal's reason as its cause", async (t) => {
  const nodes = await once(new EventTarget(), 'never', { signal: AbortSignal.abort('enough') }).catch((error) => error)
  const error = new AbortError('enough')
  t.type(error, Error)
  t.equal(error.name, nodes.name)
  t.equal(error.code, nodes.code)
  t.equal(error.cause, 'enough')
})

t.test('streamDestroyed() returns the error that Node gives to a write on a destroyed stream', async (t) => {
  const stream = new PassThrough()
  stream.destroy()
  const nodes = await new Promise<NodeJS.ErrnoException>((resolve) => stream.write('', resolve as () => void))
  t.match(streamDestroyed(), { name: 'Error', code: nodes.code, message: nodes.message })
})
