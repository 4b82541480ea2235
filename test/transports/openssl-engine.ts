import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { collectGarbage } from '../fixtures/collect-garbage.ts'
import { everyLibSSL } from '../fixtures/libssl.ts'
import { NaiveDriver } from '../fixtures/naive-driver.ts'
import {
  broken,
  type Call,
  connectedByHand,
  enginePair,
  TracedEngine,
  type TracedOptions,
} from '../fixtures/openssl-engine.ts'
import { Random, SEED } from '../fixtures/random.ts'
import { Lane, SocketEnd, Wire, type WireOptions } from '../fixtures/wire.ts'

/*
 * Tests of the example's engine alone, without this package: real
 * OpenSSL, driven by a loop that only follows the rules.
 */

const BYTES = 20_000_000

/** Both ends write at full speed and renegotiate. Checks all bytes, handshakes and keys. */
async function exchange(
  t: Test,
  engines: Record<'client' | 'server', TracedEngine>,
  { bytes = BYTES, client = 0, server = 0 },
) {
  const ends = {
    client: new NaiveDriver(engines.client, new Random(SEED)),
    server: new NaiveDriver(engines.server, new Random(SEED + 1)),
  }
  // In a resumed handshake, the client has the new keys first; in a full one, the server. So each end checks its own.
  for (const name of ['client', 'server'] as const) {
    const seen = new Set<string>()
    ends[name].onHandshake = () => {
      const keys = Buffer.from(engines[name].keys()).toString('hex')
      if (seen.has(keys)) t.fail(`the ${name} got the same keys again`)
      seen.add(keys)
    }
  }
  await Promise.all([ends.client.run(bytes, client), ends.server.run(bytes, server)])

  t.same(ends.client.received.sum(), ends.server.sent.sum(), 'all bytes of the server, in order')
  t.same(ends.server.received.sum(), ends.client.sent.sum(), 'all bytes of the client, in order')
  t.same(
    [ends.client.begun, ends.server.begun],
    [client, server],
    'each end began the requested number of renegotiations',
  )
  t.equal(ends.client.handshakes, ends.server.handshakes, 'both ends count the same handshakes')
  t.same(engines.client.keys(), engines.server.keys(), 'both have the same keys')
  return ends
}

/** Records calls that break a rule, and counts the calls that returned a want. */
function watch() {
  const breaches: string[] = []
  const wants: Record<string, number> = {}
  const trace = (call: Call) => {
    const breach = broken(call)
    if (breach !== undefined) breaches.push(breach)
    const what = `${call.name} ${call.result}`
    if (typeof call.result === 'string') wants[what] = (wants[what] ?? 0) + 1
  }
  return { breaches, wants, trace }
}

t.before(() => t.comment(`SEED=${SEED}`))

for (const { name, libssl, skip } of everyLibSSL) {
  t.test(`the OpenSSL engine loses no byte at full speed on ${name}`, { skip }, async (t) => {
    if (libssl === undefined) return
    t.comment(libssl.OpenSSL_version(0))

    const conditions: (TracedOptions & WireOptions & { title: string; bytes?: number })[] = [
      {
        title: 'both ends lose no byte with small buffers and a slow wire',
        bufferSize: 2048,
        portion: 1500,
        capacity: 4096,
      },
      { title: 'both ends lose no byte with partial writes', bufferSize: 4096, portion: 1500, partialWrites: true },
      {
        title: 'both ends lose no byte with a wire faster than the buffers',
        bufferSize: 20_000,
        portion: 65536,
        capacity: 65536,
      },
      {
        title: 'both ends lose no byte with records that arrive in small pieces',
        bufferSize: 300,
        portion: 50,
        capacity: 100,
        bytes: 500_000,
      },
    ]
    for (const { title, bytes = BYTES, ...options } of conditions) {
      t.test(title, async (t) => {
        const { breaches, wants, trace } = watch()
        const pair = enginePair({ libssl, trace, ...options })
        const { client } = await exchange(t, pair, { bytes, client: 50, server: 50 })
        t.ok(client.handshakes > 50, `${client.handshakes} handshakes`)
        t.same(breaches, [])
        t.comment(`${client.handshakes} handshakes, ${pair.wire.turns} turns of the wire`, wants)
      })
    }
  })
}

