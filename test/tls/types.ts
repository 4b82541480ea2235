import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import type tls from 'node:tls'
import t from 'tap'
import {
  type Origin,
  RenegotiationDuplex,
  type RenegotiationReport,
  type RenegotiationStream,
  tlsTransport,
  wrapTLSSocket,
} from '../../src/index.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'

/*
 * That this file compiles is half of the test: the functions below ask for what
 * other people's do, and none of what is handed to them is cast.
 */

/** As a client of a server does that has TLS of its own. */
function cipherOf(socket: tls.TLSSocket): string {
  return socket.getCipher().name
}

/** As an option that may be either has it. */
async function nameOfPeer({ socket }: { socket?: tls.TLSSocket | Duplex }): Promise<string | undefined> {
  if (socket === undefined || !('encrypted' in socket)) return undefined
  return socket.getPeerCertificate().subject.CN as string | undefined
}

/** As a handler that wants to be told. */
class Handler {
  readonly #sockets = new Set<tls.TLSSocket>()

  accept(socket: tls.TLSSocket): Promise<unknown> {
    this.#sockets.add(socket)
    socket
      .setTimeout(1000)
      .setNoDelay(true)
      .on('timeout', () => socket.destroySoon())
    return once(
      socket.once('close', (hadError) => this.#sockets.delete(socket) && !hadError),
      'close',
    )
  }
}

t.test('where a tls.TLSSocket is asked for, the stream goes in as it is', async (t) => {
  const { client } = await tlsPair(t)
  const stream = wrapTLSSocket(client)
  t.equal(cipherOf(stream), client.getCipher().name)
  t.equal(await nameOfPeer({ socket: stream }), 'localhost')
  const over = new Handler().accept(stream)
  stream.destroy()
  await over
})

/** As code does that takes either face. */
async function whoBegan(stream: RenegotiationStream): Promise<[Origin, RenegotiationReport, string]> {
  const began = new Promise<Origin>((resolve) => stream.once('renegotiating', ({ origin }) => resolve(origin)))
  const done = new Promise<RenegotiationReport>((resolve) => stream.prependOnceListener('renegotiated', resolve))
  const { origin } = await stream.renegotiate()
  return [await began, await done, origin]
}

t.test('listeners know what the events carry', async (t) => {
  const { client, server } = await tlsPair(t)
  const outer = wrapTLSSocket(client).resume()
  const other = new RenegotiationDuplex(tlsTransport(server))
  other.resume()
  const held: number[] = []
  outer.on('renegotiated', ({ heldBytes }) => held.push(heldBytes)).addListener('renegotiating', () => {})
  other.on('renegotiated', (report) => held.push(report.heldBytes)).prependListener('renegotiating', () => {})
  for (const stream of [outer, other]) {
    const [began, report, origin] = await whoBegan(stream)
    t.same([began, report.origin, origin], ['local', 'local', 'local'])
  }
  t.ok(held.length >= 2)
  // @ts-expect-error: a report has no such thing
  outer.on('renegotiated', ({ bytes }) => held.push(bytes))
  // @ts-expect-error: nor has that of the other face
  other.on('renegotiated', ({ bytes }) => held.push(bytes))
})
