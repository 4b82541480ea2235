import t from 'tap'
import { everyLibSSL } from '../fixtures/libssl.ts'
import { connectedByHand } from '../fixtures/openssl-engine.ts'

/*
 * Why this package exists: without it, real OpenSSL loses the connection
 * during a renegotiation. Done step by step, so that it happens every time.
 */

/** More than fits into the buffer between SSL and the wire: SSL_write stops in the middle of the record. */
const large = Buffer.alloc(16384, 'large')
const early = Buffer.from('sent before the ClientHello came')
const into = Buffer.alloc(16384)

for (const { name, libssl, skip } of everyLibSSL) {
  t.test(`plain OpenSSL loses the connection during a renegotiation: ${name}`, { skip }, async (t) => {
    if (libssl === undefined) return
    t.comment(libssl.OpenSSL_version(0))

    t.test('unexpected record: application data during a handshake is fatal if SSL_write drives it', async (t) => {
      const { client, server, toClient } = connectedByHand({ libssl })
      server.write(early)
      toClient.take()

      client.renegotiate()
      const data = Buffer.from('the client has something to say, too')
      t.equal(client.write(data), 'want-read', 'a ClientHello is sent instead of the data')
      toClient.give()
      t.equal(client.nextRecord, 'data')
      t.throws(() => client.write(data), { message: /unexpected record/, code: 'ERR_SSL_UNEXPECTED_RECORD' })
      t.throws(() => client.read(into), /unexpected record/, 'the connection is lost')
    })

    t.test('application data during a handshake is accepted if SSL_read drives it', async (t) => {
      const { client, server, toClient, handshake } = connectedByHand({ libssl })
      server.write(early)
      toClient.take()

      client.renegotiate()
      t.equal(client.read(into), 'want-read')
      t.same(handshake(), { client: early.toString(), server: '' })
      t.equal(client.handshaking, false)
    })

    t.test('bad length: a handshake during a half-written record is fatal', async (t) => {
      const { client, server, toServer } = connectedByHand({ libssl })
      t.equal(server.write(large), 'want-write')

      client.renegotiate()
      client.read(into)
      toServer.carry()
      t.equal(server.nextRecord, 'handshake')
      // OpenSSL before 3.0 reports the second message.
      t.throws(() => server.read(into), /bad length|bad write retry/)
      t.throws(() => server.read(into), /bad length|bad write retry/, 'the connection is lost')
    })

    t.test('a handshake succeeds if the half-written record is finished before the handshake is read', async (t) => {
      const { client, server, toClient, toServer, handshake } = connectedByHand({ libssl })
      t.equal(server.write(large), 'want-write')

      client.renegotiate()
      client.read(into)
      toServer.carry()
      let read: unknown = 'want-read'
      for (let written: unknown = 'want-write'; written === 'want-write' && read === 'want-read'; ) {
        toClient.carry()
        read = client.read(into)
        written = server.write(large)
        if (typeof written === 'number') t.equal(written, large.length)
      }
      t.equal(server.nextRecord, 'handshake')
      t.equal(handshake().client, large.toString())
      t.equal(client.handshaking, false)
    })

    t.test('a HelloRequest read during a half-written record makes the next SSL_write drive a handshake', async (t) => {
      const { client, server, toClient, toServer } = connectedByHand({ libssl })
      t.equal(client.write(large), 'want-write')

      server.renegotiate()
      server.read(into)
      toClient.carry()
      t.equal(client.nextRecord, 'handshake')
      t.equal(client.read(into), 'want-read', 'the HelloRequest is read, but not answered')
      while (client.write(large) === 'want-write') {
        toServer.carry()
        server.read(into)
      }
      t.equal(client.write(large), 'want-read', 'SSL_write answers the HelloRequest')

      server.write(early)
      toClient.carry()
      t.throws(() => client.write(large), /unexpected record/)
    })

    t.test('bad write retry: offering the rest of a record from another buffer is fatal', async (t) => {
      const { client, toServer } = connectedByHand({ libssl })
      t.equal(client.write(large), 'want-write')
      toServer.take()
      t.equal(client.write(large), 'want-write', 'the same buffer can be offered again')
      t.throws(() => client.write(Buffer.from(large)), { message: /bad write retry/, code: 'ERR_SSL_BAD_WRITE_RETRY' })
      t.throws(() => client.write(large), /bad write retry/, 'the connection is lost')
    })
  })
}
