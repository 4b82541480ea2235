import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { type RekeyOptions, type RenegotiationTLSSocket, wrapTLSSocket } from '../../src/index.ts'
import { clientOptions, tlsPair, tlsServer } from '../fixtures/tls-pair.ts'

/** The clients' sockets of so many connections. The servers have no limit for renegotiations. */
async function connections(t: Test, count: number): Promise<tls.TLSSocket[]> {
  const clients: tls.TLSSocket[] = []
  for (let i = 0; i < count; i++) {
    const { client, server } = await tlsPair(t)
    wrapTLSSocket(server, { peerLimit: false }).resume()
    clients.push(client)
  }
  return clients
}

/** The clients' sockets of so many connections whose servers never hear of them again. */
async function silentConnections(t: Test, count: number): Promise<tls.TLSSocket[]> {
  const server = await tlsServer(t)
  const between = net.createServer((from) => {
    const to = net.connect(server.port, '127.0.0.1')
    from.pipe(to).pipe(from)
    for (const socket of [from, to]) socket.on('error', () => {})
    silences.push(() => from.unpipe(to))
    t.teardown(() => from.destroy())
    t.teardown(() => to.destroy())
  })
  const silences: (() => void)[] = []
  between.listen(0, '127.0.0.1')
  await once(between, 'listening')
  t.teardown(() => between.close())
  const { port } = between.address() as AddressInfo
  const clients: tls.TLSSocket[] = []
  for (let i = 0; i < count; i++) {
    const client = tls.connect(clientOptions(port))
    await once(client, 'secureConnect')
    t.teardown(() => client.destroy())
    clients.push(client)
  }
  for (const silence of silences) silence()
  return clients
}

/** Streams on these sockets, with that schedule. */
function scheduled(sockets: readonly tls.TLSSocket[], rekey: RekeyOptions): RenegotiationTLSSocket[] {
  return sockets.map((socket) => {
    const stream = wrapTLSSocket(socket, { rekey })
    stream.on('error', () => {}).resume()
    return stream
  })
}

/** A turn may go to the next stream after so many milliseconds, even if its handshake is not over. See rekey-turns.ts. */
const TURN_MS = 200

/**
 * Waits until all are renewed. Returns how many of them were in a renegotiation at once, at the most, and how many of
 * them had their turn: on a busy machine a handshake can take longer than a turn.
 */
async function renewal(streams: readonly RenegotiationTLSSocket[]): Promise<{ busy: number; inTurn: number }> {
  const most = { busy: 0, inTurn: 0 }
  const began = new Map<RenegotiationTLSSocket, number>()
  const look = () => {
    const now = performance.now()
    const busy = streams.filter(({ state }) => state === 'draining' || state === 'handshaking')
    const inTurn = busy.filter((stream) => now - (began.get(stream) as number) < TURN_MS)
    most.busy = Math.max(most.busy, busy.length)
    most.inTurn = Math.max(most.inTurn, inTurn.length)
  }
  for (const stream of streams) {
    stream.on('renegotiating', () => {
      began.set(stream, performance.now())
      look()
    })
  }
  await Promise.all(streams.map((stream) => once(stream, 'renegotiated')))
  return most
}

t.test('of 300 connections that are due at once, no more than `concurrency` renegotiate at a time', async (t) => {
  const sockets = await connections(t, 300)
  for (const [concurrency, first] of [
    [undefined, 0],
    [3, 100],
  ] as const) {
    const streams = scheduled(sockets.slice(first, first + 100), { everyMs: 1000, concurrency })
    t.equal((await renewal(streams)).inTurn, concurrency ?? 8)
    for (const stream of streams) {
      t.hasStrict(stream.counters, { failed: 0, failedByPeer: 0, byPeer: 0 })
      stream.destroy()
    }
  }
  const streams = scheduled(sockets.slice(200), { everyMs: 1000, concurrency: Infinity })
  t.ok((await renewal(streams)).busy > 50, 'without a limit, they renegotiate together (control)')
})

t.test('eight peers that never answer do not keep fifty other connections from being renewed', async (t) => {
  const silent = scheduled(await silentConnections(t, 8), { everyMs: 1 })
  await Promise.all(silent.map((stream) => once(stream, 'renegotiating')))
  const others = scheduled(await connections(t, 50), { everyMs: 100 })
  await renewal(others)
  for (const { state, counters } of silent) t.same([state, counters.renegotiations], ['handshaking', 0])
})
