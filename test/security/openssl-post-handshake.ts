import { once } from 'node:events'
import t, { type Test } from 'tap'
import type { RenegotiationOptions, RenegotiationTLSSocket } from '../../src/index.ts'
import { connect } from '../../src/openssl/index.ts'
import type { OpenSSLSocket } from '../../src/openssl/openssl-socket.ts'
import { HeldTimers } from '../fixtures/held-timers.ts'
import { openSSLClient, openSSLServer } from '../fixtures/openssl-pair.ts'
import * as pki from '../fixtures/pki.ts'
import { closed, rejection } from '../fixtures/settled.ts'
import { ContentType, MessageType, RawPeer13, type RawPeer13Options } from '../fixtures/tls13/peer.ts'

/* What a malicious peer can do after the handshake of TLS 1.3. */

t.setTimeout(300_000)
const timers = new HeldTimers()
t.teardown(() => timers.restore())

interface Attacked {
  raw: RawPeer13
  stream: RenegotiationTLSSocket
  errors: NodeJS.ErrnoException[]
}

function watched(t: Test, raw: RawPeer13, stream: RenegotiationTLSSocket): Attacked {
  const errors: NodeJS.ErrnoException[] = []
  stream.on('error', (error) => errors.push(error))
  t.teardown(() => stream.destroy())
  return { raw, stream, errors }
}

/** A stream of a server, and a malicious client. */
async function attackedServer(
  t: Test,
  renegotiation: RenegotiationOptions = {},
  options: RawPeer13Options = {},
): Promise<Attacked> {
  const server = await openSSLServer(t, {
    rejectUnauthorized: false,
    renegotiation,
    requestCert: options.identity !== undefined,
  })
  const accepted = once(server, 'secureConnection') as Promise<[RenegotiationTLSSocket]>
  const raw = await RawPeer13.connect(server.port, t, options)
  return watched(t, raw, (await accepted)[0])
}

/** A stream of a client, and a malicious server. */
async function attackedClient(t: Test, renegotiation: RenegotiationOptions = {}): Promise<Attacked> {
  const listening = await RawPeer13.listen(t)
  const accepted = listening.accept()
  const stream = connect(openSSLClient(listening.port, { renegotiation }))
  const [raw] = await Promise.all([accepted, once(stream, 'secureConnect')])
  return watched(t, raw, stream)
}

const settled = () => new Promise((resolve) => setImmediate(resolve))

/** The stream has read everything that was sent before. */
async function synchronized({ raw, stream }: Attacked): Promise<void> {
  const got = once(stream, 'data')
  raw.sendData('synchronized')
  await got
}

t.test('a certificate without a proof is not shown, even after a key update', async (t) => {
  const it = await attackedServer(t, { handshakeTimeout: 0 })
  const { raw, stream } = it
  stream.resume()
  const asked = stream.renegotiate({ requestCert: true })
  const request = await raw.expect(ContentType.handshake, MessageType.certificateRequest)
  raw.socket.write(raw.keyUpdate(false))
  await once(stream, 'renegotiated')
  raw.sendCertificate(request, pki.client.cert)
  // Nothing tells when the stream has read it. The end is read after it.
  raw.socket.end()
  await once(stream, 'end')
  t.strictSame(stream.getPeerCertificate(), {})
  t.equal(stream.getPeerX509Certificate(), undefined)
  await t.rejects(asked, { code: 'ERR_RENEGOTIATION_CLOSED' })
})

for (const end of ['close_notify', 'FIN'] as const) {
  t.test(`a client that sends its certificate, no proof, and ${end} does not keep the stream open`, async (t) => {
    const { raw, stream } = await attackedServer(t, { handshakeTimeout: 0 })
    stream.resume()
    const asked = rejection(stream.renegotiate({ requestCert: true }))
    const request = await raw.expect(ContentType.handshake, MessageType.certificateRequest)
    raw.sendCertificate(request, pki.client.cert)
    if (end === 'FIN') raw.socket.end()
    else raw.sendCloseNotify()
    await closed(stream)
    t.match(await asked, { code: 'ERR_RENEGOTIATION_CLOSED' })
  })
}

t.test('the late answer to a key update is none to a certificate request', async (t) => {
  const handshakeTimeout = timers.claim()
  const it = await attackedServer(t, {}, { identity: pki.client })
  const { raw, stream } = it
  const updated = stream.renegotiate({ handshakeTimeout })
  await raw.expect(ContentType.handshake, MessageType.keyUpdate)
  timers.fire(handshakeTimeout)
  t.match(await updated, { verified: false })
  let isAnswered = false
  const asked = stream.renegotiate({ requestCert: true, handshakeTimeout: 0 }).finally(() => {
    isAnswered = true
  })
  asked.catch(() => {})
  await raw.expect(ContentType.handshake, MessageType.certificateRequest)
  raw.socket.write(raw.keyUpdate(false))
  await synchronized(it)
  await settled()
  t.equal(isAnswered, false)
  stream.destroy()
  await t.rejects(asked, { code: 'ERR_RENEGOTIATION_CLOSED' })
})

