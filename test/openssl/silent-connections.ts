import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import tls from 'node:tls'
import t from 'tap'
import { connect, createServer } from '../../src/openssl/index.ts'
import { collectGarbage } from '../fixtures/collect-garbage.ts'
import { clientEngine } from '../fixtures/engine-end.ts'
import { clientOf } from '../fixtures/openssl-pair.ts'
import * as pki from '../fixtures/pki.ts'

/*
 * Clients that connect and never complete a ClientHello. SILENT is their number, 4500 for a long run. Each takes four
 * file descriptors, because node:tls gets as many.
 */
const SILENT = Number(process.env['SILENT'] ?? 500)
/** Bytes of a server's memory for one of them, above what node:tls takes. */
const ALLOWED = 65_536
const AT_ONCE = 100
/** In milliseconds. On most machines, all of them are connected by then. */
const HANDSHAKE_TIMEOUT = 2000 + 2 * SILENT

t.setTimeout(60_000 + 10 * SILENT)

/** The first bytes of a ClientHello. */
function beginning(): Buffer {
  const engine = clientEngine()
  engine.read(Buffer.alloc(1))
  const bytes = Buffer.alloc(100)
  engine.take(bytes)
  engine.destroy()
  return bytes
}

/** Opens silent connections. Each second one sends a part of its ClientHello. */
async function open(port: number) {
  const part = beginning()
  const sockets: Socket[] = []
  const closed: Promise<unknown>[] = []
  while (sockets.length < SILENT) {
    const batch = Array.from({ length: AT_ONCE }, () => net.connect(port, '127.0.0.1').on('error', () => {}))
    // A server may close the first ones before the last ones are open, or reset them: once() would reject then.
    for (const socket of batch) closed.push(new Promise((resolve) => socket.resume().once('close', resolve)))
    await Promise.all(batch.map((socket) => once(socket, 'connect')))
    for (const [index, socket] of batch.entries()) if (index % 2 === 0) socket.write(part)
    sockets.push(...batch)
  }
  return { sockets, closed: Promise.all(closed) }
}

async function flood(server: tls.Server) {
  const codes: (string | undefined)[] = []
  let accepted = 0
  let isFull!: () => void
  const full = new Promise<void>((resolve) => {
    isFull = resolve
  })
  server.on('connection', () => ++accepted === SILENT && isFull())
  server.on('tlsClientError', (error: NodeJS.ErrnoException) => codes.push(error.code))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  collectGarbage()
  const before = process.memoryUsage().rss
  const { sockets, closed } = await open(port)
  await full
  // Until what has arrived is read.
  for (let i = 0; i < 10; i++) await turn()
  collectGarbage()
  const bytes = (process.memoryUsage().rss - before) / SILENT
  return { port, bytes, codes, sockets, closed }
}

const options = { ...pki.server, handshakeTimeout: HANDSHAKE_TIMEOUT }

t.test(`${SILENT} silent connections are closed after handshakeTimeout, and others are served meanwhile`, async (t) => {
  const node = tls.createServer(options)
  const plain = await flood(node)
  const server = createServer(options, (stream) => stream.end('Hello'))
  const { port, bytes, codes, closed } = await flood(server)
  t.comment(`bytes for each, with both of its ends: ${Math.round(bytes)}, with node:tls ${Math.round(plain.bytes)}`)
  t.ok(bytes - plain.bytes < ALLOWED)

  const client = connect(clientOf(port))
  const [data] = await once(client, 'data')
  t.equal(`${data}`, 'Hello')

  // A server of node:tls reports them, but leaves them open.
  for (const socket of plain.sockets) socket.destroy()
  await closed
  t.equal(codes.length, SILENT)
  t.same([...new Set(codes)], ['ERR_TLS_HANDSHAKE_TIMEOUT'])
  for (const each of [node, server]) each.close()
})
