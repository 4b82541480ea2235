/*
 * The end with the schedule: a server with many connections that are all due
 * within one second. Measures itself.
 */
import type { AddressInfo } from 'node:net'
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import tls from 'node:tls'
import { wrapTLSSocket } from 'renegotiation-duplex'
import { server as identity } from '../examples/certificates.ts'
import { type LoopDelay, MESSAGE_BYTES, type Plan, type ToServer } from './scale-messages.ts'

/** Milliseconds within which the connections become due, one after the other. */
const DUE_WITHIN = 1000
/** Milliseconds between two looks at the memory. */
const LOOK = 20

/** Plain until all are there: so all can be guarded, and be due, at the same time. */
const sockets: tls.TLSSocket[] = []
let plan: Plan | undefined
let emptyRss = 0
let bytes = 0

process.on('disconnect', () => process.exit())
process.on('message', async (message: ToServer) => {
  if ('accept' in message) {
    plan = message.accept
    emptyRss = await residentBytes()
    process.send?.((server.address() as AddressInfo).port)
  } else {
    measuring?.()
  }
})
let measuring: (() => void) | undefined

const server = tls.createServer({ ...identity, maxVersion: 'TLSv1.2' }, (socket) => {
  socket.setNoDelay()
  sockets.push(socket)
  if (plan !== undefined && sockets.length === plan.connections) void measure(plan)
})
server.listen(0, '127.0.0.1', 511, () => process.send?.('ready'))

async function measure({ connections, concurrency, everyMs }: Plan): Promise<void> {
  const dueAt = performance.now() + everyMs
  let renewed = 0
  let lost = 0
  const { promise, resolve } = whenDone()
  const check = () => {
    if (renewed + lost === connections) resolve()
  }
  for (const [index, socket] of sockets.entries()) {
    if (index % 100 === 0) await turn()
    const delay = dueAt + (DUE_WITHIN * index) / connections - performance.now()
    const stream = wrapTLSSocket(socket, { rekey: { everyMs: delay, concurrency }, peerLimit: false })
    let isRenewed = false
    stream.once('renegotiated', () => {
      isRenewed = true
      renewed++
      check()
    })
    // For example by handshakeTimeout.
    stream.once('close', () => {
      if (isRenewed) return
      lost++
      check()
    })
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      stream.write(chunk)
    })
    stream.on('error', () => {})
  }
  const idleRss = await residentBytes()
  const running = new Promise<void>((resolve) => {
    measuring = resolve
  })
  process.send?.('guarded')
  await running
  // The traffic gets going.
  await sleep(2000)
  const before = new Period()
  await sleep(dueAt - performance.now())
  const { delay, messages, cpu } = before.end()
  if (renewed > 0) throw new Error('The first connection was renewed before the measurement')

  const during = new Period()
  let highest = idleRss
  const looking = setInterval(() => {
    highest = Math.max(highest, process.memoryUsage.rss())
  }, LOOK)
  await promise
  clearInterval(looking)
  const after = during.end()
  process.send?.({
    renewalMs: after.time,
    before: delay,
    during: after.delay,
    messagesBefore: messages,
    messagesDuring: after.messages,
    idleBytes: (idleRss - emptyRss) / connections,
    renewalBytes: (highest - emptyRss) / connections,
    // What the traffic takes in that time is not theirs.
    cpuMs: ((after.cpu - cpu) * after.time) / connections,
    lost,
  })
}

/** What is measured from now on. */
class Period {
  readonly #histogram: IntervalHistogram = monitorEventLoopDelay()
  readonly #startedAt = performance.now()
  readonly #bytes = bytes
  readonly #cpu = process.cpuUsage()

  constructor() {
    this.#histogram.enable()
  }

  /** CPU time and messages are rates. */
  end() {
    this.#histogram.disable()
    const time = performance.now() - this.#startedAt
    const { user, system } = process.cpuUsage(this.#cpu)
    const messages = ((bytes - this.#bytes) / MESSAGE_BYTES / time) * 1000
    return { time, messages, cpu: (user + system) / 1000 / time, delay: delayOf(this.#histogram) }
  }
}

function delayOf(histogram: IntervalHistogram): LoopDelay {
  const ms = (nanoseconds: number) => nanoseconds / 1e6
  return { p50: ms(histogram.percentile(50)), p99: ms(histogram.percentile(99)), max: ms(histogram.max) }
}

async function residentBytes(): Promise<number> {
  for (let i = 0; i < 5; i++) {
    await turn()
    gc?.()
  }
  return process.memoryUsage.rss()
}

function whenDone() {
  let resolve = () => {}
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}
