/* Several records of data that arrive together are read with one call of OpenSSL. */
import t, { type Test } from 'tap'
import { SSL_RECEIVED_SHUTDOWN, SSL_SENT_SHUTDOWN } from '../../src/openssl/constants.ts'
import type { OpenSSLEngine } from '../../src/openssl/engine.ts'
import { RunReader } from '../../src/openssl/run-reader.ts'
import { sslCallbacks } from '../../src/openssl/ssl-callbacks.ts'
import { clientIdentity, connected as connectedOver, openssl, versions } from '../fixtures/engine-end.ts'

/** Two engines after the handshake that nobody drives but the test. */
function connected(
  t: Test,
  ...[client, server]: Parameters<typeof connectedOver> extends [Test, ...infer O] ? O : never
) {
  const link = connectedOver(t, client, server)
  link.client.engine.onReady = null
  link.server.engine.onReady = null
  return { from: link.client.engine, to: link.server.engine }
}

/** All that an engine has to send. */
function output(engine: OpenSSLEngine): Buffer {
  const into = Buffer.alloc(600_000)
  return into.subarray(0, engine.take(into))
}

/** Writes each text as a record of its own. */
function write(engine: OpenSSLEngine, ...texts: string[]): void {
  for (const text of texts) engine.write(Buffer.from(text))
}

const ROOM = 131_073

/** Reads once. */
function read(engine: OpenSSLEngine, bytes = ROOM): string {
  const into = Buffer.alloc(bytes)
  const result = engine.read(into)
  return typeof result === 'string' ? result : into.toString('latin1', 0, result)
}

