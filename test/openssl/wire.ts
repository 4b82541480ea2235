import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import tls, { type TLSSocket } from 'node:tls'
import sinon from 'sinon'
import t, { type Test } from 'tap'
import type { OpenSSLEngine } from '../../src/openssl/engine.ts'
import { Wire } from '../../src/openssl/wire.ts'
import { hiddenKey } from '../../src/transports/node-internals.ts'
import { SHARED_BYTES } from '../../src/transports/node-internals-socket.ts'
import { clientEngine, EngineEnd, MemoryLink, serverEngine, type Version, versions } from '../fixtures/engine-end.ts'
import { ca, server as identity } from '../fixtures/pki.ts'
import { Random, SEED } from '../fixtures/random.ts'
import { Tally } from '../fixtures/tally.ts'

t.before(() => t.comment(`SEED=${SEED}`))

/** Two connected sockets. */
async function sockets(t: Test, highWaterMark?: number): Promise<{ near: Socket; far: Socket }> {
  const server = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const near = net.connect(Object.assign({ host: '127.0.0.1', port }, highWaterMark !== undefined && { highWaterMark }))
  const [[far]] = (await Promise.all([once(server, 'connection'), once(near, 'connect')])) as [[Socket], unknown]
  server.close()
  t.teardown(() => {
    near.destroy()
    far.destroy()
  })
  return { near, far }
}

/** An engine on a wire. */
function wired(t: Test, engine: OpenSSLEngine, socket: Socket): EngineEnd {
  const end = new EngineEnd(engine)
  new Wire(engine, socket)
  t.teardown(() => engine.destroy())
  end.pump()
  return end
}

function nodeClient(socket: Socket): TLSSocket {
  return tls.connect({ socket, ca, servername: 'localhost' })
}

function nodeServer(socket: Socket): TLSSocket {
  return new tls.TLSSocket(socket, { isServer: true, ...identity })
}

/** A client by an engine that has received data of a server of Node. */
async function receiving(t: Test, version: Version) {
  const { near, far } = await sockets(t)
  const end = wired(t, clientEngine({ version }), near)
  const node = nodeServer(far)
  node.on('error', () => {})
  node.write('data')
  await end.until(() => end.text === 'data')
  return { near, far, end }
}

const BYTES = 3_000_000

for (const version of versions) {
  for (const role of ['client', 'server'] as const) {
    t.test(`a ${role} by the engine exchanges data with Node, ${version}`, async (t) => {
      const { near, far } = await sockets(t)
      const engine = role === 'client' ? clientEngine({ version }) : serverEngine({ version })
      const end = wired(t, engine, near)
      const node = role === 'client' ? nodeServer(far) : nodeClient(far)
      const received = new Tally()
      const sent = new Tally()
      node.on('data', (chunk) => received.add(chunk))
      const random = new Random(SEED)
      while (sent.bytes < BYTES) {
        const chunk = random.chunk(100_000)
        sent.add(chunk)
        node.write(chunk)
        end.send(random.chunk(100_000))
        if (version === 'TLSv1.3' && random.below(20) === 0 && !engine.handshaking) engine.renegotiate()
        await new Promise((resolve) => setImmediate(resolve))
      }
      node.end()
      await end.until(() => end.ended && end.unsent === 0)
      t.equal(engine.end(), true)
      await once(node, 'end')
      t.same(end.received.sum(), sent.sum(), 'the engine has received all')
      t.same(received.sum(), end.sent.sum(), 'Node has received all')
      engine.destroy()
      await once(node, 'close')
    })
  }
}