t.test('the OpenSSL engine loses no byte over TCP', async (t) => {
  const listening = net.createServer()
  listening.listen(0, '127.0.0.1')
  await once(listening, 'listening')
  const connecting = net.connect((listening.address() as AddressInfo).port, '127.0.0.1')
  const [accepted] = (await once(listening, 'connection')) as [Socket]
  listening.close()

  const { breaches, trace } = watch()
  const engines = { client: new TracedEngine('client', { trace }), server: new TracedEngine('server', { trace }) }
  new Wire(engines.client, new SocketEnd(connecting))
  new Wire(engines.server, new SocketEnd(accepted))
  const ends = await exchange(t, engines, { bytes: 5_000_000, client: 10, server: 10 })
  t.same(breaches, [])

  t.equal(engines.client.end(), true)
  while (!ends.server.ended) await turn()
  t.pass('close_notify arrives')
  engines.server.destroy()
  await once(connecting, 'close')
  t.pass('destroy() closes the connection')
  engines.client.destroy()
})

t.test('the wire stops moving when there is nothing that it can move', async (t) => {
  const { client, server, wire } = enginePair()
  await exchange(t, { client, server }, { bytes: 10_000 })
  for (let i = 0; i < 3; i++) await turn()
  const { turns } = wire
  for (let i = 0; i < 20; i++) await turn()
  t.equal(wire.turns, turns, 'the wire stops when both ends are idle')

  server.onReady = null
  const chunk = Buffer.alloc(1_000_000)
  client.onReady = () => client.write(chunk)
  client.write(chunk)
  for (let i = 0; i < 200; i++) await turn()
  const full = wire.turns
  t.ok(full > turns)
  for (let i = 0; i < 20; i++) await turn()
  t.equal(wire.turns, full, 'the wire stops when one end is full and the other does not read')
})

