import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { decodeProtocols, encodeProtocols, type ProtocolChoice, preferOwn } from '../../src/openssl/alpn.ts'
import { createSecureContext } from '../../src/openssl/context.ts'
import { negotiate as askForProtocol } from '../../src/openssl/ssl-events.ts'
import { negotiates, openssl } from '../fixtures/openssl-ends.ts'
import { Pump } from '../fixtures/openssl-pump.ts'
import { ca, server } from '../fixtures/pki.ts'

t.test('protocols are encoded as Node encodes them', async (t) => {
  for (const protocols of [
    ['h2', 'http/1.1'],
    ['ä', 'x'.repeat(255)],
    [],
    Buffer.from('\x02h2'),
    new DataView(Buffer.from('\x02h2').buffer, 0, 0),
  ]) {
    const out: { ALPNProtocols?: Buffer } = {}
    const { convertALPNProtocols } = tls as unknown as { convertALPNProtocols(protocols: unknown, out: object): void }
    convertALPNProtocols(protocols, out)
    t.strictSame(encodeProtocols(protocols), out.ALPNProtocols)
  }
  t.equal(encodeProtocols(undefined), undefined)
  t.equal(encodeProtocols('h2'), undefined)
  t.strictSame(decodeProtocols(Buffer.from('\x02h2\x01x')), ['h2', 'x'])
})

t.test('bytes are copied, so that a later change has no effect', async (t) => {
  const bytes = Buffer.from('\x02h2')
  const encoding = encodeProtocols(bytes)
  bytes.fill(0)
  t.strictSame(encoding, Buffer.from('\x02h2'))
})

t.test('protocols that cannot be encoded are refused', async (t) => {
  const value = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }
  t.throws(() => encodeProtocols(['h2', '']), { ...value, message: /'protocols\[1\]' must be a non-empty string/ })
  t.throws(() => encodeProtocols(['x'.repeat(256)]), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' })
  t.throws(() => encodeProtocols(Buffer.from('\x00')), { ...value, message: /zero-length/ })
  t.throws(() => encodeProtocols(Buffer.from('\x03h2')), { ...value, message: /truncated/ })
})

interface Negotiation {
  /** Default: nobody chooses. */
  choose?: ProtocolChoice
  offered: string[]
}

/** A handshake of a client of Node with a server that chooses by `choose`. */
async function negotiate(t: Test, { choose, offered }: Negotiation) {
  const listening = net.createServer().listen(0, '127.0.0.1')
  await once(listening, 'listening')
  t.teardown(() => listening.close())
  const client = tls.connect({
    port: (listening.address() as AddressInfo).port,
    host: '127.0.0.1',
    ca,
    servername: 'localhost',
    ALPNProtocols: offered,
  })
  t.teardown(() => client.destroy())
  const result = new Promise((resolve) => {
    client.on('secureConnect', () => resolve(client.alpnProtocol))
    client.on('error', ({ code }: NodeJS.ErrnoException) => resolve(code))
  })
  const [socket] = (await once(listening, 'connection')) as [Socket]
  using context = createSecureContext(openssl, server)
  const errors: unknown[] = []
  askForProtocol(openssl, context.pointer)
  const pump = new Pump(t, context, socket, { role: 'server' })
  if (choose !== undefined) {
    negotiates(t, pump, {
      chooseProtocol: (protocols) => choose(protocols, ''),
      fail: (error) => void errors.push(error),
    })
  }
  const [outcome] = await Promise.all([result, pump.secure().catch(() => {})])
  return { outcome, errors }
}

t.test('a server chooses the first of its own protocols that the client has', async (t) => {
  const choose = preferOwn(encodeProtocols(['b', 'a']) as Buffer)
  t.strictSame(await negotiate(t, { choose, offered: ['x', 'a', 'b'] }), { outcome: 'b', errors: [] })
})

t.test('a client without a common protocol is refused with an alert', async (t) => {
  const choose = preferOwn(encodeProtocols(['b']) as Buffer)
  const { outcome, errors } = await negotiate(t, { choose, offered: ['a'] })
  t.equal(outcome, 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL')
  t.strictSame(errors, [])
})

t.test('the choice gets the protocols of the client in their order', async (t) => {
  const calls: unknown[] = []
  const choose: ProtocolChoice = (protocols) => {
    calls.push(protocols)
    return 'c'
  }
  t.strictSame(await negotiate(t, { choose, offered: ['a', 'bb', 'c'] }), { outcome: 'c', errors: [] })
  t.strictSame(calls, [['a', 'bb', 'c']])
})

t.test('a choice that the client does not have is the error of Node', async (t) => {
  const { outcome, errors } = await negotiate(t, { choose: () => 'z', offered: ['a', 'b'] })
  t.equal(outcome, 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL')
  t.match(errors, [{ name: 'TypeError', code: 'ERR_TLS_ALPN_CALLBACK_INVALID_RESULT', message: /\(z\).*\(a, b\)$/ }])
})

t.test('an error that the choice throws is told, and the client is refused', async (t) => {
  const error = new Error('mine')
  const choose = () => {
    throw error
  }
  t.strictSame((await negotiate(t, { choose, offered: ['a'] })).errors, [error])
})

t.test('a server for whose connection nobody chooses takes no part in ALPN', async (t) => {
  t.strictSame(await negotiate(t, { offered: ['a'] }), { outcome: false, errors: [] })
})