for (const version of versions) {
  t.test(`an engine that is not read stops its peer, ${version}`, async (t) => {
    const { near, far } = await sockets(t)
    const end = wired(t, clientEngine({ version }), near)
    const node = nodeServer(far)
    await once(node, 'secure')
    await end.until(() => !end.engine.handshaking)
    end.reads = false
    const sent = new Tally()
    const chunk = Buffer.alloc(65_536, 'x')
    do sent.add(chunk)
    while (node.write(chunk) || sent.bytes < 20_000_000)
    while (!near.isPaused()) await new Promise((resolve) => setImmediate(resolve))
    t.ok(end.engine.inputBytes > 0)
    t.ok(end.engine.inputBytes < near.readableHighWaterMark + SHARED_BYTES, `${end.engine.inputBytes} bytes wait`)
    end.reads = true
    end.pump()
    await end.until(() => end.received.bytes === sent.bytes)
    t.same(end.received.sum(), sent.sum())
  })

  t.test(`a socket with a high water mark of 0 receives everything, ${version}`, async (t) => {
    const { near, far } = await sockets(t, 0)
    t.equal(near.readableHighWaterMark, 0)
    const end = wired(t, clientEngine({ version }), near)
    const data = Buffer.alloc(BYTES, 'abc')
    nodeServer(far).write(data)
    await end.until(() => end.received.bytes === BYTES)
    const sent = new Tally()
    sent.add(data)
    t.same(end.received.sum(), sent.sum())
  })

  t.test(`the event loop has its turn while both sides send, ${version}`, async (t) => {
    const { near, far } = await sockets(t)
    const end = wired(t, serverEngine({ version }), near)
    const node = nodeClient(far)
    await once(node, 'secureConnect')
    // Each receipt seems to take a millisecond.
    let now = 0
    const clock = sinon.stub(performance, 'now').callsFake(() => now++)
    t.teardown(() => clock.restore())
    const received = new Tally()
    node.on('data', (data) => received.add(data))
    const sent = Buffer.alloc(10_000_000)
    node.write(sent)
    for (let i = 0; i < 150; i++) end.send(Buffer.alloc(65_536))
    let most = 0
    for (let before = 0; before < sent.length; ) {
      await new Promise((resolve) => setImmediate(resolve))
      most = Math.max(most, end.received.bytes - before)
      before = end.received.bytes
    }
    t.ok(most > SHARED_BYTES / 2 && most <= 2 * SHARED_BYTES + 16_384, `${most} bytes in one turn`)
    await end.until(() => received.bytes === end.sent.bytes)
    t.same(received.sum(), end.sent.sum())
  })

  t.test(`a peer that does not read stops the engine, ${version}`, async (t) => {
    const { near, far } = await sockets(t)
    const end = wired(t, serverEngine({ version }), near)
    const node = nodeClient(far)
    await once(node, 'secureConnect')
    const chunk = Buffer.alloc(65_536, 'x')
    for (let i = 0; i < 400; i++) end.send(chunk)
    await end.until(() => near.writableNeedDrain)
    t.ok(end.unsent > 10_000_000, 'most is not encrypted yet')
    const received = new Tally()
    node.on('data', (data) => received.add(data))
    await end.until(() => end.unsent === 0)
    end.engine.end()
    await once(node, 'end')
    t.same(received.sum(), end.sent.sum())
  })

  t.test(`the end of a connection without close_notify is the end of the data, ${version}`, async (t) => {
    const { far, end } = await receiving(t, version)
    far.end()
    await end.until(() => end.ended)
    t.equal(end.error, undefined)
  })

  t.test(`a connection that is reset fails with the error of the socket, ${version}`, async (t) => {
    const { far, end } = await receiving(t, version)
    far.resetAndDestroy()
    await end.until(() => end.error !== undefined, true)
    t.equal(end.error?.code, 'ECONNRESET')
    end.engine.destroy()
  })

  t.test(`nothing can be written when the socket was closed here, ${version}`, async (t) => {
    const { near, end } = await receiving(t, version)
    near.destroy()
    await end.until(() => end.ended)
    end.send('x')
    t.equal(end.error?.code, 'EPIPE')
  })

  t.test(`an engine that is destroyed after its socket was closed waits for nothing, ${version}`, async (t) => {
    const { near, end } = await receiving(t, version)
    near.destroy()
    await end.until(() => end.ended)
    const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    t.teardown(() => clock.restore())
    end.engine.destroy()
    t.equal(clock.countTimers(), 0)
  })

  t.test(`the peer gets the alert of an engine that has failed, ${version}`, async (t) => {
    const { near, far } = await sockets(t)
    const end = wired(t, serverEngine({ version, requestCert: true }), near)
    const node = nodeClient(far)
    const failed = once(node, 'error')
    await end.until(() => end.error !== undefined, true)
    end.engine.destroy()
    const [error] = await failed
    t.match(error.code, /^ERR_SSL_.*ALERT/)
  })

  t.test(`an engine is destroyed at random moments, ${version}`, async (t) => {
    const random = new Random(SEED)
    for (let round = 0; round < 30; round++) {
      const { near, far } = await sockets(t)
      const end = wired(t, clientEngine({ version }), near)
      const node = nodeServer(far)
      node.on('error', () => {})
      node.resume()
      node.write(random.chunk(1_000_000))
      end.send(random.chunk(1_000_000))
      const ends = random.below(2) === 0
      for (let turns = random.below(30); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve))
      if (ends && !end.engine.handshaking && end.error === undefined) end.engine.end()
      // Not once(): the socket may fail, because the peer is destroyed, too.
      const closed = new Promise((resolve) => near.once('close', resolve))
      end.engine.destroy()
      far.resume()
      node.destroy()
      await closed
    }
  })
}

