import { X509Certificate } from 'node:crypto'
import t from 'tap'
import { Connection } from '../../src/openssl/connection.ts'
import { OpenSSLEngine } from '../../src/openssl/engine.ts'
import { sslCallbacks } from '../../src/openssl/ssl-callbacks.ts'
import {
  clientEngine,
  clientIdentity,
  connected,
  EngineEnd,
  MemoryLink,
  makeContext,
  openssl,
  serverEngine,
} from '../fixtures/engine-end.ts'
import { server as serverIdentity } from '../fixtures/pki.ts'
import { Random, SEED } from '../fixtures/random.ts'

t.before(() => t.comment(`SEED=${SEED}`))

const der = (pem: string) => new X509Certificate(pem).raw

for (const [role, make] of [
  ['client', clientEngine],
  ['server', serverEngine],
] as const) {
  t.test(`a ${role} that was destroyed throws, and touches no memory`, async (t) => {
    const engine = make()
    engine.destroy()
    engine.destroy()
    const code = 'ERR_STREAM_DESTROYED'
    t.throws(() => engine.read(Buffer.alloc(10)), { code })
    t.throws(() => engine.write(Buffer.alloc(10)), { code })
    t.throws(() => engine.renegotiate(), { code })
    t.throws(() => engine.end(), { code })
    t.throws(() => engine.ssl, { code })
    engine.receive(Buffer.from('ignored'))
    engine.endInput()
    engine.proceed()
    t.equal(engine.take(Buffer.alloc(10)), 0)
    t.match([engine.handshaking, engine.inputBytes, engine.session(), engine.outputState], [false, 0, {}, 'failed'])
  })

  t.test(`the connection of a ${role} is lost in its first handshake`, async (t) => {
    const end = new EngineEnd(make())
    end.engine.endInput()
    t.match(end.error, {
      code: 'ECONNRESET',
      message: role === 'server' ? 'socket hang up' : /^Client network socket disconnected/,
    })
    end.engine.destroy()
  })

  t.test(`a ${role} gets what is not TLS`, async (t) => {
    for (const size of [1, 3, 100]) {
      const end = new EngineEnd(make())
      const request = Buffer.from('GET / HTTP/1.1\r\n\r\n')
      for (let at = 0; at < request.length && end.error === undefined; at += size) {
        end.engine.receive(request.subarray(at, at + size))
      }
      t.equal(end.error?.code, 'ERR_SSL_HTTP_REQUEST')
      t.throws(() => end.engine.write(request), { code: /^ERR_SSL_/ }, 'and fails again')
      end.engine.destroy()
    }
  })

  t.test(`a ${role} survives garbage`, async (t) => {
    const random = new Random(SEED)
    for (let round = 0; round < 300; round++) {
      const end = new EngineEnd(make())
      for (let i = 0; i < 5; i++) {
        const garbage = random.bytes(random.size(3000))
        // Mostly records.
        if (random.below(4) > 0 && garbage.length > 5) {
          garbage.set([20 + random.below(4), 3, random.below(5)])
          garbage.writeUInt16BE(random.below(garbage.length), 3)
        }
        end.engine.receive(garbage)
        end.pump()
      }
      end.engine.endInput()
      end.pump()
      t.ok(end.error)
      end.engine.destroy()
    }
  })
}

t.test('a server refuses the hello of SSL 2', async (t) => {
  const end = new EngineEnd(serverEngine())
  end.engine.receive(Buffer.from([0x80, 0x2e, 1, 3, 3]))
  t.match(end.error, { message: 'What was received is not TLS' })
  end.engine.destroy()
})

t.test('garbage after the handshake ends the connection with an alert', async (t) => {
  const link = connected(t)
  link.server.engine.receive(Buffer.concat([Buffer.from([23, 3, 3, 0, 30]), Buffer.alloc(30)]))
  t.equal(link.server.error?.code, 'ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC')
  link.server.engine.destroy()
  t.equal(link.server.engine.outputState, 'failed')
  link.run()
  t.match(link.client.error?.code, /ALERT_BAD_RECORD_MAC/)
})

