/*
 * TLS inside TLS on a TCP socket, as through an HTTPS proxy. The TCP socket is
 * destroyed, and the innermost stream must close. With plain sockets it may never
 * close, or the process may crash.
 */
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { connect, type RenegotiationTLSSocket } from '../../src/index.ts'
import { ca, server as identity } from '../fixtures/pki.ts'
import { rejection } from '../fixtures/settled.ts'

const trusted = { ca, servername: 'localhost' } as const

for (const busy of [false, true]) {
  t.test(`a stream emits the error that destroyed the lowest TCP socket${busy ? ' during a write' : ''}`, async (t) => {
    const { stream, tcp } = await layers(t)
    const events: string[] = []
    stream.on('error', (error) => events.push(error.message))
    stream.on('close', (hadError) => events.push(`close ${hadError}`))
    const over = new Promise((resolve) => stream.once('close', resolve))
    if (busy) stream.write(Buffer.alloc(300_000))
    tcp.destroy(new Error('from the bottom'))
    await over
    t.same(events, ['from the bottom', 'close true'])
  })
}

t.test('after destroy() of the lowest TCP socket, write() and renegotiate() still report an error', async (t) => {
  const { stream, tcp } = await layers(t)
  // On Node 26, the write fails before the TCP socket has closed.
  stream.on('error', () => {})
  tcp.destroy()
  const written = new Promise((resolve) => stream.write('late', resolve))
  const asked = rejection(stream.renegotiate())
  await new Promise((resolve) => stream.once('close', resolve))
  t.match(await written, Error)
  t.match(await asked, { code: 'ERR_RENEGOTIATION_CLOSED' })
  t.ok(stream.destroyed)
})

t.test('a stream on sockets that are already destroyed closes', async (t) => {
  const { stream, tcp } = await layers(t, (tcp) => tcp.destroy())
  stream.on('error', () => {})
  await new Promise((resolve) => stream.once('close', resolve))
  t.ok(tcp.destroyed)
})

/** Returns a client of this package on a plain TLS socket on a TCP socket. */
async function layers(t: Test, before?: (tcp: net.Socket) => void) {
  const listener = net.createServer((socket) => {
    const middle = new tls.TLSSocket(socket, { isServer: true, ...identity })
    const inner = new tls.TLSSocket(middle, {
      isServer: true,
      ...identity,
      maxVersion: 'TLSv1.2',
    } as tls.TLSSocketOptions)
    for (const each of [socket, middle, inner]) each.on('error', () => {})
    inner.pipe(inner)
    t.teardown(() => socket.destroy())
  })
  listener.listen(0, '127.0.0.1')
  t.teardown(() => listener.close())
  await once(listener, 'listening')
  const tcp = net.connect((listener.address() as AddressInfo).port, '127.0.0.1')
  const middle = tls.connect({ ...trusted, socket: tcp })
  for (const each of [tcp, middle]) each.on('error', () => {})
  t.teardown(() => tcp.destroy())
  await once(middle, 'secureConnect')
  before?.(tcp)
  const stream: RenegotiationTLSSocket = connect({ ...trusted, socket: middle, maxVersion: 'TLSv1.2' })
  if (before === undefined) await once(stream, 'secureConnect')
  stream.resume()
  return { stream, tcp }
}
