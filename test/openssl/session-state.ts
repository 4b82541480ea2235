import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import tls from 'node:tls'
import t from 'tap'
import type { ContextOptions } from '../../src/openssl/context.ts'
import { bindSession, decodeSession, resumableSession, sessionName } from '../../src/openssl/session-state.ts'
import { openssl, ownClient, ownServer } from '../fixtures/openssl-ends.ts'
import { ca, server } from '../fixtures/pki.ts'

const der = Buffer.from([0x30, 1, 0])
const localhost = { servername: 'localhost' }
const skip = process.version.startsWith('v20.') && 'Node 20 does not bind sessions'

t.test('a session is bound to the server name, else to the host', async (t) => {
  t.equal(sessionName({ servername: 'a', host: 'b' }), 'a')
  t.equal(sessionName({ servername: '', host: 'b' }), 'b')
  t.equal(sessionName({}), 'localhost')
})

t.test('a bound session is for its own server only', async (t) => {
  const session = bindSession(der, localhost)
  t.strictSame(resumableSession(session, localhost), der)
  t.strictSame(resumableSession(session, { host: 'localhost' }), der)
  t.strictSame(resumableSession(session.toString('latin1'), localhost), der)
  t.equal(resumableSession(session, { servername: 'other' }), undefined)
  t.equal(resumableSession(session, { servername: 'other', rejectUnauthorized: false }), undefined)
  t.equal(resumableSession(undefined, localhost), undefined)
})

t.test('a session that is not bound is only for a client that accepts every certificate', async (t) => {
  for (const state of [der, bindSession(der, localhost).subarray(0, 22)]) {
    t.equal(resumableSession(state, localhost), undefined)
    t.equal(resumableSession(state, { ...localhost, rejectUnauthorized: true }), undefined)
    t.strictSame(resumableSession(state, { ...localhost, rejectUnauthorized: false }), state)
  }
})

t.test('a session that is cut off is for nobody', async (t) => {
  t.equal(resumableSession(bindSession(der, localhost).subarray(0, 26), localhost), undefined)
})

t.test('a session that cannot be decoded is null, and no error is left in the queue', async (t) => {
  for (const bytes of [der, Buffer.alloc(0), Buffer.from('x')]) t.equal(decodeSession(openssl, bytes), null)
  t.equal(openssl.ERR_peek_error(), 0)
})

t.test('sessions can be exchanged with Node', { skip }, async (t) => {
  const own = { ...server, ticketKeys: Buffer.alloc(48, 1), sessionIdContext: 'x', maxVersion: 'TLSv1.2' as const }
  const first = await ownServer(t, { server: own, client: { ca }, ...localhost })
  const session = resumableSession(first.client.getSession(), localhost)
  t.ok(session?.length, 'a session of Node is bound in the same way')

  const nodeServer = tls.createServer(own).listen(0, '127.0.0.1')
  await once(nodeServer, 'listening')
  t.teardown(() => nodeServer.close())
  const options = { server: own, client: { ca } as ContextOptions }
  const { client: end } = await ownClient(t, { ...options, ...localhost })
  const bound = bindSession(end.getSession() as Buffer, localhost)
  const { port } = nodeServer.address() as AddressInfo
  const socket = tls.connect({ port, host: '127.0.0.1', ca, ...localhost, session: bound })
  await once(socket, 'secureConnect')
  t.equal(socket.isSessionReused(), true, 'Node resumes our session')
  socket.destroy()
})