for (const version of versions) {
  t.test(`all complete records of data are read together, ${version}`, async (t) => {
    const { from, to } = connected(t, { version }, { version })
    write(from, 'a', 'bb', 'ccc')
    const bytes = output(from)
    const before = bytes.length - 4
    to.receive(bytes.subarray(0, before))
    t.ok(to.readableBytes > 'abb'.length)
    t.match([read(to), to.recordsRead], ['abb', 2])
    t.match([to.readableBytes, to.nextRecord, read(to)], [0, undefined, 'want-read'])
    to.receive(bytes.subarray(before))
    t.match([read(to), to.recordsRead], ['ccc', 1])
  })

  t.test(`records that come in pieces of every size are complete, ${version}`, async (t) => {
    const { from, to } = connected(t, { version }, { version })
    const texts = ['x'.repeat(300), 'y', 'z'.repeat(40), 'end']
    for (const size of [1, 7, 60, 61, 62, 100, 333, 400, 1000]) {
      write(from, ...texts)
      const bytes = output(from)
      let text = ''
      let records = 0
      for (let at = 0; at < bytes.length; at += size) {
        to.receive(bytes.subarray(at, at + size))
        for (let part = read(to); part !== 'want-read'; part = read(to)) {
          text += part
          records += to.recordsRead
        }
      }
      t.equal(text, texts.join(''))
      t.equal(records, texts.length)
    }
  })

  t.test(`memory that is too small for several records gets one at a time, ${version}`, async (t) => {
    const { from, to } = connected(t, { version }, { version })
    write(from, 'a'.repeat(2000), 'b', 'c')
    to.receive(output(from))
    t.equal(read(to, 2), 'aa')
    t.equal(read(to, 1998), 'a'.repeat(1998))
    t.equal(read(to, 100), 'b')
    t.equal(read(to), 'c')
    // Its size would do, but OpenSSL would read into memory of its own.
    write(from, 'd', 'e')
    to.receive(output(from))
    t.match([read(to, 4096), read(to, 4096)], ['d', 'e'])
  })

  t.test(`full records are read up to 128 KiB at a time, ${version}`, async (t) => {
    const { from, to } = connected(t, { version, maxOutputBytes: 500_000 }, { version })
    const all = Buffer.alloc(320_000, 'abcdefg')
    for (let at = 0; at < all.length; ) at += from.write(all.subarray(at)) as number
    to.receive(output(from))
    const parts: string[] = []
    let records = 0
    for (let part = read(to); part !== 'want-read'; part = read(to)) {
      parts.push(part)
      records += to.recordsRead
    }
    t.equal(parts.join(''), all.toString('latin1'))
    t.equal(records, Math.ceil(131_072 / 16_384) * 2 + Math.ceil((320_000 - 262_144) / 16_384))
    t.equal(parts[0]?.length, 131_072)
  })

  t.test(`at most 512 records are read at a time, ${version}`, async (t) => {
    const { from, to } = connected(t, { version, maxOutputBytes: 100_000 }, { version })
    for (let i = 0; i < 1300; i++) from.write(Buffer.from('x'))
    to.receive(output(from))
    for (const count of [512, 512, 276]) t.match([read(to).length, to.recordsRead], [count, count])
    t.equal(read(to), 'want-read')
  })

  t.test(`data before the end of the peer is read, then the end, ${version}`, async (t) => {
    const { from, to } = connected(t, { version }, { version })
    write(from, 'one', 'two')
    from.end()
    to.receive(output(from))
    t.equal(read(to), 'onetwo')
    t.not(to.nextRecord, undefined, 'the end waits to be read')
    t.match([read(to), read(to)], ['', ''])
    t.equal(to.peerEnded, true)
  })

  t.test(`data before a record that was changed on its way is read, then the error, ${version}`, async (t) => {
    const { from, to } = connected(t, { version }, { version })
    write(from, 'one', 'two', 'three')
    const bytes = output(from)
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1)
    to.receive(bytes)
    t.equal(read(to), 'onetwo')
    t.throws(() => read(to), /bad record mac|record layer failure/)
    t.throws(() => read(to), /bad record mac|record layer failure/)
  })

  t.test(`what is not TLS behind data is an error after the data, ${version}`, async (t) => {
    for (const bad of [Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.from([23, 3, 3, 255, 255, 0])]) {
      const { from, to } = connected(t, { version }, { version })
      write(from, 'one', 'two')
      to.receive(Buffer.concat([output(from), bad]))
      t.equal(read(to), 'onetwo')
      t.throws(() => read(to), /./)
    }
  })

  t.test(`a run that begins with a damaged record is an error, ${version}`, async (t) => {
    const { from, to } = connected(t, { version }, { version })
    write(from, 'one', 'two')
    const bytes = output(from)
    const end = 5 + bytes.readUInt16BE(3) - 1
    bytes.writeUInt8(bytes.readUInt8(end) ^ 1, end)
    to.receive(bytes)
    t.throws(() => read(to), /bad record mac|record layer failure/)
    t.equal(to.inputBytes, 0)
  })

  t.test(`an engine that has read many records is not closed when it is destroyed, ${version}`, async (t) => {
    const { from, to } = connected(t, { version }, { version })
    write(from, 'one', 'two')
    to.receive(output(from))
    read(to)
    to.destroy()
    t.equal(output(to).length, 0, 'it sends no close_notify')
  })
}

t.test('a reader leaves the state of the SSL and the queue of errors as they were', async (t) => {
  const context = openssl.SSL_CTX_new(openssl.TLS_method())
  for (const shutdown of [0, SSL_SENT_SHUTDOWN, SSL_RECEIVED_SHUTDOWN]) {
    const ssl = openssl.SSL_new(context)
    const input = openssl.BIO_new(openssl.BIO_s_mem())
    if (ssl === null || input === null) throw new Error('OpenSSL has no memory')
    openssl.SSL_set_bio(ssl, input, openssl.BIO_new(openssl.BIO_s_mem()))
    openssl.SSL_set_shutdown(ssl, shutdown)
    new RunReader(openssl, ssl, input).free()
    t.equal(openssl.SSL_get_shutdown(ssl), shutdown)
    t.equal(openssl.ERR_peek_error(), 0)
    openssl.SSL_free(ssl)
  }
  openssl.SSL_CTX_free(context)
})

