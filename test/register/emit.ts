import { once } from 'node:events'
import https from 'node:https'
import net, { type AddressInfo } from 'node:net'
import tls, { type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { RenegotiationTLSSocket } from '../../src/faces/renegotiation-tls-socket.ts'
import { register } from '../../src/register/register.ts'
import { ca, server as identity } from '../fixtures/pki.ts'

const options = { ...identity, maxVersion: 'TLSv1.2' } as const
type Emit = (this: object, event: string, ...args: unknown[]) => boolean

/** Replaces `emit()` of a prototype as OpenTelemetry does, and returns the events that pass it. */
function replaceEmit(prototype: object): string[] {
  const events: string[] = []
  const { emit: next } = prototype as { emit: Emit }
  const emit: Emit = function (event, ...args) {
    events.push(event)
    return next.call(this, event, ...args)
  }
  Object.assign(prototype, { emit })
  return events
}

// Before the hook is loaded
const early = https.createServer(options)
const first = replaceEmit(https.Server.prototype)
const counts = register()

/** Connects to a server once. Returns its socket, and how many sockets were counted, of both ends. */
async function connectTo(t: Test, server: tls.Server): Promise<{ socket: TLSSocket; counted: number }> {
  const before = counts.guarded
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = once(server, 'secureConnection') as Promise<[TLSSocket]>
  const { port } = server.address() as AddressInfo
  const client = tls.connect({ host: '127.0.0.1', port, ca })
  const [[socket]] = await Promise.all([accepted, once(client, 'secureConnect')])
  t.teardown(() => {
    for (const stream of [client, socket]) stream.destroy()
    server.close()
  })
  return { socket, counted: counts.guarded - before }
}

for (const [when, server] of Object.entries({ before: early, after: https.createServer(options) })) {
  t.test(`a server that was made ${when} registration is guarded if emit() of https was replaced before`, async (t) => {
    const { socket, counted } = await connectTo(t, server)
    t.type(socket, RenegotiationTLSSocket)
    t.equal(counted, 2)
    t.ok(first.includes('secureConnection'))
    first.length = 0
  })
}

t.test('an emit() that replaces that of net.Server after registration is passed by a TLS server', async (t) => {
  t.teardown(() => Reflect.deleteProperty(net.Server.prototype, 'emit'))
  const events = replaceEmit(net.Server.prototype)
  const { socket } = await connectTo(t, tls.createServer(options))
  t.type(socket, RenegotiationTLSSocket)
  t.ok(events.includes('secureConnection'))
})

t.test('a connection that one server passes on to another is counted once', async (t) => {
  const web = https.createServer(options, (_request, response) => response.end('here'))
  const router = tls.createServer(options, (socket) => void web.emit('secureConnection', socket))
  const { counted } = await connectTo(t, router)
  t.equal(counted, 2)
})
