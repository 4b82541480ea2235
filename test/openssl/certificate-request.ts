import t from 'tap'
import { clientEngine, clientIdentity, MemoryLink, serverEngine } from '../fixtures/engine-end.ts'

t.test('a server that owes an answer to a key update sends it before it requests a certificate', (t) => {
  const client = clientEngine({ version: 'TLSv1.3', identity: clientIdentity, offersAuthentication: true })
  const link = new MemoryLink(client, serverEngine({ version: 'TLSv1.3', maxOutputBytes: 1_000 })).run()
  link.client.engine.renegotiate()
  // So much waits to be sent that the server does not answer at once.
  link.server.send(Buffer.alloc(50_000))
  link.carry('client')
  t.match(link.server.engine.keyUpdates, { byPeer: 1 })
  t.match(link.client.engine.keyUpdates, { sent: 1, answered: 0 })
  // Otherwise OpenSSL sends only the answer, and the request never.
  link.server.engine.renegotiate({ requestCert: true })
  link.run()
  t.match(link.client.engine.keyUpdates, { sent: 1, answered: 1 })
  t.match(link.server.engine.authentications, { sent: 1, answered: 1 })
  t.match(link.client.engine.authentications, { byPeer: 1 })
  for (const { engine } of [link.client, link.server]) engine.destroy()
  t.end()
})