t.test('a reader fails if OpenSSL has no memory', async (t) => {
  const context = openssl.SSL_CTX_new(openssl.TLS_method())
  const ssl = openssl.SSL_new(context) ?? 0n
  const input = openssl.BIO_new(openssl.BIO_s_mem()) ?? 0n
  const without = (name: 'BIO_new' | 'BIO_new_mem_buf') => ({ ...openssl, [name]: () => null })
  t.throws(() => new RunReader(without('BIO_new'), ssl, input), { code: 'ERR_CRYPTO_OPERATION_FAILED' })
  const reader = new RunReader(without('BIO_new_mem_buf'), ssl, input)
  t.throws(() => reader.read(Buffer.alloc(10), Buffer.alloc(10)), { code: 'ERR_CRYPTO_OPERATION_FAILED' })
  reader.free()
  openssl.BIO_free(input)
  openssl.SSL_free(ssl)
  openssl.SSL_CTX_free(context)
})

const version = 'TLSv1.3'

t.test('a key update between data stops the reading, and is counted before the data after it is read', async (t) => {
  const { from, to } = connected(t, { version }, { version })
  write(from, 'one', 'two')
  from.renegotiate()
  write(from, 'three', 'four')
  to.receive(output(from))
  t.match([read(to), to.recordsRead], ['onetwo', 3], 'the key update was a record too')
  t.match(to.keyUpdates, { byPeer: 1 })
  t.ok(output(to).length > 0, 'it is answered')
  t.equal(read(to), 'threefour')
})

t.test('a key update before all data is counted first', async (t) => {
  const { from, to } = connected(t, { version }, { version })
  from.renegotiate()
  write(from, 'one', 'two')
  to.receive(output(from))
  t.equal(read(to), 'want-read')
  t.match(to.keyUpdates, { byPeer: 1 })
  t.equal(read(to), 'onetwo')
})

t.test('key updates that come without a pause are counted one by one', async (t) => {
  const { from, to } = connected(t, { version }, { version })
  for (let i = 0; i < 5; i++) {
    write(from, `${i}`)
    from.renegotiate()
  }
  write(from, 'x', 'y')
  to.receive(output(from))
  const seen: string[] = []
  for (let i = 0; i < 12; i++) seen.push(`${read(to)} ${to.keyUpdates?.byPeer}`)
  t.same(
    seen.filter((step) => !step.startsWith('want-read')),
    ['0 1', '1 2', '2 3', '3 4', '4 5', 'xy 5'],
  )
  t.match(to.keyUpdates, { byPeer: 5 })
})

t.test('the end behind a key update is read', async (t) => {
  const { from, to } = connected(t, { version }, { version })
  write(from, 'one')
  from.renegotiate()
  write(from, 'two')
  from.end()
  to.receive(output(from))
  t.match([read(to), read(to), read(to)], ['one', 'two', ''])
})

t.test('an answer that fails is an error after the data', async (t) => {
  const { from, to } = connected(t, { version }, { version })
  write(from, 'one', 'two')
  from.renegotiate()
  const { ssl } = to
  const wbio = openssl.SSL_get_wbio(ssl)
  if (wbio === null) throw new Error('There is no output')
  // The engine keeps it.
  openssl.BIO_up_ref(wbio)
  openssl.SSL_set0_wbio(ssl, null)
  t.teardown(() => openssl.BIO_free(wbio))
  to.receive(output(from))
  t.equal(read(to), 'onetwo')
  t.match(to.keyUpdates, { byPeer: 1 })
  t.throws(() => read(to), { code: 'ERR_CRYPTO_OPERATION_FAILED' })
  to.destroy()
})

t.test('the certificate of a client is judged before the data behind it is read', async (t) => {
  const { from: client, to: server } = connected(
    t,
    { version, identity: clientIdentity, offersAuthentication: true },
    { version },
  )
  write(client, 'one', 'two')
  const before = output(client)
  server.renegotiate({ requestCert: true })
  client.receive(output(server))
  t.equal(read(client), 'want-read')
  write(client, 'three', 'four')
  server.receive(Buffer.concat([before, output(client)]))
  t.match([server.session().identity, server.authentications], [undefined, { sent: 1, answered: 0 }])
  t.equal(read(server), 'onetwo')
  t.match(server.authentications, { sent: 1, answered: 1 })
  t.not(server.session().identity, undefined)
  t.equal(read(server), 'threefour')
})