t.test('an engine that has ended in order sends the rest after destroy()', async (t) => {
  const link = connected(t)
  const { client, server } = link
  client.send(Buffer.alloc(50_000))
  client.engine.end()
  client.engine.destroy()
  t.equal(client.engine.outputState, 'destroyed')
  for (
    let taken = -1, into = Buffer.alloc(999);
    taken !== 0;
    server.engine.receive(Buffer.from(into.subarray(0, taken)))
  )
    taken = client.engine.take(into)
  t.match([server.received.bytes, server.ended], [50_000, true])
})

t.test('a connection that has failed below TLS fails at once', async (t) => {
  const { client } = connected(t)
  client.engine.break(new Error('the first'))
  client.engine.break(new Error('the second'))
  t.equal(client.error?.message, 'the first')
  t.throws(() => client.engine.end(), /the first/)
})

t.test('a server requests a certificate in a renegotiation of TLS 1.2', async (t) => {
  const version = 'TLSv1.2'
  const link = connected(t, { version, identity: clientIdentity }, { version })
  const { client, server } = link
  const before = server.engine.session()
  t.match(before, { authorized: false, identity: undefined })
  server.engine.renegotiate({ requestCert: true })
  t.equal(server.engine.handshaking, true)
  server.pump()
  link.run()
  t.match(server.engine.session(), { authorized: true, resumed: false, identity: der(clientIdentity.cert) })
  t.notSame(server.engine.session().keys, before.keys)
  t.same(server.engine.session().keys, client.engine.session().keys)
  server.engine.renegotiate()
  server.pump()
  link.run()
  t.match([server.engine.handshaking, server.error, client.error], [false, undefined, undefined])
})

t.test('records without data do not keep the event loop from its other work', async (t) => {
  const link = connected(t, { version: 'TLSv1.3' })
  const { client, server } = link
  const output = Buffer.alloc(100_000)
  let length = 0
  for (let i = 0; i < 100; i++) {
    client.engine.renegotiate()
    length += client.engine.take(output.subarray(length))
  }
  server.engine.receive(output.subarray(0, length))
  t.ok(server.engine.inputBytes > 0)
  t.equal(server.engine.keyUpdates?.byPeer, 1, 'one is reported before the next is read')
  await server.until(() => server.engine.keyUpdates?.byPeer === 100)
})

t.test('an engine that cannot be made leaves nothing behind', async (t) => {
  t.throws(() => clientEngine({ servername: 'x'.repeat(300) }), { code: /^ERR_SSL_/ })
  t.throws(() => clientEngine({ context: 0n }), { code: /^ERR_SSL_/ })
})

t.test('each SSL is freed exactly once, whatever happens', async (t) => {
  const live = new Set<bigint | null>()
  let made = 0
  const counting = {
    ...openssl,
    SSL_new(context: bigint | null) {
      const ssl = openssl.SSL_new(context)
      live.add(ssl)
      made++
      return ssl
    },
    SSL_free(ssl: bigint | null) {
      if (!live.delete(ssl)) t.fail('freed twice')
      return openssl.SSL_free(ssl)
    },
  }
  const random = new Random(SEED)
  const contexts = {
    client: makeContext({ identity: clientIdentity }),
    server: makeContext({ identity: serverIdentity }),
  }
  for (let round = 0; round < 100; round++) {
    const link = new MemoryLink(
      new OpenSSLEngine(counting, { context: contexts.client, isServer: false }),
      new OpenSSLEngine(counting, { context: contexts.server, isServer: true }),
      random,
    )
    let steps = random.size(100)
    link.run(() => {
      const end = random.below(2) === 0 ? link.client : link.server
      if (--steps === 0) end.engine.destroy()
      else if (steps > 0 && random.below(3) === 0) end.send(random.chunk(1000))
    })
    link.client.engine.destroy()
    link.server.engine.destroy()
  }
  t.equal(made, 200)
  t.equal(live.size, 0)
  t.equal(sslCallbacks(counting).listeners.size, 0)
  t.equal(sslCallbacks(openssl).listeners.size, 0)
})

t.test('a connection is freed once', async (t) => {
  const connection = new Connection(openssl, makeContext())
  connection.free()
  connection.free()
  t.equal(connection.freed, true)
  t.throws(() => connection.ssl, { code: 'ERR_STREAM_DESTROYED' })
})
