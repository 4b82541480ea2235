import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net, { type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { OpenSSLEngine } from '../../src/openssl/engine.ts'
import { Wire } from '../../src/openssl/wire.ts'
import { clientEngine, clientIdentity, EngineEnd, serverEngine } from '../fixtures/engine-end.ts'
import { server as serverIdentity } from '../fixtures/pki.ts'

/* The engine against the openssl program, whose K requests a key update, and k only makes one. */

const skip = spawnSync('openssl', ['version']).status === 0 ? false : 'there is no openssl program here'

function files(t: Test): { cert: string; key: string; clientCert: string; clientKey: string } {
  const directory = mkdtempSync(join(tmpdir(), 'engine-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const put = (name: string, text: string) => {
    const path = join(directory, name)
    writeFileSync(path, text)
    return path
  }
  return {
    cert: put('cert.pem', serverIdentity.cert),
    key: put('key.pem', serverIdentity.key),
    clientCert: put('client-cert.pem', clientIdentity.cert),
    clientKey: put('client-key.pem', clientIdentity.key),
  }
}

function program(t: Test, args: string[]): ChildProcess {
  const child = spawn('openssl', args, { stdio: ['pipe', 'pipe', 'ignore'] })
  t.teardown(() => void child.kill())
  return child
}

function wired(t: Test, engine: OpenSSLEngine, socket: Socket): EngineEnd {
  const end = new EngineEnd(engine)
  new Wire(engine, socket)
  t.teardown(() => engine.destroy())
  end.pump()
  return end
}

/** The program answers with the first data that it sends after it has read the request. */
async function answered(child: ChildProcess, end: EngineEnd): Promise<void> {
  for (let bytes = 5; end.engine.keyUpdates?.answered === 0; bytes += 5) {
    child.stdin?.write('data\n')
    await end.until(() => end.received.bytes >= bytes)
  }
}

t.test('s_server requests and answers key updates', { skip }, async (t) => {
  const { cert, key } = files(t)
  const child = program(t, ['s_server', '-accept', '127.0.0.1:0', '-cert', cert, '-key', key, '-tls1_3'])
  let printed = ''
  while (!/ACCEPT .*:\d+\n/.test(printed)) printed += await once(child.stdout as NodeJS.EventEmitter, 'data')
  const port = Number(/ACCEPT .*:(\d+)/.exec(printed)?.[1])
  const end = wired(t, clientEngine({ version: 'TLSv1.3' }), net.connect(port, '127.0.0.1'))
  await end.until(() => !end.engine.handshaking)
  const { keyUpdates } = end.engine
  child.stdin?.write('K\n')
  await end.until(() => keyUpdates?.byPeer === 1)
  child.stdin?.write('k\n')
  await end.until(() => keyUpdates?.byPeer === 2)
  end.engine.renegotiate()
  t.match(keyUpdates, { sent: 1, answered: 0 })
  await answered(child, end)
  t.match(keyUpdates, { sent: 1, answered: 1, byPeer: 2 })
})

t.test('s_client answers key updates and a request for its certificate', { skip }, async (t) => {
  const { clientCert, clientKey } = files(t)
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const args = ['s_client', '-connect', `127.0.0.1:${port}`, '-tls1_3', '-enable_pha']
  const child = program(t, [...args, '-cert', clientCert, '-key', clientKey])
  child.stdout?.resume()
  const [socket] = (await once(server, 'connection')) as [Socket]
  server.close()
  const end = wired(t, serverEngine({ version: 'TLSv1.3' }), socket)
  await end.until(() => !end.engine.handshaking)
  end.engine.renegotiate({ requestCert: true })
  await end.until(() => end.engine.authentications?.answered === 1)
  t.match(end.engine.session(), { authorized: true })
  child.stdin?.write('K\n')
  await end.until(() => end.engine.keyUpdates?.byPeer === 1)
  end.engine.renegotiate()
  await answered(child, end)
  t.match(end.engine.keyUpdates, { sent: 1, answered: 1, byPeer: 1 })
})
