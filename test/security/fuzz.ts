import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import tls from 'node:tls'
import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { Random } from '../../src/compliance/random.ts'
import { createServer, type RenegotiationOptions, type RenegotiationTLSSocket, wrapTLSSocket } from '../../src/index.ts'
import { alice, facts, mallory, otherServer, selfMade, server as serverCredentials } from '../fixtures/attack.ts'
import * as pki from '../fixtures/pki.ts'
import { SEED } from '../fixtures/random.ts'
import { closed } from '../fixtures/settled.ts'
import { Extension, HandshakeType } from '../fixtures/tls12/constants.ts'
import { ephemeralKey } from '../fixtures/tls12/credentials.ts'
import type { Listener } from '../fixtures/tls12/listener.ts'
import { type Disguises, randomHandshake, randomMove } from '../fixtures/tls12/moves.ts'
import { parseServerName } from '../fixtures/tls12/parse.ts'
import { RawPeer } from '../fixtures/tls12/peer.ts'

/*
 * A malicious peer combines messages at random: honest handshakes, handshakes with something wrong, single messages,
 * records, alerts and bytes out of place. Whatever it does, no identity, protocol, name or key is ever shown that was
 * not judged, no limit is exceeded, and everything settles.
 *
 * FUZZ_LIVES=100000 runs more connections than the default; SEED=... repeats a run.
 */
const LIVES = Number(process.env['FUZZ_LIVES'] ?? 2000)
const PEER_LIMIT = 2
const HARD_LIMIT = 40_000
/** How many bytes may still be in transit when the limit is reached. */
const RECORD = 4096

t.setTimeout(120_000 + LIVES * 100)
t.comment(`SEED=${SEED} FUZZ_LIVES=${LIVES}`)

const common: RenegotiationOptions = {
  peerLimit: { max: PEER_LIMIT, windowMs: 600_000 },
  rekey: { hardLimit: { bytes: HARD_LIMIT } },
}
const variants: RenegotiationOptions[] = [
  common,
  { ...common, allowIdentityChange: true },
  { ...common, requireExtendedMasterSecret: true },
  { ...common, requireExtendedMasterSecret: 'always' },
]
const ecdh = ephemeralKey()

/** A connection with one end under attack, and the other end attacking. */
interface Life {
  random: Random
  raw: RawPeer
  stream: RenegotiationTLSSocket
  options: RenegotiationOptions
  disguises: Disguises
}

/** Servers of each variant, with a slow session store and with none. */
async function servers() {
  const listening: { server: tls.Server; options: RenegotiationOptions }[] = []
  for (const options of variants) {
    for (const isSlow of [false, true]) {
      const server = createServer({
        ...pki.server,
        ca: pki.ca,
        maxVersion: 'TLSv1.2',
        requestCert: true,
        rejectUnauthorized: false,
        ALPNProtocols: ['http/1.1'],
        renegotiation: options,
      })
      if (isSlow) {
        server.on('newSession', (_id: Buffer, _data: Buffer, stored: () => void) => void setImmediate(stored))
      }
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      t.teardown(() => server.close())
      listening.push({ server, options })
    }
  }
  return listening
}

async function serverUnderAttack(random: Random, all: Awaited<ReturnType<typeof servers>>): Promise<Life | undefined> {
  const { server, options } = all[random.below(all.length)] as (typeof all)[number]
  const { port } = server.address() as AddressInfo
  const raw = await RawPeer.connect({ port, servername: 'localhost', alpn: ['http/1.1'], ecdh, ...mallory })
  const accepted = new Promise<RenegotiationTLSSocket | undefined>((resolve) => {
    server.once('secureConnection', resolve as (socket: tls.TLSSocket) => void)
    void raw.closed.then(() => resolve(undefined))
  })
  await raw.handshake().catch(() => {})
  const stream = await accepted
  server.removeAllListeners('secureConnection')
  return (
    stream && {
      random,
      raw,
      stream,
      options,
      disguises: { own: [mallory, mallory, selfMade], stolen: [{ certificates: alice.certificates }] },
    }
  )
}

const secureContext = tls.createSecureContext({ ...pki.client, ca: pki.ca, maxVersion: 'TLSv1.2' })

async function clientUnderAttack(random: Random, listener: Listener<RawPeer>): Promise<Life> {
  const options = variants[random.below(variants.length)] as RenegotiationOptions
  const connection = { port: listener.port, host: '127.0.0.1', servername: 'localhost', secureContext }
  const plain = tls.connect({ ...connection, ALPNProtocols: ['http/1.1'] })
  const secure = once(plain, 'secureConnect')
  const raw = await listener.accept()
  await raw.handshake()
  await secure
  const own = [serverCredentials, serverCredentials, { key: mallory.key, certificates: selfMade.certificates }]
  return {
    random,
    raw,
    stream: wrapTLSSocket(plain, options),
    options,
    disguises: { own, stolen: [{ certificates: otherServer.certificates }] },
  }
}

/** Lets the two talk for a moment, or until the connection is gone. */
async function turns(life: Life, count: number): Promise<void> {
  for (let i = 0; i < count && !life.stream.closed; i++) await turn()
}

