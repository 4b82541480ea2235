import { getEventListeners } from 'node:events'
import sinon from 'sinon'
import t from 'tap'
import { AbortError } from '../../src/core/errors.ts'
import type { RenegotiationReport } from '../../src/core/report.ts'
import { Request } from '../../src/core/request.ts'

const report: RenegotiationReport = {
  origin: 'local',
  kind: 'renegotiation',
  freshSecret: true,
  drainMs: 0,
  handshakeMs: 0,
  heldBytes: 0,
  inboundBytes: 0,
  verified: true,
}

t.test('resolve() fulfils the promise', async (t) => {
  const request = new Request({})
  t.equal(request.isSettled, false)
  request.resolve(report)
  t.equal(request.isSettled, true)
  t.equal(await request.promise, report)
  await request.settled
})

t.test('reject() rejects the promise, but still fulfils `settled`', async (t) => {
  const request = new Request({})
  const error = new Error('no')
  request.reject(error)
  t.equal(request.isSettled, true)
  await request.settled
  await t.rejects(request.promise, error)
})

t.test('a rejected promise that nobody handles causes no unhandledRejection', async (t) => {
  const unhandled = sinon.spy()
  process.on('unhandledRejection', unhandled)
  t.teardown(() => process.off('unhandledRejection', unhandled))
  new Request({}).reject(new Error('no'))
  await new Promise(setImmediate)
  t.equal(unhandled.callCount, 0)
})

t.test('only the first call of resolve() or reject() counts', async (t) => {
  const request = new Request({})
  request.resolve(report)
  request.reject(new Error('too late'))
  t.equal(await request.promise, report)
})

t.test('watchSignal() without a signal does nothing', async (t) => {
  const aborted = sinon.spy()
  new Request({}).watchSignal(aborted)
  t.equal(aborted.callCount, 0)
})

t.test('watchSignal() calls back at once if the signal is already aborted', async (t) => {
  const aborted = sinon.spy()
  const signal = AbortSignal.abort('why')
  new Request({ signal }).watchSignal(aborted)
  t.equal(aborted.callCount, 1)
  t.type(aborted.firstCall.args[0], AbortError)
  t.equal(aborted.firstCall.args[0].cause, 'why')
  t.same(getEventListeners(signal, 'abort'), [])
})

t.test('watchSignal() calls back when the signal is aborted', async (t) => {
  const aborted = sinon.spy()
  const controller = new AbortController()
  new Request({ signal: controller.signal }).watchSignal(aborted)
  t.equal(aborted.callCount, 0)
  controller.abort('why')
  t.equal(aborted.callCount, 1)
  t.equal(aborted.firstCall.args[0].cause, 'why')
})

for (const settle of ['resolve', 'reject'] as const) {
  t.test(`after ${settle}(), the request no longer listens to its signal`, async (t) => {
    const aborted = sinon.spy()
    const controller = new AbortController()
    const request = new Request({ signal: controller.signal })
    request.watchSignal(aborted)
    request[settle](report as never)
    t.same(getEventListeners(controller.signal, 'abort'), [])
    controller.abort()
    t.equal(aborted.callCount, 0)
    await request.settled
  })
}

t.test('requests that share a signal share one listener, and are called back in order', async (t) => {
  const controller = new AbortController()
  const { signal } = controller
  const told: number[] = []
  const warned = t.capture(process, 'emitWarning')
  const requests = Array.from({ length: 20 }, (_, index) => {
    const request = new Request({ signal })
    request.watchSignal(() => told.push(index))
    return request
  })
  t.equal(getEventListeners(signal, 'abort').length, 1)
  requests[0]?.reject(new Error('one'))
  t.equal(getEventListeners(signal, 'abort').length, 1)
  controller.abort()
  t.same(
    told,
    Array.from({ length: 19 }, (_, index) => index + 1),
  )
  for (const request of requests.slice(1)) request.reject(new Error('after it'))
  t.same(getEventListeners(signal, 'abort'), [])
  t.same(warned(), [])
})
