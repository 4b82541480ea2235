/*
 * One contender, in a process of its own: so each runs in code that the engine
 * has compiled for it alone, as in an application. Works when it is asked to.
 */
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { wrapTLSSocket } from 'renegotiation-duplex'
import { connect, contenders, overOpenSSL, overTCP } from './contenders.ts'
import type { Ask, Contender, Result, Version, Work } from './messages.ts'
import { haveObjects } from './objects.ts'

const CHUNK = Buffer.alloc(64 * 1024, 'x')
/** The longest that a timer can take, in milliseconds. */
const FOREVER = 2 ** 31 - 1

haveObjects()
const [contender, port, version] = process.argv.slice(2) as [Contender, string, Version]
process.on('disconnect', () => process.exit())
process.on('message', async ({ work, port: other }: { work: Work; port?: number }) => {
  process.send?.(await run(work, other ?? Number(port)))
})
process.send?.('ready')

async function run(work: Work, port: number): Promise<Result> {
  switch (work.what) {
    case 'send':
      return send(port, work.bytes, work.chunk)
    case 'read':
      return read(port, work.bytes, work.chunk)
    case 'ping':
      return ping(port, work.times)
    case 'one write':
      return oneWrite(port, work.bytes)
    case 'idle':
      return idle(port, work.connections)
    case 'renegotiate':
      return renegotiate(port, work.milliseconds, work.every)
    case 'transit':
      return transit(port, work.milliseconds)
    case 'handshakes':
      return handshakes(port, work.times)
  }
}

async function open(port: number, ask: Ask): Promise<Duplex> {
  if (contender === 'tcp') return overTCP(port, ask)
  if (contender === 'openssl') return overOpenSSL(port, ask, version)
  return contenders[contender](await connect(port, ask, version))
}

/** Time and CPU that it takes. */
async function timed(bytes: number, work: () => Promise<void>): Promise<Result> {
  const cpu = process.cpuUsage()
  const startedAt = performance.now()
  await work()
  const time = performance.now() - startedAt
  const { user, system } = process.cpuUsage(cpu)
  return { time, cpu: (user + system) / 1000, bytes }
}

async function send(port: number, bytes: number, chunkBytes: number): Promise<Result> {
  const stream = await open(port, { ask: 'sink', bytes })
  const chunk = Buffer.alloc(chunkBytes, 'x')
  const answered = once(stream, 'data')
  const result = await timed(bytes, async () => {
    await new Promise<void>((resolve) => {
      let left = bytes
      const more = () => {
        while (left > 0) {
          left -= chunkBytes
          if (!stream.write(chunk)) break
        }
        if (left > 0) stream.once('drain', more)
        else resolve()
      }
      more()
    })
    await answered
  })
  stream.destroy()
  return result
}

async function read(port: number, bytes: number, chunk: number): Promise<Result> {
  const stream = await open(port, { ask: 'source', bytes, chunk })
  const result = await timed(bytes, async () => {
    await new Promise<void>((resolve) => {
      let left = bytes
      stream.on('data', (chunk: Buffer) => {
        left -= chunk.length
        if (left === 0) resolve()
      })
    })
  })
  stream.destroy()
  return result
}

async function ping(port: number, times: number): Promise<Result> {
  const stream = await open(port, { ask: 'echo' })
  const request = Buffer.alloc(64, 'x')
  const each: number[] = []
  const result = await timed(64 * times, async () => {
    await new Promise<void>((resolve) => {
      let sentAt = performance.now()
      stream.on('data', () => {
        const now = performance.now()
        each.push(now - sentAt)
        if (each.length === times) return resolve()
        sentAt = now
        stream.write(request)
      })
      stream.write(request)
    })
  })
  stream.destroy()
  return { ...result, each }
}

async function oneWrite(port: number, bytes: number): Promise<Result> {
  const stream = await open(port, { ask: 'sink', bytes })
  const buffer = Buffer.alloc(bytes, 'x')
  const before = process.memoryUsage.rss()
  let highest = before
  const looking = setInterval(() => {
    highest = Math.max(highest, process.memoryUsage.rss())
  }, 1)
  const answered = once(stream, 'data')
  const result = await timed(bytes, async () => {
    stream.write(buffer)
    await answered
  })
  clearInterval(looking)
  stream.destroy()
  return { ...result, rssBytes: highest - before }
}

/** What connections cost, the sockets included. One alone counts with all that the first brings along, and all share. */
async function idle(port: number, connections: number): Promise<Result> {
  const first = connections > 1 ? await open(port, { ask: 'echo' }) : undefined
  const before = await memory()
  const streams: Duplex[] = []
  const result = await timed(0, async () => {
    for (let i = 0; i < connections; i++) streams.push(await open(port, { ask: 'echo' }))
  })
  const after = await memory()
  for (const stream of streams) stream.destroy()
  first?.destroy()
  return { ...result, heapBytes: after.heapUsed - before.heapUsed, rssBytes: after.rss - before.rss }
}

async function memory(): Promise<NodeJS.MemoryUsage> {
  for (let i = 0; i < 5; i++) {
    await turn()
    gc?.()
  }
  return process.memoryUsage()
}

async function renegotiate(port: number, milliseconds: number, every: number): Promise<Result> {
  const stream = wrapTLSSocket(await connect(port, { ask: 'guarded' }, version))
  stream.on('error', (error) => {
    throw error
  })
  stream.resume()
  const each: number[] = []
  let running: Promise<void> | undefined
  const begin = async () => {
    const { drainMs, handshakeMs } = await stream.renegotiate()
    each.push(drainMs + handshakeMs)
    running = undefined
  }
  const ticking = setInterval(() => {
    running ??= begin()
  }, every || FOREVER)
  const result = await sendFor(stream, milliseconds)
  clearInterval(ticking)
  await running
  stream.destroy()
  return { ...result, each }
}

/** How long a byte takes to the peer and its answer back, while there is a queue of others before it. */
async function transit(port: number, milliseconds: number): Promise<Result> {
  const every = 32 * CHUNK.length
  const stream = await open(port, { ask: 'marks', every })
  const each: number[] = []
  const sentAt: number[] = []
  stream.on('data', (answers: Buffer) => {
    for (const _ of answers) each.push(performance.now() - (sentAt.shift() as number))
  })
  const result = await sendFor(stream, milliseconds, (bytes) => {
    if (bytes % every === 0) sentAt.push(performance.now())
  })
  stream.destroy()
  return { ...result, each }
}

/** Sends as fast as it can; `sent` is told when a chunk has left, and how many bytes have with it. */
async function sendFor(stream: Duplex, milliseconds: number, sent = (_bytes: number) => {}): Promise<Result> {
  const until = performance.now() + milliseconds
  let bytes = 0
  const left = () => {
    bytes += CHUNK.length
    sent(bytes)
  }
  const result = await timed(0, async () => {
    while (performance.now() < until) {
      if (!stream.write(CHUNK, left)) await once(stream, 'drain')
    }
    await new Promise((resolve) => stream.write('', resolve))
  })
  return { ...result, bytes }
}

async function handshakes(port: number, times: number): Promise<Result> {
  const stream = wrapTLSSocket(await connect(port, { ask: 'guarded' }, version))
  stream.resume()
  const each: number[] = []
  const result = await timed(0, async () => {
    for (let i = 0; i < times; i++) {
      const { handshakeMs } = await stream.renegotiate()
      each.push(handshakeMs)
      await sleep(5)
    }
  })
  stream.destroy()
  return { ...result, each }
}
