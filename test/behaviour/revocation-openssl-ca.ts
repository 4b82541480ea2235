/* Lists of an authority that the program openssl runs. The clients are processes of their own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { RenegotiationTLSSocket } from '../../src/index.ts'
import { skip } from '../fixtures/openssl.ts'
import { OwnAuthority } from '../fixtures/own-authority.ts'
import { Station, stacks } from '../fixtures/plants.ts'
import type { RemoteOptions } from '../fixtures/remote-station.ts'
import { nextError } from '../fixtures/settled.ts'

const program = fileURLToPath(new URL('../fixtures/remote-station.js', import.meta.url))

/** A client in another process, and the stream of the server. */
async function remote(t: Test, { server }: Station, kind: RemoteOptions['with'], options: RemoteOptions['connect']) {
  const accepted = once(server, 'secureConnection') as Promise<[RenegotiationTLSSocket]>
  const { port } = server.address() as AddressInfo
  const connect = { port, host: '127.0.0.1', servername: 'localhost', ...options }
  const child: ChildProcess = spawn(process.execPath, [program, JSON.stringify({ with: kind, connect })], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill())
  ;(child.stdout as Readable).resume()
  const [stream] = await accepted
  t.teardown(() => void stream.on('error', () => {}).destroy())
  return { stream, exited: once(child, 'exit') }
}

/** Sends random bytes while `busy`, and returns whether exactly these come back. */
async function echoes(stream: RenegotiationTLSSocket, busy: Promise<unknown>): Promise<boolean> {
  const [sent, received] = [createHash('sha256'), createHash('sha256')]
  let isOver = false
  void busy.finally(() => {
    isOver = true
  })
  stream.on('data', (chunk: Buffer) => void received.update(chunk))
  const ended = once(stream, 'end')
  while (!isOver) {
    const chunk = randomBytes(10_000)
    sent.update(chunk)
    if (!stream.write(chunk)) await once(stream, 'drain')
    await new Promise((resolve) => setImmediate(resolve))
  }
  stream.end()
  await ended
  return sent.digest('hex') === received.digest('hex')
}

for (const stack of stacks) {
  // Plain sockets of Node.js lose the connection if data meets a handshake that they answer, so they have TLS 1.3 here.
  const kinds = stack.version === 'TLSv1.3' ? (['plain', 'OpenSSL'] as const) : (['node:tls', 'OpenSSL'] as const)
  for (const kind of kinds) {
    t.test(`${stack.name}, clients with ${kind}: only the revoked of three ends`, { skip }, async (t) => {
      const authority = new OwnAuthority(t)
      const ca = authority.cert
      const plant = await Station.open(t, stack, { ...authority.issue('localhost'), ca })
      const only = { ca, minVersion: stack.version, maxVersion: stack.version }
      const names = ['first', 'second', 'third']
      const all = await Promise.all(names.map((name) => authority.issue(name)))
      const stations: Awaited<ReturnType<typeof remote>>[] = []
      for (const pki of all) stations.push(await remote(t, plant, kind, { ...pki, ...only }))
      const [first, second, third] = stations as [(typeof stations)[0], (typeof stations)[0], (typeof stations)[0]]

      const empty = await plant.server.updateCRL(authority.list())
      t.match(empty, { checked: 3, revoked: 0, failed: 0 })
      authority.revoke('second')
      second.stream.resume()
      const failed = nextError(second.stream)
      const update = plant.server.updateCRL(authority.list())
      const whole = Promise.all([echoes(first.stream, update), echoes(third.stream, update)])
      t.match(await update, { checked: 3, revoked: 1, failed: 0 })
      t.match(await failed, { code: 'ERR_RENEGOTIATION_REVOKED' })
      t.same(await whole, [true, true])
      await Promise.all([first, second, third].map(({ exited }) => exited))
    })
  }
}

t.test('a list of which a byte is changed is refused, and so is the list before', { skip }, async (t) => {
  const authority = new OwnAuthority(t)
  const plant = await Station.open(t, stacks[0] as (typeof stacks)[0], {
    ...authority.issue('localhost'),
    ca: authority.cert,
  })
  const [old, young] = [authority.list(), authority.list()]
  await plant.server.updateCRL(young)
  await t.rejects(plant.server.updateCRL(old), { code: 'ERR_CRL_OUTDATED' })
  const bytes = Buffer.from(young.replace(/-----.*-----/g, ''), 'base64')
  bytes[bytes.length - 1] = (bytes[bytes.length - 1] as number) ^ 1
  await t.rejects(plant.server.updateCRL(bytes), { code: 'ERR_CRL_BAD_SIGNATURE' })
  await t.rejects(plant.server.updateCRL(new OwnAuthority(t).list()), { code: 'ERR_CRL_BAD_SIGNATURE' })
})
