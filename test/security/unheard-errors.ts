import { spawn } from 'node:child_process'
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import tls from 'node:tls'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { wrapTLSSocket } from '../../src/index.ts'
import { clientOptions, tlsServer } from '../fixtures/tls-pair.ts'

const program = fileURLToPath(new URL('../fixtures/lone-end.js', import.meta.url))

/** Starts a process that is one end of a connection, and reads the lines that it prints. */
function loneEnd(t: Test, ...args: string[]) {
  const child = spawn(process.execPath, [program, ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
  t.teardown(() => child.kill())
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const exited = once(child, 'exit') as Promise<[number | null]>
  return {
    /** The next line; undefined if the process has ended instead. */
    line: async () => (await lines.next()).value as string | undefined,
    /** Asks the process to end; returns its exit code. */
    async end(): Promise<number | null> {
      child.stdin.on('error', () => {}).end()
      return (await exited)[0]
    },
  }
}

/** A client over a TCP socket of the test, after it has received an echo. */
async function client(t: Test, port: number) {
  const raw = net.connect(port, '127.0.0.1')
  const socket = tls.connect({ ...clientOptions(0), socket: raw, maxVersion: 'TLSv1.2' })
  socket.on('error', () => {})
  t.teardown(() => raw.destroy())
  await once(socket, 'secureConnect')
  socket.write('hello')
  await once(socket, 'data')
  return { raw, socket }
}

const attacks: Record<string, (t: Test, port: number) => Promise<unknown>> = {
  'a TCP reset': async (t, port) => (await client(t, port)).raw.resetAndDestroy(),
  'a garbled record': async (t, port) => {
    const { raw } = await client(t, port)
    // Node leaves a plain socket open after such an error, so the client ends, too.
    raw.end(Buffer.from('1703030020'.padEnd(74, '0'), 'hex'))
  },
  'too many renegotiations': async (t, port) => {
    const { raw, socket } = await client(t, port)
    const stream = wrapTLSSocket(socket)
    stream.on('error', () => {}).resume()
    for (let i = 0; i < tls.CLIENT_RENEG_LIMIT; i++) await stream.renegotiate()
    void stream.renegotiate()
    await once(stream, 'renegotiating')
    raw.end()
  },
}

for (const [name, attack] of Object.entries(attacks)) {
  for (const kind of ['plain', 'createServer', 'wrap', 'duplex']) {
    t.test(`without error listeners, ${name} does not end a server's process: ${kind}`, async (t) => {
      const server = loneEnd(t, 'server', kind)
      await attack(t, Number(await server.line()))
      t.equal(await server.line(), 'closed')
      t.equal(await server.end(), 0)
    })
  }
}

for (const kind of ['plain', 'connect', 'wrap']) {
  t.test(`without error listeners, a reset is an uncaught exception on a client: ${kind}`, async (t) => {
    const accepted = new Set<net.Socket>()
    const listening = await tlsServer(t)
    listening.on('connection', (raw: net.Socket) => accepted.add(raw))
    listening.on('secureConnection', (socket) => socket.on('error', () => {}).pipe(socket))
    const it = loneEnd(t, 'client', kind, String((listening.address() as AddressInfo).port))
    t.equal(await it.line(), 'connected')
    for (const raw of accepted) raw.resetAndDestroy()
    t.equal(await it.line(), undefined)
    t.equal(await it.end(), 1)
  })
}
