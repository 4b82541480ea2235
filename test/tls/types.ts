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
 * Half of the test is that this file compiles: the functions below take the same
 * types as the code of users does, and no argument is cast.
 */

/** Takes a TLS socket, as code of a user does. */
function cipherOf(socket: tls.TLSSocket): string {
  return socket.getCipher().name
}

/** Takes an option that may be a TLS socket or a Duplex. */
async function nameOfPeer({ socket }: { socket?: tls.TLSSocket | Duplex }): Promise<string | undefined> {
  if (socket === undefined || !('encrypted' in socket)) return undefined
  return socket.getPeerCertificate().subject.CN as string | undefined
}

/** Handles connections, and chains methods and listeners. */
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

t.test('the stream can be used wherever a tls.TLSSocket is expected, without a cast', async (t) => {
  const { client } = await tlsPair(t)
  const stream = wrapTLSSocket(client)
  t.equal(cipherOf(stream), client.getCipher().name)
  t.equal(await nameOfPeer({ socket: stream }), 'localhost')
  const over = new Handler().accept(stream)
  stream.destroy()
  await over
})

/** Takes either kind of stream. */
async function whoBegan(stream: RenegotiationStream): Promise<[Origin, RenegotiationReport, string]> {
  const began = new Promise<Origin>((resolve) => stream.once('renegotiating', ({ origin }) => resolve(origin)))
  const done = new Promise<RenegotiationReport>((resolve) => stream.prependOnceListener('renegotiated', resolve))
  const { origin } = await stream.renegotiate()
  return [await began, await done, origin]
}

t.test('event listeners have typed arguments', async (t) => {
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
  // @ts-expect-error: a report has no such property
  outer.on('renegotiated', ({ bytes }) => held.push(bytes))
  // @ts-expect-error: nor does the report of the other kind of stream
  other.on('renegotiated', ({ bytes }) => held.push(bytes))
})