for (const isRequest of [false, true]) {
  for (const end of ['server', 'client'] as const) {
    const what = isRequest ? 'that are requests' : 'without requests'
    t.test(`a flood of key updates ${what} exceeds the limit of a ${end}, and is not saved up`, async (t) => {
      const it = await (end === 'server' ? attackedServer(t) : attackedClient(t))
      const { raw, stream, errors } = it
      let updates = 0
      stream.on('renegotiated', () => updates++)
      stream.resume()
      const flood: Buffer[] = []
      for (let i = 0; i < 2000; i++)
        flood.push(raw.keyUpdate(isRequest, i % 3 === 0 ? 1000 : 0), raw.record(ContentType.data, Buffer.alloc(0)))
      raw.socket.write(Buffer.concat(flood))
      await closed(stream)
      t.match(errors, [{ code: 'ERR_RENEGOTIATION_LIMIT' }])
      t.equal(updates, 600)
    })
  }
}

/** The answers to so many take more room than there is. */
const UPDATES = 10_000

t.test('a peer that does not read gets no more than a limited number of answers', async (t) => {
  const { raw, stream, errors } = await attackedServer(t, { peerLimit: false })
  stream.resume()
  raw.socket.pause()
  const { below, engine } = stream.socket as unknown as OpenSSLSocket
  // The kernel takes nothing for it.
  const chunk = Buffer.alloc(1_000_000)
  stream.write(chunk)
  while (!below.writableNeedDrain) {
    stream.write(chunk)
    await settled()
  }
  for (let i = 0; i < UPDATES; i++) raw.socket.write(raw.keyUpdate(true))
  let read = -1
  for (let quiet = 0; quiet < 100; quiet++) {
    await settled()
    if (engine.keyUpdates?.byPeer !== read) quiet = 0
    read = engine.keyUpdates?.byPeer ?? 0
  }
  t.ok(read < UPDATES, `${read} key updates were read`)
  t.strictSame(errors, [])
})

t.test('a peer that never answers cannot keep old keys in use beyond the hard limit', async (t) => {
  const hardLimit = { bytes: 200_000 }
  const { raw, stream, errors } = await attackedServer(t, {
    rekey: { everyBytes: 50_000, hardLimit },
    handshakeTimeout: 0,
  })
  let received = 0
  stream.on('data', ({ length }: Buffer) => {
    received += length
  })
  for (let i = 0; i < 200; i++) raw.sendData(Buffer.alloc(16_000))
  await closed(stream)
  t.match(errors, [{ code: 'ERR_RENEGOTIATION_KEYS_EXPIRED' }])
  // What is read at once may go beyond it.
  t.ok(received < hardLimit.bytes + 131_072, `${received} bytes`)
})

t.test('key updates of the peer do not put off those of the schedule', async (t) => {
  const { raw, stream } = await attackedServer(t, { rekey: { everyMs: 150 }, peerLimit: false })
  stream.resume()
  let isOver = false
  const flood = async () => {
    while (!isOver) {
      raw.socket.write(raw.keyUpdate(false))
      await settled()
    }
  }
  const flooded = flood()
  // The one that is a request is that of the schedule.
  for (;;) {
    const { content } = await raw.expect(ContentType.handshake, MessageType.keyUpdate)
    if (content[4] === 1) break
  }
  isOver = true
  await flooded
  t.pass('the schedule has begun one')
})

t.test('messages that are not allowed end the connection, and nothing after them is delivered', async (t) => {
  const bodies: [string, (raw: RawPeer13) => Buffer][] = [
    [
      'a KeyUpdate that asks for something else',
      (raw) => raw.record(ContentType.handshake, raw.message(24, Buffer.of(2))),
    ],
    [
      'two KeyUpdates in a record',
      (raw) => raw.record(ContentType.handshake, Buffer.of(24, 0, 0, 1, 0, 24, 0, 0, 1, 0)),
    ],
    [
      'a Certificate that nobody has requested',
      (raw) => raw.record(ContentType.handshake, raw.message(11, Buffer.of(0, 0, 0, 0))),
    ],
    ['a Finished', (raw) => raw.record(ContentType.handshake, raw.message(20, Buffer.alloc(48)))],
    ['a ClientHello', (raw) => raw.record(ContentType.handshake, raw.message(1, Buffer.alloc(48)))],
    ['a record without encryption', () => Buffer.of(22, 3, 3, 0, 4, 0, 0, 0, 0)],
    ['a record that is too long', () => Buffer.of(23, 3, 3, 0xff, 0xff)],
    ['a ChangeCipherSpec', () => Buffer.of(20, 3, 3, 0, 1, 1)],
    ['no TLS', () => Buffer.from('GET / HTTP/1.1')],
    ['a record of another type', (raw) => raw.record(99, Buffer.from('?'))],
    [
      '33 empty records',
      (raw) => Buffer.concat(Array.from({ length: 34 }, () => raw.record(ContentType.data, Buffer.alloc(0)))),
    ],
    [
      'data in the middle of a message',
      (raw) =>
        Buffer.concat([
          raw.record(ContentType.handshake, Buffer.of(24, 0)),
          raw.record(ContentType.data, Buffer.from('inside')),
        ]),
    ],
  ]
  for (const [name, make] of bodies) {
    const { raw, stream, errors } = await attackedServer(t)
    let received = ''
    stream.on('data', (chunk: Buffer) => {
      received += chunk
    })
    raw.socket.write(Buffer.concat([raw.record(ContentType.data, Buffer.from('before')), make(raw)]))
    raw.sendData('after')
    raw.socket.end()
    await closed(stream)
    t.equal(received, 'before', name)
    t.equal(errors.length, 1, `${name}: ${errors}`)
  }
})
