// After a renegotiation, `alpnProtocol` of a TLSSocket is false on both ends, whatever was negotiated.
//
// The protocol of the connection has not changed. But a client sends ALPN only in its first ClientHello (OpenSSL:
// tls_construct_ctos_alpn() leaves it out of later ones), and _finishInit(), which runs after every handshake, sets
// `alpnProtocol` anew from what the last one brought.
import { once } from 'node:events'
import tls from 'node:tls'
import { ca, server as identity } from './certificates.mjs'

const server = tls.createServer({ ...identity, maxVersion: 'TLSv1.2', ALPNProtocols: ['http/1.1'] })
server.listen(0, '127.0.0.1')
await once(server, 'listening')

const accepted = once(server, 'secureConnection')
const client = tls.connect({
  host: '127.0.0.1',
  port: server.address().port,
  servername: 'localhost',
  ca,
  ALPNProtocols: ['http/1.1'],
})
const [[socket]] = await Promise.all([accepted, once(client, 'secureConnect')])
socket.resume()
client.resume()

function tell() {
  return { client: client.alpnProtocol, server: socket.alpnProtocol }
}

const before = tell()
console.log('after the first handshake:', before)
const secure = once(socket, 'secure')
await new Promise((resolve, reject) => {
  client.renegotiate({}, (error) => (error ? reject(error) : resolve()))
})
await secure
const after = tell()
console.log('after a renegotiation:    ', after)

const lost = Object.keys(after).filter((end) => after[end] !== before[end])
console.log(
  lost.length > 0
    ? `DEFECT: alpnProtocol changed on the ${lost.join(' and the ')} (Node ${process.version})`
    : `no defect: alpnProtocol is what was negotiated (Node ${process.version})`,
)
client.destroy()
socket.destroy()
server.close()
process.exitCode = lost.length > 0 ? 0 : 1
