/*
 * The other ends of the connections: they can renegotiate, have no schedule,
 * and make the traffic.
 */
import { once } from 'node:events'
import tls from 'node:tls'
import { type RenegotiationTLSSocket, wrapTLSSocket } from 'renegotiation-duplex'
import { ca } from '../examples/certificates.ts'
import { type Load, MESSAGE_BYTES, type ToClient } from './scale-messages.ts'

/** How many connections are made at once. */
const AT_ONCE = 64
/** How many connections always have a message on its way, with full load. */
const BUSY = 100
const MESSAGE = Buffer.alloc(MESSAGE_BYTES, 'x')

const streams: RenegotiationTLSSocket[] = []
let load: Load = 1000

process.on('disconnect', () => process.exit())
process.on('message', async (message: ToClient) => {
  if ('go' in message) {
    if (load === 'full') flatOut()
    else steadily(load)
    process.send?.('going')
    return
  }
  load = message.connect.load
  const secureContext = tls.createSecureContext({ ca })
  let left = message.connect.connections
  const one = async () => {
    while (left-- > 0) streams.push(await connect(message.port, secureContext))
  }
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, one))
    process.send?.('connected')
  } catch (error) {
    // For example EMFILE, if the limit of file descriptors is too low.
    process.send?.({ error: `After ${streams.length} connections: ${(error as Error).message}` })
  }
})
process.send?.('ready')

async function connect(port: number, secureContext: tls.SecureContext): Promise<RenegotiationTLSSocket> {
  const options = { host: '127.0.0.1', port, servername: 'localhost', secureContext, maxVersion: 'TLSv1.2' as const }
  const socket = tls.connect(options)
  await once(socket, 'secureConnect')
  socket.setNoDelay()
  const stream = wrapTLSSocket(socket)
  stream.on('error', gone).resume()
  return stream
}

/** The server counts them, while it measures. */
function gone(): void {}

/** The connections take turns. */
function steadily(perSecond: number): void {
  const startedAt = performance.now()
  let sent = 0
  setInterval(() => {
    const due = ((performance.now() - startedAt) / 1000) * perSecond
    for (; sent < due; sent++) streams[sent % streams.length]?.write(MESSAGE)
  }, 5)
}

function flatOut(): void {
  const every = Math.max(1, Math.floor(streams.length / BUSY))
  for (let index = 0; index < streams.length; index += every) {
    const stream = streams[index] as RenegotiationTLSSocket
    let bytes = 0
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes % MESSAGE_BYTES === 0) stream.write(MESSAGE)
    })
    stream.write(MESSAGE)
  }
}