t.test('while a client authenticates itself, records are read one at a time', async (t) => {
  const { from: client, to: server } = connected(
    t,
    { version, identity: clientIdentity, offersAuthentication: true },
    { version },
  )
  server.renegotiate({ requestCert: true })
  client.receive(output(server))
  read(client)
  write(client, 'three', 'four')
  const bytes = output(client)
  const first = 5 + bytes.readUInt16BE(3)
  server.receive(bytes.subarray(0, first))
  t.equal(read(server), 'want-read')
  server.receive(bytes.subarray(first))
  const seen: string[] = []
  for (let i = 0; i < 8; i++) seen.push(read(server))
  t.equal(seen.filter((text) => text !== 'want-read').join(''), 'threefour')
  t.match(server.authentications, { answered: 1 })
})

t.test('records before a key update are counted, although half a record follows', async (t) => {
  const { from, to } = connected(t, { version }, { version })
  for (let i = 0; i < 100; i++) write(from, 'x')
  from.renegotiate()
  write(from, 'y'.repeat(10_000))
  const bytes = output(from)
  to.receive(bytes.subarray(0, bytes.length - 1))
  t.equal(read(to), 'x'.repeat(100))
  t.equal(to.recordsRead, 101)
  to.receive(bytes.subarray(bytes.length - 1))
  t.match([read(to), to.recordsRead], ['y'.repeat(10_000), 1])
})

t.test('bytes that come inside a callback of OpenSSL are read later', async (t) => {
  const { from, to } = connected(t, { version }, { version })
  write(from, 'one', 'two')
  from.renegotiate()
  write(from, 'three', 'four')
  const first = output(from)
  write(from, 'five', 'six')
  const second = output(from)
  const { listeners } = sslCallbacks(openssl)
  const listener = listeners.get(to.ssl)
  listeners.set(to.ssl, {
    message(message) {
      listener?.message(message)
      // As a Duplex could that delivers at once.
      to.receive(second)
      to.keepInput()
    },
  })
  to.receive(first)
  t.equal(read(to), 'onetwo')
  listeners.set(to.ssl, listener as NonNullable<typeof listener>)
  second.fill(0)
  let text = ''
  for (let part = read(to); part !== 'want-read'; part = read(to)) text += part
  t.equal(text, 'threefourfivesix')
})

t.test('what is not TLS behind a key update is an error of OpenSSL, and the key update counts', async (t) => {
  const { from, to } = connected(t, { version }, { version })
  from.renegotiate()
  to.receive(Buffer.concat([output(from), Buffer.from('GET / HTTP/1.1\r\n\r\n')]))
  t.equal(read(to), 'want-read')
  t.match(to.keyUpdates, { byPeer: 1 })
  t.throws(() => read(to), { code: /^ERR_SSL_/ })
})

t.test('what follows the end in the same run is forgotten', async (t) => {
  const { from, to } = connected(t, { version }, { version })
  from.end()
  to.receive(Buffer.concat([output(from), Buffer.from([23, 3, 3, 0, 1, 0])]))
  t.ok(to.readableBytes > 0)
  t.match([read(to), to.inputBytes, to.peerEnded], ['', 0, true])
})

t.test('an engine may be destroyed inside a callback of a run', async (t) => {
  const { from, to } = connected(t, { version }, { version })
  write(from, 'one', 'two')
  from.renegotiate()
  write(from, 'three')
  const { listeners } = sslCallbacks(openssl)
  listeners.set(to.ssl, { message: () => to.destroy() })
  to.receive(output(from))
  t.equal(read(to), 'onetwo')
  t.equal(to.inputBytes, 0)
  t.throws(() => read(to), { code: 'ERR_STREAM_DESTROYED' })
})
