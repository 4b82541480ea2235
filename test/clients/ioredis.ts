import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { AbstractConnector, Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { connect, type RenegotiationTLSSocket } from '../../src/index.ts'
import { ca } from '../fixtures/pki.ts'
import { redis, skip } from '../fixtures/servers.ts'
import { closed, rejection } from '../fixtures/settled.ts'
import { Renegotiations } from '../fixtures/web.ts'

if (skip.redis) t.plan(0, skip.redis)
else {
  const { port: refusing } = await redis(t)
  const { port: allowing } = await redis(t, { allowRenegotiation: true })

  /** Returns a client with its own `Connector`, and the sockets of its connections, in order. */
  function client(t: Test, port: number, maxVersion: 'TLSv1.2' | 'TLSv1.3' = 'TLSv1.2') {
    const sockets: RenegotiationTLSSocket[] = []
    class Connector extends AbstractConnector {
      constructor() {
        super(0)
      }

      async connect(): Promise<RenegotiationTLSSocket> {
        const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca, maxVersion })
        sockets.push(socket)
        this.stream = socket
        return socket
      }
    }
    // The option `tls` only makes it wait for `secureConnect`. It reconnects without a delay.
    const redis = new Redis({ Connector, tls: {}, retryStrategy: () => 0 })
    t.teardown(() => redis.disconnect())
    return { redis, sockets }
  }

  const values = Array.from({ length: 20 }, () => randomBytes(300_000))
  const all = Buffer.concat(values)

  t.test('ioredis sets, gets and publishes 6 MB while both connections renegotiate', async (t) => {
    const { redis, sockets } = client(t, allowing)
    const { redis: subscriber, sockets: others } = client(t, allowing)
    await subscriber.subscribe('news')
    await redis.ping()
    const [socket] = sockets as [RenegotiationTLSSocket]
    const [other] = others as [RenegotiationTLSSocket]
    const renegotiations = new Renegotiations()
    const messages: Buffer[] = []
    const published = new Promise<void>((resolve) => {
      subscriber.on('messageBuffer', (_channel, message) => {
        if (messages.push(message) % 5 === 0) renegotiations.of(other)
        if (messages.length === values.length) resolve()
      })
    })
    const pipeline = redis.pipeline()
    for (const [i, value] of values.entries()) pipeline.set(`in a pipeline ${i}`, value).publish('news', value)
    const piped = pipeline.exec()
    renegotiations.of(socket)
    const back: Promise<Buffer | null>[] = []
    for (const [i, value] of values.entries()) {
      await redis.set(`single ${i}`, value)
      back.push(redis.getBuffer(`in a pipeline ${i}`), redis.getBuffer(`single ${i}`))
      if (i % 5 === 0) renegotiations.of(socket)
    }
    t.ok((await piped)?.every(([error]) => error === null))
    const got = (await Promise.all(back)) as Buffer[]
    t.ok(Buffer.concat(got.filter((_, i) => i % 2 === 0)).equals(all), 'all values that were set in a pipeline')
    t.ok(Buffer.concat(got.filter((_, i) => i % 2 === 1)).equals(all), 'all values that were set one by one')
    await published
    t.ok(Buffer.concat(messages).equals(all), 'all values that were published')
    await renegotiations.verified(t, 1 + 4 + 4)
    t.equal(sockets.length + others.length, 2, 'no client had to reconnect')
  })

  t.test('if Redis refuses (as on Debian), ioredis emits the error, reconnects and loses no command', async (t) => {
    const { redis, sockets } = client(t, refusing)
    await redis.ping()
    const [socket] = sockets as [RenegotiationTLSSocket]
    const error = once(redis, 'error')
    const sets = values.map((value, i) => redis.set(`refused ${i}`, value))
    const refused = { code: 'ERR_RENEGOTIATION_REFUSED', cause: { code: 'ERR_SSL_NO_RENEGOTIATION' } }
    t.match(await rejection(socket.renegotiate()), refused)
    t.match((await error)[0], refused, 'the client emits the same error')
    await closed(socket)
    await Promise.all(sets)
    const back = await redis.mgetBuffer(values.map((_, i) => `refused ${i}`))
    t.ok(Buffer.concat(back as Buffer[]).equals(all), 'all commands were carried out on the second connection')
    t.equal(sockets.length, 2)
  })

  t.test('with TLS 1.3, renegotiate() fails at once, and all commands of ioredis succeed', async (t) => {
    const { redis, sockets } = client(t, allowing, 'TLSv1.3')
    const sets = values.map((value, i) => redis.set(`unsupported ${i}`, value))
    t.match(await rejection(sockets[0]!.renegotiate()), { code: 'ERR_RENEGOTIATION_UNSUPPORTED' })
    await Promise.all(sets)
    const back = await redis.mgetBuffer(values.map((_, i) => `unsupported ${i}`))
    t.ok(Buffer.concat(back as Buffer[]).equals(all))
    t.equal(sockets.length, 1)
  })

  t.test('quit() of ioredis closes the stream, and renegotiate() is rejected after it', async (t) => {
    const { redis, sockets } = client(t, allowing)
    await redis.ping()
    const [socket] = sockets as [RenegotiationTLSSocket]
    t.match(await socket.renegotiate(), { verified: true })
    t.equal(await redis.quit(), 'OK')
    await closed(socket)
    t.match(await rejection(socket.renegotiate()), { code: 'ERR_RENEGOTIATION_CLOSED' })
    t.equal(sockets.length, 1)
  })
}
