// On a server, a TLSSocket's `servername` follows the SNI of the client's last ClientHello, though SNICallback, which
// chose the certificate by the first, is not asked again, and the handshake is not even complete.
//
// A server that serves several names, and tells by `socket.servername` which of them a request is for, can so be made to
// believe another than that which it chose the context (and with it, say, the CA for client certificates) by.
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import { client, server as identity } from './certificates.mjs'
import { RawClient } from './raw-client.mjs'

const WAIT_MS = 2000

const asked = []
const context = tls.createSecureContext({ ...identity, maxVersion: 'TLSv1.2' })
const server = tls.createServer({
  ...identity,
  maxVersion: 'TLSv1.2',
  SNICallback(servername, done) {
    asked.push(servername)
    done(null, context)
  },
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')

const accepted = once(server, 'secureConnection')
const peer = await RawClient.connect(server.address().port, client)
await peer.handshake({ servername: 'public.example' })
const [socket] = await accepted
socket.on('error', () => {}).resume()
const before = socket.servername
console.log('after the first handshake:     ', { servername: before, asked })

let midway = before
try {
  await peer.begin({ servername: 'private.example' })
  midway = socket.servername
  for (let waited = 0; waited < WAIT_MS && midway === before; waited += 50) {
    await sleep(50)
    midway = socket.servername
  }
  console.log('in the middle of the second:   ', { servername: midway, asked })
  peer.finish()
  peer.flush()
  await peer.finished()
} catch (error) {
  // Node 22.23.5 and 24.22.3 refuse such a handshake with the alert illegal_parameter (47).
  console.log('the second was refused:        ', error.message)
}
await sleep(100)
const after = socket.servername
console.log('after the second:              ', { servername: after, asked })

const shown = [midway, after].some((name) => name !== before && !asked.includes(name))
console.log(
  shown
    ? `DEFECT: servername became a name that SNICallback was never asked for (Node ${process.version})`
    : `no defect: servername is the one that the context was chosen by (Node ${process.version})`,
)
peer.destroy()
socket.destroy()
server.close()
process.exitCode = shown ? 0 : 1