t.test('a wire is any Duplex', async () => {
  const client = new EngineEnd(clientEngine())
  const server = new EngineEnd(serverEngine())
  const [near, far] = duplexPair()
  new Wire(client.engine, near)
  new Wire(server.engine, far)
  client.send('there')
  server.send('and back')
  await server.until(() => server.text === 'there')
  await client.until(() => client.text === 'and back')
  client.engine.end()
  await server.until(() => server.ended)
  server.engine.end()
  await client.until(() => client.ended)
  client.engine.destroy()
  server.engine.destroy()
  await once(far, 'close')
})

/** Two Duplexes, each of which reads what is written to the other. */
function duplexPair(): [Duplex, Duplex] {
  const ends: Duplex[] = []
  const make = (other: number) =>
    new Duplex({
      read() {},
      write(chunk, _encoding, done) {
        ends[other]?.push(chunk)
        setImmediate(done)
      },
      final(done) {
        ends[other]?.push(null)
        done()
      },
    })
  ends.push(make(1), make(0))
  return ends as [Duplex, Duplex]
}

t.test('what an application has not read stays as it is while other connections receive', async (t) => {
  const random = new Random(SEED)
  const make = async () => {
    const { near, far } = await sockets(t)
    const end = wired(t, clientEngine(), near)
    const node = nodeServer(far)
    await end.until(() => !end.engine.handshaking)
    return { end, near, node }
  }
  const send = (node: TLSSocket) => {
    const sent = new Tally()
    while (sent.bytes < BYTES) {
      const chunk = random.chunk(100_000)
      sent.add(chunk)
      node.write(chunk)
    }
    node.end()
    return sent
  }
  const waiting = await make()
  const busy = await make()
  waiting.end.reads = false
  const sent = send(waiting.node)
  while (!waiting.near.isPaused()) await once(waiting.near, 'pause')
  const others = send(busy.node)
  await busy.end.until(() => busy.end.ended)
  t.same(busy.end.received.sum(), others.sum())
  waiting.end.reads = true
  waiting.end.pump()
  await waiting.end.until(() => waiting.end.ended)
  t.same(waiting.end.received.sum(), sent.sum())
})

t.test('nothing is lost if the application throws while it receives', async (t) => {
  const link = new MemoryLink(clientEngine(), serverEngine()).run()
  const client = link.client.engine
  t.teardown(() => client.destroy())
  link.server.send('hello')
  const memory = Buffer.alloc(1000)
  const bytes = link.server.engine.take(memory)
  link.server.engine.destroy()
  const socket = new net.Socket()
  new Wire(client, socket)
  client.onReady = () => {
    throw new Error('thrown by a listener')
  }
  // As Node.js calls it, with memory that is about to change.
  const callback = hiddenKey(socket, 'kBufferCb') as symbol
  const receive = (socket as unknown as Record<symbol, (count: number, memory: Buffer) => boolean>)[callback]
  t.throws(() => receive?.(bytes, memory), /thrown by a listener/)
  client.onReady = null
  memory.fill(0)
  const into = Buffer.alloc(100)
  t.equal(client.read(into), 5)
  t.equal(into.toString('latin1', 0, 5), 'hello')
})
