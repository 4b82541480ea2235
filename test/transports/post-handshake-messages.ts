import t, { type Test } from 'tap'
import { engineTransport, RenegotiationDuplex, type RenegotiationOptions } from '../../src/index.ts'
import type { TLSEngine } from '../../src/transports/tls-engine.ts'
import { outcome } from '../fixtures/scripted-stream.ts'
import { turn } from '../fixtures/scripted-transport.ts'

/** An engine with TLS 1.3, whose test changes the counts. */
class ModernEngine implements TLSEngine {
  onReady: (() => void) | null = null
  readonly handshaking = false
  readonly keyUpdates = { sent: 0, answered: 0, byPeer: 0 }
  authentications: { sent: number; answered: number; byPeer: number } | undefined
  readonly certificatePolicy = { requestCert: false, rejectUnauthorized: true }
  readonly asked: object[] = []

  /** What the next read() returns. */
  result: 0 | 'want-read' = 'want-read'
  readonly written: string[] = []

  read() {
    return this.result
  }
  write(from: Uint8Array) {
    this.written.push(from.toString())
    return from.length
  }
  renegotiate(options: object) {
    this.asked.push(options)
  }
  end() {
    return true as const
  }
  destroy() {}
  session() {
    return { identity: Buffer.from('client'), authorized: true }
  }
}

function modern(t: Test, options?: RenegotiationOptions) {
  const engine = new ModernEngine()
  const stream = new RenegotiationDuplex(engineTransport(engine), options)
  const reports: string[] = []
  stream.on('renegotiated', ({ origin, kind }) => reports.push(`${kind} (${origin})`))
  stream.on('error', () => {})
  t.teardown(() => stream.destroy())
  return { engine, stream, reports }
}

t.test('with TLS 1.3, renegotiate() is a key update, which is over when the engine has the answer', async (t) => {
  const { engine, stream } = modern(t)
  const renegotiated = stream.renegotiate()
  await turn()
  await turn()
  t.match(engine.asked, [{ requestCert: false }])
  engine.keyUpdates.sent++
  engine.onReady?.()
  await turn()
  t.equal(stream.state, 'open')
  engine.keyUpdates.answered++
  engine.onReady?.()
  t.match(await renegotiated, { kind: 'key-update', verified: true })
})

t.test('a peer that ends right after a key update was sent still gets what was written meanwhile', async (t) => {
  const { engine, stream } = modern(t)
  stream.resume()
  await turn()
  engine.renegotiate = () => {
    engine.keyUpdates.sent++
    engine.result = 0
  }
  const renegotiated = outcome(stream.renegotiate())
  stream.write('held')
  t.match(await renegotiated, { code: 'ERR_RENEGOTIATION_CLOSED', message: /before it answered$/ })
  while (!stream.writableFinished && !stream.destroyed) await turn()
  t.equal(stream.errored, null)
  t.strictSame(engine.written, ['held'])
})

t.test('with requestCert, it is a certificate request', async (t) => {
  const { engine, stream } = modern(t)
  engine.authentications = { sent: 0, answered: 0, byPeer: 0 }
  const renegotiated = stream.renegotiate({ requestCert: true })
  await turn()
  await turn()
  t.match(engine.asked, [{ requestCert: true }])
  engine.authentications.sent++
  engine.authentications.answered++
  engine.onReady?.()
  t.match(await renegotiated, { kind: 'post-handshake-auth', authorized: true })
})

t.test('each message of the peer is reported once, until the stream is destroyed', async (t) => {
  const { engine, stream, reports } = modern(t, { peerLimit: { max: 3, windowMs: 1000 } })
  await turn()
  engine.keyUpdates.byPeer = 2
  engine.authentications = { sent: 0, answered: 0, byPeer: 1 }
  engine.onReady?.()
  engine.onReady?.()
  const all = ['key-update (peer)', 'key-update (peer)', 'post-handshake-auth (peer)']
  t.strictSame(reports, all)
  const waiting = outcome(stream.renegotiate())
  engine.keyUpdates.byPeer = 5
  engine.onReady?.()
  t.match(await waiting, { code: 'ERR_RENEGOTIATION_CLOSED' })
  t.strictSame(reports, all)
})
