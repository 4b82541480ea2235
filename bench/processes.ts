import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Contender, Result, Version, Work } from './messages.ts'

export function start(program: string, ...args: string[]): ChildProcess {
  const path = fileURLToPath(new URL(`./${program}.js`, import.meta.url))
  return fork(path, args, { execArgv: ['--expose-gc'] })
}

export async function answer<T>(child: ChildProcess, of: string): Promise<T> {
  const gone = new AbortController()
  const exited = once(child, 'exit', { signal: gone.signal }).then(() => {
    throw new Error(`The process of ${of} has gone`)
  })
  try {
    const [message] = await Promise.race([once(child, 'message'), exited])
    return message as T
  } finally {
    gone.abort()
    exited.catch(() => {})
  }
}

/** The process at the other end. */
export async function startPeer(): Promise<{ port: number; tcpPort: number; stop(): void }> {
  const child = start('peer')
  const ports = await answer<{ port: number; tcpPort: number }>(child, 'the peer')
  return { ...ports, stop: () => child.disconnect() }
}

/** A contender's process: does one piece of work at a time. */
export class Runner {
  readonly contender: Contender
  readonly #child: ChildProcess

  private constructor(contender: Contender, child: ChildProcess) {
    this.contender = contender
    this.#child = child
  }

  static async start(contender: Contender, port: number, version: Version = 'TLSv1.2'): Promise<Runner> {
    const child = start('runner', contender, `${port}`, version)
    await answer(child, contender)
    return new Runner(contender, child)
  }

  /** At another port than the peer's own, where there is something in between. */
  async run(work: Work, port?: number): Promise<Result> {
    this.#child.send({ work, port })
    return answer<Result>(this.#child, this.contender)
  }

  stop(): void {
    this.#child.disconnect()
  }
}