for (const { name, libssl, skip } of everyLibSSL) {
  t.test(`the OpenSSL engine keeps its contract in each single step on ${name}`, { skip }, async (t) => {
    if (libssl === undefined) return
    const into = Buffer.alloc(16384)

    t.test('renegotiate() on a client sends a ClientHello, and reading completes the handshake', async (t) => {
      const { client, server, handshake } = connectedByHand({ libssl })
      const keys = client.keys()
      client.renegotiate()
      t.same([client.handshaking, server.handshaking], [true, false])
      handshake()
      t.same(client.keys(), server.keys())
      t.notSame(client.keys(), keys)
      t.equal(client.session().resumed, false)

      client.renegotiate({ abbreviated: true })
      handshake()
      t.notSame(client.keys(), keys)
      t.equal(client.session().resumed, true)
      t.equal(server.session().resumed, true)
    })

    t.test('during a handshake, session() describes the last completed one', async (t) => {
      const { client, server, toServer, handshake } = connectedByHand({ libssl })
      const before = server.session()
      const { identity } = client.session()
      t.ok(identity, 'the certificate of the server')
      client.renegotiate({ abbreviated: true })
      client.read(into)
      toServer.carry()
      server.read(into)
      t.equal(server.handshaking, true)
      t.same(server.session(), before)
      handshake()
      t.match(server.session(), { resumed: true, identity: undefined })
      t.notSame(server.keys(), before.keys)
      t.same(client.session().identity, identity)
    })

    t.test('renegotiate() on a server makes its next read() send HelloRequest', async (t) => {
      const { client, server, toClient, handshake } = connectedByHand({ libssl })
      server.renegotiate()
      t.equal(server.handshaking, true)
      t.equal(toClient.take(), false, 'renegotiate() itself sends nothing')
      t.equal(server.read(into), 'want-read')
      t.equal(server.handshaking, true, 'handshaking stays true, though SSL_in_init is 0 by now')
      toClient.carry()
      t.equal(client.nextRecord, 'handshake')
      t.equal(client.handshaking, false)
      t.equal(client.read(into), 'want-read')
      t.equal(client.handshaking, true)
      handshake()
      t.same(client.keys(), server.keys())
    })

    t.test('if both ends call renegotiate(), there is one handshake', async (t) => {
      const { client, server, handshake } = connectedByHand({ libssl })
      const keys = client.keys()
      client.renegotiate()
      server.renegotiate()
      handshake()
      t.notSame(client.keys(), keys)
      t.same(client.keys(), server.keys())
      t.same(handshake(), { client: '', server: '' })
      t.same([client.read(into), server.read(into)], ['want-read', 'want-read'])
      t.same([client.handshaking, server.handshaking], [false, false], 'there is no second handshake')
    })

    t.test('nextRecord tells the type of the next record, even if only one byte of it has arrived', async (t) => {
      const { client, server, toServer } = connectedByHand({ libssl })
      t.equal(server.nextRecord, undefined)
      client.write(Buffer.from('abcdef'))
      const byteByByte = new Lane(client, server, { portion: 1 })
      byteByByte.carry()
      t.equal(server.nextRecord, 'data')
      t.equal(server.read(into), 'want-read')
      t.equal(server.nextRecord, 'data', 'still the type of the record that has begun')
      for (let i = 1; i < 6 + 29; i++) byteByByte.carry()

      client.end()
      toServer.carry()
      t.equal(server.read(into.subarray(0, 4)), 4)
      t.equal(server.nextRecord, 'data', 'the rest of the first record')
      t.equal(server.read(into), 2)
      toServer.carry()
      t.equal(server.nextRecord, 'alert')
      t.equal(server.read(into), 0)
      t.equal(server.nextRecord, undefined)
    })

    t.test('after close_notify, the other direction stays open', async (t) => {
      const { client, server, toClient, toServer } = connectedByHand({ libssl })
      t.equal(client.end(), true)
      toServer.carry()
      t.equal(server.read(into), 0)
      t.equal(server.write(Buffer.from('still here')), 10)
      toClient.carry()
      t.equal(client.end(), true, 'a second end() has no effect')
      t.equal(client.read(into), 10)
      t.throws(() => client.write(Buffer.from('not me')), /protocol is shutdown/)
    })

    t.test('close_notify has to wait for the end of a handshake', async (t) => {
      const { client, toServer, server, handshake } = connectedByHand({ libssl })
      client.renegotiate()
      client.read(into)
      t.equal(client.end(), 'want-read')
      handshake()
      t.equal(client.end(), true)
      toServer.carry()
      t.equal(server.read(into), 0)
    })

    t.test("a handshake that meets the peer's close_notify never completes", async (t) => {
      const { client, server, toClient, toServer } = connectedByHand({ libssl })
      t.equal(server.end(), true)
      client.renegotiate()
      t.equal(client.read(into), 'want-read')
      toServer.carry()
      toClient.carry()
      t.equal(server.read(into), 'want-read', 'a server drops a ClientHello that arrives after its own close_notify')
      t.equal(server.handshaking, false)
      t.equal(client.read(into), 0)
      t.equal(client.handshaking, true, 'the handshake never completes')
      t.equal(client.end(), 'want-read', 'close_notify cannot be sent')
    })

    t.test("written data is still sent if the engine is destroyed after the peer's end", async (t) => {
      const { client, server, toClient, toServer } = connectedByHand({ libssl })
      t.equal(client.write(Buffer.from('taken')), 5)
      t.equal(server.end(), true)
      toClient.carry()
      t.equal(client.read(into), 0)
      client.destroy()
      toServer.carry()
      t.equal(server.read(into), 5)
    })

    t.test('an end without close_notify is an error of every later call', async (t) => {
      const { client, server, toServer } = connectedByHand({ libssl })
      client.destroy()
      client.destroy()
      toServer.carry()
      for (let i = 0; i < 2; i++) t.throws(() => server.read(into), { code: 'ERR_SSL_UNEXPECTED_EOF_WHILE_READING' })
      t.throws(() => server.end(), /unexpected eof/)
      t.throws(() => client.read(into), { message: 'read() after destroy()' })
      t.throws(() => client.write(into), { message: 'write() after destroy()' })
      t.same([client.handshaking, client.nextRecord], [false, undefined])
    })

    t.test("nextRecord is 'alert' at an end without close_notify, even in the middle of a record", async (t) => {
      for (const bytes of [0, 3, 20]) {
        const { client, server } = connectedByHand({ libssl })
        client.write(Buffer.from('abcdef'))
        new Lane(client, server, { portion: bytes }).carry()
        server.endIncoming()
        t.equal(server.nextRecord, 'alert')
        t.throws(() => server.read(into), { code: 'ERR_SSL_UNEXPECTED_EOF_WHILE_READING' })
      }
      const { client, server, toServer } = connectedByHand({ libssl })
      client.renegotiate()
      client.read(into)
      toServer.carry()
      server.endIncoming()
      t.equal(server.nextRecord, 'handshake', 'records that came before the end are read first')
    })

    t.test('the buffer of a pending write does not move in memory, even on the heap of V8', async (t) => {
      for (const length of [1, 8, 63, 64, 65, 200]) {
        // The buffer is just too small for the record.
        const { client, server, toServer } = connectedByHand({ libssl, bufferSize: length + 28 })
        const small = new Uint8Array(length).fill(7)
        t.equal(client.write(small), 'want-write')
        // Twice, so that young objects move twice.
        collectGarbage()
        collectGarbage()
        toServer.carry()
        t.equal(client.write(small), length)
        t.equal(server.read(into), 'want-read')
        toServer.carry()
        t.equal(server.read(into), length)
        t.same(new Uint8Array(into.subarray(0, length)), small)
      }
    })

    t.test('an empty write takes nothing', async (t) => {
      const { client } = connectedByHand({ libssl })
      t.equal(client.write(Buffer.alloc(0)), 0)
    })
  })
}