/** Lets the attacker make random moves. Returns a list of everything that went wrong. */
async function live(life: Life): Promise<string[]> {
  const { random, raw, stream, options, disguises } = life
  const wrong: string[] = []
  let judged = facts(stream)
  const first = { servername: stream.servername, alpnProtocol: stream.alpnProtocol }
  const firstName = stream.getPeerCertificate()?.subject?.CN
  let verdicts = 0
  let failedBefore = 0
  /** Takes over the facts of a handshake that was judged good. Called often: `renegotiated` comes later than the verdict. */
  const learn = () => {
    const { renegotiations, failed } = stream.counters
    // A resumed handshake without the required certificate counts as failed, though it has new keys.
    const now = renegotiations + (stream.destroyed ? failedBefore : failed)
    if (now === verdicts) return
    verdicts = now
    failedBefore = failed
    judged = facts(stream)
    sinceJudged = 0
    if (judged['getPeerCertificate'] === null) return
    const name = stream.getPeerCertificate()?.subject?.CN
    if (name !== firstName && options.allowIdentityChange !== true) wrong.push(`the peer became ${name}`)
    if (name === 'client') wrong.push('mallory became alice')
    if (name === 'rogue client' && stream.authorized) wrong.push('a self-signed certificate is authorized')
    if (stream.servername !== first.servername) wrong.push('SNI has changed')
    const asked = raw.role === 'client' && raw.state.sent.has(HandshakeType.Finished) && raw.state.clientHello
    if (asked && parseServerName(asked.extensions.get(Extension.serverName)) === 'other.example') {
      if (options.allowIdentityChange !== true) wrong.push('a handshake for another server was judged good')
    }
    if (stream.alpnProtocol !== first.alpnProtocol) wrong.push('ALPN has changed')
    if (stream.counters.byPeer > PEER_LIMIT)
      wrong.push(`${stream.counters.byPeer} handshakes of the peer were accepted`)
  }
  const look = (when: string) => {
    learn()
    const said = facts(stream)
    // Like a socket, a stream that was destroyed while no handshake was in progress has no facts.
    if (stream.destroyed && said['getPeerCertificate'] === null) return
    for (const name of Object.keys(judged)) {
      if (!isDeepStrictEqual(said[name], judged[name]))
        wrong.push(`${name} has changed ${when} without a judged handshake`)
    }
  }
  const errors: string[] = []
  let settled = 0
  let asked = 0
  let called = 0
  let written = 0
  let received = 0
  let sinceJudged = 0
  stream.on('error', (error: NodeJS.ErrnoException) => errors.push(error.code ?? error.message))
  stream.on('data', (chunk: Buffer) => {
    for (const byte of chunk) if (byte !== received++ % 251) wrong.push('data was changed')
    sinceJudged += chunk.length
    if (sinceJudged > HARD_LIMIT + RECORD) wrong.push(`${sinceJudged} bytes were accepted under the same keys`)
    look('at data')
  })
  stream.on('renegotiating', () => look('when a handshake began'))
  stream.on('renegotiated', (report) => {
    look('when a handshake was over')
    const isSafe = report.extendedMasterSecret === true
    if (options.requireExtendedMasterSecret && !isSafe) wrong.push('there is no extended master secret')
  })
  let sent = 0
  const sendData = (bytes: number) => raw.sendData(Buffer.from(Array.from({ length: bytes }, () => sent++ % 251)))

  for (let move = 1 + random.below(8); move > 0 && !stream.closed; move--) {
    switch (random.below(6)) {
      case 0:
        sendData(1 + random.below(RECORD))
        break
      case 1:
        randomMove(random, raw)
        break
      case 2:
        asked++
        stream.renegotiate(raw.role === 'client' && random.below(2) ? { requestCert: true } : {}).then(
          () => settled++,
          () => settled++,
        )
        break
      case 3:
        written++
        stream.write(Buffer.alloc(1 + random.below(RECORD)), () => called++)
        break
      default:
        void (random.below(4) ? raw.handshake(randomHandshake(random, raw, disguises)) : raw.renegotiate()).catch(
          () => {},
        )
        await turns(life, random.below(30))
    }
    await turns(life, random.below(10))
    look('at some time')
  }
  if (random.below(3) === 0) for (let i = 0; i < 30; i++) sendData(RECORD)
  await turns(life, random.below(10))
  if (random.below(2)) raw.reset()
  else raw.close()
  await Promise.race([closed(stream), turns(life, 50)])
  raw.destroy()
  stream.destroy()
  await Promise.all([closed(stream), raw.closed])
  await turn()
  look('at the end')
  if (settled !== asked) wrong.push(`${settled} of ${asked} renegotiations settled`)
  if (called !== written) wrong.push(`${called} of ${written} write callbacks came`)
  if (errors.length > 1) wrong.push(`several errors: ${errors}`)
  tally(errors[0] ?? 'none')
  return wrong
}

const endings = new Map<string, number>()
function tally(ending: string): void {
  endings.set(ending, (endings.get(ending) ?? 0) + 1)
}

t.test('a peer that sends random messages gains nothing: no unjudged facts, no exceeded limits', async (t) => {
  const uncaught: unknown[] = []
  process.setUncaughtExceptionCaptureCallback((error) => uncaught.push(error))
  t.teardown(() => process.setUncaughtExceptionCaptureCallback(null))
  const all = await servers()
  const listener = await RawPeer.listen({ ecdh, alpn: ['http/1.1'], ...serverCredentials }, t)
  let lived = 0
  for (let seed = SEED; seed < SEED + LIVES; seed++) {
    const random = new Random(seed)
    const life = random.below(2) ? await serverUnderAttack(random, all) : await clientUnderAttack(random, listener)
    if (life === undefined) continue
    lived++
    const wrong = await live(life)
    if (wrong.length > 0) t.fail(`SEED=${seed} FUZZ_LIVES=1: ${wrong.slice(0, 5).join('; ')}`)
    if (uncaught.length > 0) t.fail(`SEED=${seed} FUZZ_LIVES=1: uncaught`, { uncaught: uncaught.splice(0) })
  }
  t.ok(lived > LIVES / 2, `${lived} connections were attacked`)
  t.comment(`errors at the end: ${JSON.stringify(Object.fromEntries(endings))}`)
})
