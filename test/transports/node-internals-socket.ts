import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { receiveIntoSharedMemory, socketUnder } from '../../src/transports/node-internals-socket.ts'
import { Random, SEED } from '../fixtures/random.ts'
import { Tally } from '../fixtures/tally.ts'

t.before(() => t.comment(`SEED=${SEED}`))

/** A client that is about to connect, and its socket at the server. */
async function sockets(t: Test): Promise<{ client: Socket; server: Socket; listener: net.Server }> {
  const listener = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  await once(listener, 'listening')
  t.teardown(() => listener.close())
  const { port } = listener.address() as AddressInfo
  const client = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  t.teardown(() => client.destroy())
  const [server] = (await once(listener, 'connection')) as [Socket]
  t.teardown(() => server.destroy())
  return { client, server, listener }
}

function sendTo(socket: Socket, random: Random, bytes = 2_000_000): Tally {
  const sent = new Tally()
  while (sent.bytes < bytes) {
    const chunk = random.chunk(100_000)
    sent.add(chunk)
    socket.write(chunk)
  }
  socket.end()
  return sent
}

/** Reads to the end, and pauses now and then. */
async function readAll(socket: Socket, random: Random): Promise<Tally> {
  const received = new Tally()
  let isPaused = false
  const isUsed = receiveIntoSharedMemory(socket, (bytes) => {
    if (isPaused) throw new Error('a paused socket has received')
    received.add(bytes)
    if (random.below(4) > 0) return
    isPaused = true
    socket.pause()
    setImmediate(() => {
      isPaused = false
      socket.resume()
    })
  })
  if (!isUsed) throw new Error('this Node.js lacks what the function needs')
  await once(socket, 'end')
  return received
}

t.test('two sockets of each role receive in the same memory without a mistake, with pauses', async (t) => {
  const random = new Random(SEED)
  const first = await sockets(t)
  const second = await sockets(t)
  const pairs = [
    [first.client, first.server],
    [first.server, first.client],
    [second.client, second.server],
    [second.server, second.client],
  ] as const
  const sums = await Promise.all(
    pairs.map(async ([from, to]) => {
      const received = readAll(to, random)
      const sent = sendTo(from, random)
      return { sent, received: await received, to }
    }),
  )
  for (const { sent, received, to } of sums) {
    t.equal(received.bytes, sent.bytes)
    t.same(received.sum(), sent.sum())
    t.equal(to.bytesRead, sent.bytes)
  }
})

t.test('a socket that is not connected yet receives so as well', async (t) => {
  const listener = net.createServer((socket) => socket.end('hello')).listen(0, '127.0.0.1')
  await once(listener, 'listening')
  t.teardown(() => listener.close())
  for (const autoSelectFamily of [true, false]) {
    const socket = new net.Socket()
    let text = ''
    t.ok(
      receiveIntoSharedMemory(socket, (bytes) => {
        text += bytes.toString()
      }),
    )
    socket.on('data', () => t.fail('data was emitted'))
    socket.connect({ port: (listener.address() as AddressInfo).port, host: 'localhost', family: 4, autoSelectFamily })
    await once(socket, 'end')
    t.equal(text, 'hello')
    socket.destroy()
  }
})

t.test('a socket that has passed on data by events before goes on in this way', async (t) => {
  const { client, server } = await sockets(t)
  client.write('first')
  const [first] = (await once(server, 'data')) as [Buffer]
  t.equal(first.toString(), 'first')
  const received = readAll(server, new Random(SEED))
  const sent = sendTo(client, new Random(SEED), 100_000)
  t.same((await received).sum(), sent.sum())
})

t.test('where it cannot be used, the function says so and changes nothing', async (t) => {
  const receive = () => t.fail('received')
  class OtherSocket extends net.Socket {}
  t.notOk(receiveIntoSharedMemory(new OtherSocket(), receive), 'another class may override push()')

  const own = new net.Socket({
    onread: { buffer: Buffer.alloc(10), callback: () => true },
  } as net.SocketConstructorOpts)
  t.notOk(receiveIntoSharedMemory(own, receive), 'it has memory of its own')

  const bare = Object.create(net.Socket.prototype)
  t.notOk(receiveIntoSharedMemory(bare, receive), 'a Node.js without these symbols')

  const withoutMethod = Object.assign(new net.Socket(), { _handle: {} })
  t.notOk(receiveIntoSharedMemory(withoutMethod, receive), 'a handle without useUserBuffer()')

  const unread = new net.Socket()
  unread.unshift(Buffer.from('x'))
  t.notOk(receiveIntoSharedMemory(unread, receive), 'what was received before has to come first')

  const platform = Object.getOwnPropertyDescriptor(process, 'platform') as PropertyDescriptor
  Object.defineProperty(process, 'platform', { ...platform, value: 'win32' })
  t.teardown(() => Object.defineProperty(process, 'platform', platform))
  t.notOk(receiveIntoSharedMemory(new net.Socket(), receive), 'Windows')
})

t.test('the socket under a TLS socket of a server knows the address of the peer when both are closed', async (t) => {
  const { server: socket } = await sockets(t)
  const address = socket.remoteAddress
  const above = new tls.TLSSocket(socket, { isServer: true }).on('error', () => {})
  above.destroy()
  await once(above, 'close')
  t.equal(socketUnder(above), socket)
  t.match([above.remoteAddress, socketUnder(above).remoteAddress], [undefined, address])
  t.equal(socketUnder(socket), socket, 'without one below, it is the socket itself')
})
