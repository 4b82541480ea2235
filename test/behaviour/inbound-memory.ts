import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'

t.setTimeout(300_000)

const MIB = 2 ** 20
const program = fileURLToPath(new URL('../fixtures/inbound-memory.js', import.meta.url))

function start(t: Test, args: string[]): ChildProcess {
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill()
    await once(child, 'exit')
  })
  return child
}

/** Returns the resident memory of a server that has taken so many records of one byte, or has stopped taking any. */
async function serverMemory(t: Test, kind: string, application: string, records: number): Promise<number> {
  const server = start(t, ['server', kind, application, `${records}`])
  for await (const line of createInterface({ input: server.stdout as NodeJS.ReadableStream })) {
    const { rss, port, stopped } = JSON.parse(line)
    if (port !== undefined) {
      // Any client that leaves a HelloRequest unanswered would do.
      start(t, ['client', `${port}`, `${records}`])
    } else {
      t.comment(`${kind}, ${application}: ${Math.round(rss / MIB)} MiB${stopped ? ', stopped' : ''}`)
      return rss
    }
  }
  throw new Error('The server has ended')
}

for (const application of ['never reads', 'pauses']) {
  t.test(`reading one-byte records ahead of an application that ${application} needs little memory`, async (t) => {
    const plain = await serverMemory(t, 'plain', application, 300_000)
    const guarded = await serverMemory(t, 'guarded', application, 300_000)
    t.ok(guarded - plain < 32 * MIB, `${Math.round((guarded - plain) / MIB)} MiB more than without reading ahead`)
  })
}

/** Measures many streams that read ahead of an application that never reads, after all of them have stopped reading. */
async function many(t: Test, streams: number, sizes: number[], options = {}) {
  const args = [program, 'many', `${streams}`, sizes.join(), JSON.stringify(options)]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  const { grown, sent, held, left } = JSON.parse(stdout)
  t.comment(
    `${streams} streams, chunks of ${sizes} bytes: ${Math.round(sent / MIB)} MiB sent, ` +
      `${Math.round(held / MIB)} MiB charged, ${Math.round(grown / MIB)} MiB used`,
  )
  return { grown, sent, held, left }
}

for (const sizes of [[16], [1, 4096], [4095], [16_384]]) {
  t.test(`maxInboundBytes limits the memory of a stream with chunks of ${sizes.join(' and ')} bytes`, async (t) => {
    const { grown, held } = await many(t, 1, sizes)
    t.ok(held > 15 * MIB && held < 17 * MIB, `${held} bytes are charged`)
    // This includes chunks that were copied and wait for the garbage collector.
    t.ok(grown < 48 * MIB, `${grown} bytes are used`)
  })
}

t.test(
  'a thousand streams keep their memory within the inbound budget, and release it when they are destroyed',
  async (t) => {
    const { grown, held, left } = await many(t, 1000, [512])
    t.ok(held >= 256 * MIB, 'the budget is used up')
    // Each stream may also have an ordinary read buffer, and the slab that is being filled.
    const ordinary = 1000 * (64 + 64) * 1024
    t.ok(grown < 256 * MIB + ordinary + 128 * MIB, `${Math.round(grown / MIB)} MiB are used`)
    t.equal(left, 0)
  },
)
