/*
 * npm run example -- cipher-rekey
 *
 * duplexTransport() with a way of renegotiating of one's own: a home-made
 * cipher (cipher-stream.ts) over TCP on loopback, whose keys are changed in the
 * middle of traffic, 50 times from each end. First without RenegotiationDuplex,
 * where the first change of keys is the end.
 */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import { finished, pipeline } from 'node:stream/promises'
import { duplexTransport, RenegotiationDuplex } from 'renegotiation-duplex'
import { CipherStream } from './cipher-stream.ts'

const REKEYS = 50

console.log('1. The cipher as it is: both ends send, and one changes the keys.')
{
  const [client, server] = await connect()
  const errors: string[] = []
  for (const end of [client, server]) {
    end.resume().on('error', (error) => errors.push(error.message))
    pipeline(chunks(), end).catch(() => {})
  }
  await once(client, 'data')
  await client.rekey().catch(() => {})
  // Not by once() of node:events, which rejects on the error that is to come.
  await Promise.all([client, server].map((end) => end.closed || new Promise((resolve) => end.once('close', resolve))))
  console.log(`   It is lost: ${errors.join(', ')}.\n`)
}

console.log(`2. The same under RenegotiationDuplex: both ends send, and each changes the keys ${REKEYS} times.`)
const [client, server] = (await connect()).map(wrap) as [RenegotiationDuplex, RenegotiationDuplex]
let toGo = 2 * REKEYS
const [toServer, toClient] = await Promise.all([run(client), run(server)])
const rows = {
  'client → server': { bytes: toServer.sentBytes, intact: toServer.sent === toClient.received },
  'server → client': { bytes: toClient.sentBytes, intact: toClient.sent === toServer.received },
}
console.table(rows)
const { renegotiations } = client.counters
const isRight = Object.values(rows).every(({ intact }) => intact) && renegotiations === server.counters.renegotiations
const fewer = renegotiations < 2 * REKEYS ? ' (where both ends began at once, it was one)' : ''
console.log(
  `   ${renegotiations} changes of keys${fewer}, all proven. ${isRight ? 'All is right.' : 'Something is WRONG.'}`,
)
process.exitCode = isRight ? 0 : 1

/** This is all that it takes. */
function wrap(cipher: CipherStream): RenegotiationDuplex {
  const transport = duplexTransport(cipher, {
    renegotiate: () => cipher.rekey(),
    peerHandshakes: ({ started, done }) => cipher.on('rekeying', started).on('rekeyed', done),
    session: () => ({ keys: cipher.fingerprint }),
  })
  return new RenegotiationDuplex(transport)
}

/** Sends, receives and changes keys, until all is done at both ends. */
async function run(stream: RenegotiationDuplex) {
  const sent = createHash('sha256')
  const received = createHash('sha256')
  let sentBytes = 0
  stream.on('data', (chunk) => received.update(chunk))
  const rekey = async () => {
    for (let i = 0; i < REKEYS; i++, toGo--) {
      const { verified } = await stream.renegotiate()
      if (!verified) throw new Error('the keys are the old ones')
      for (let chunks = 20 * Math.random(); chunks > 0; chunks--) await once(stream, 'data')
    }
  }
  async function* counted() {
    for (const chunk of chunks()) {
      if (toGo === 0) return
      sent.update(chunk)
      sentBytes += chunk.length
      yield chunk
    }
  }
  await Promise.all([pipeline(counted(), stream), rekey(), finished(stream)])
  return { sent: sent.digest('hex'), received: received.digest('hex'), sentBytes }
}

/** Without end. */
function* chunks(): Generator<Buffer> {
  const bytes = randomBytes(256 * 1024)
  for (;;) yield bytes.subarray(Math.floor(Math.random() * bytes.length))
}

/** Two ciphers over one TCP connection on loopback. */
async function connect(): Promise<[CipherStream, CipherStream]> {
  const host = '127.0.0.1'
  const listening = net.createServer({ noDelay: true, allowHalfOpen: true }).listen(0, host)
  await once(listening, 'listening')
  const { port } = listening.address() as AddressInfo
  const connecting = net.connect({ host, port, noDelay: true, allowHalfOpen: true })
  const [accepted] = await once(listening, 'connection')
  listening.close()
  return [new CipherStream(connecting), new CipherStream(accepted)]
}