t.test('the trace option reports every call', async (t) => {
  const calls: Call[] = []
  const { client } = connectedByHand({ trace: (call) => calls.push(call) })
  t.same(calls.splice(0).map(broken).filter(Boolean), [], 'no rule broken so far')

  const large = Buffer.alloc(16384)
  const other = Buffer.alloc(16384)
  const before = { name: 'write', handshaking: false, nextRecord: undefined }
  client.write(large)
  t.strictSame(calls, [{ ...before, buffer: large, pending: null, result: 'want-write' }])
  t.throws(() => client.write(other))
  t.match(calls[1], { ...before, pending: large, error: /bad write retry/ })
  t.equal(calls[1]?.buffer, other)
})

t.test('broken() returns the rule that a call broke', async (t) => {
  const buffer = Buffer.alloc(2)
  const other = Buffer.alloc(2)
  const fine = { handshaking: false, nextRecord: 'data', pending: null, buffer } as const
  const cases: [Partial<Call> & Pick<Call, 'name'>, string | undefined][] = [
    [{ name: 'write' }, undefined],
    [{ name: 'write', pending: buffer }, undefined],
    [{ name: 'write', pending: other }, 'a write retried with another buffer'],
    [{ name: 'write', handshaking: true }, 'a write while handshaking'],
    [{ name: 'read', pending: other }, undefined],
    [{ name: 'read', nextRecord: 'handshake' }, undefined],
    [{ name: 'read', pending: other, nextRecord: 'handshake' }, 'a handshake read into a pending write'],
    [{ name: 'renegotiate' }, undefined],
    [{ name: 'renegotiate', pending: other }, 'a renegotiation begun into a pending write'],
    [{ name: 'end' }, undefined],
    [{ name: 'end', pending: other }, 'an end put into a pending write'],
  ]
  for (const [call, expected] of cases) t.equal(broken({ ...fine, ...call }), expected)
})
