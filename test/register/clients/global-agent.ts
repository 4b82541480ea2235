import { once } from 'node:events'
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { HOOK, type ProgramOptions, pathOf } from '../../fixtures/program.ts'
import { SEED } from '../../fixtures/random.ts'
import { directory } from '../../fixtures/servers.ts'
import { allIsRight, isLost, reportOf, runWeb } from '../../fixtures/web-programs.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

/** An HTTP proxy for the method CONNECT. */
async function connectProxy(t: Test): Promise<{ url: string; connections: () => number }> {
  let connections = 0
  const sockets = new Set<net.Socket>()
  const server = http.createServer().on('connect', ({ url }, client: net.Socket, head) => {
    connections++
    const { hostname, port } = new URL(`tcp://${url}`)
    const far = net.connect(Number(port), hostname, () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      far.write(head)
      // Not pipeline(), which destroys both when the server has closed, even if data is still on its way to the client.
      far.pipe(client).pipe(far)
    })
    client.on('error', () => {}).on('close', () => far.destroy())
    far.on('error', () => client.destroy())
    for (const socket of [client, far]) sockets.add(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, connections: () => connections }
}

/** Two requests through a proxy, each on a connection of its own. */
async function run(t: Test, hook: boolean, client: ProgramOptions) {
  const proxy = await connectProxy(t)
  const result = await runWeb(t, {
    server: { name: 'https-server', hook },
    client: {
      name: 'https-client',
      ...client,
      env: { GLOBAL_AGENT_HTTP_PROXY: proxy.url, NODE_EXTRA_CA_CERTS: directory(t).ca },
    },
  })
  return { result, connections: proxy.connections() }
}

const setup = pathOf('global-agent')
for (const [order, modules] of Object.entries({ after: [setup, HOOK], before: [HOOK, setup] })) {
  t.test(`if the hook is loaded ${order} global-agent, https through its proxy is guarded`, async (t) => {
    const before = modules.flatMap((module) => ['--import', module])
    const { result, connections } = await run(t, true, { hook: false, before })
    // global-agent does not pass on the certificates in the options of a request.
    allIsRight(t, result, { connections: 2, who: 'no certificate' })
    t.equal(connections, 2)
    t.strictSame(result.stderr, { server: reportOf(2), client: reportOf(2) })
  })
}

t.test('without the hook, https through the proxy of global-agent loses the connection (control)', async (t) => {
  const plain = () => run(t, false, { hook: false, before: ['--import', setup] })
  let { result } = await plain()
  // The proxy may delay the data so that none meets the handshake.
  for (let i = 1; i < 5 && result.error === null; i++) ({ result } = await plain())
  isLost(t, result, /EPROTO|ECONNRESET/)
})
