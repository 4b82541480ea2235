import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import http2 from 'node:http2'
import type { AddressInfo, Server } from 'node:net'
import t, { type Test } from 'tap'
import * as pki from '../../fixtures/pki.ts'
import { type ProgramOptions, program } from '../../fixtures/program.ts'
import type { FetchInput, FetchResult } from '../../fixtures/programs/fetch.ts'
import { SEED } from '../../fixtures/random.ts'
import { renegotiatingProxy } from '../../fixtures/renegotiating-proxy.ts'
import { directory } from '../../fixtures/servers.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)
const BYTES = 4_000_000
const REQUESTS = 3

async function run(t: Test, port: number, { hook, ...more }: ProgramOptions) {
  const input: FetchInput = { port, seed: SEED, requests: REQUESTS, bytes: BYTES }
  const env = { RENEGOTIATION_REPORT: '1', NODE_EXTRA_CA_CERTS: directory(t).ca, ...more.env }
  const client = program(t, 'fetch', { hook, input, env })
  return { ...(await client.told<FetchResult>()), ...(await client.ended) }
}

/** Sends the data of each request back. */
function echo(request: IncomingMessage, response: ServerResponse): void {
  response.setHeader('x-http-version', request.httpVersion)
  request.pipe(response)
}

async function listen(t: Test, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

function allIsRight(t: Test, { exchanges, error }: FetchResult, version: string): void {
  t.equal(error, null)
  t.equal(exchanges.length, REQUESTS)
  for (const exchange of exchanges) {
    t.equal(exchange.sent.bytes, BYTES)
    t.strictSame(exchange.received, exchange.sent)
    t.equal(exchange.version, version)
  }
}

/** A client that offers HTTP/2 is left alone, whatever the server chooses. */
function report(): RegExp {
  return version === '1.1'
    ? /^renegotiation-duplex: \d sockets guarded, 0 left alone, /
    : /^renegotiation-duplex: 0 sockets guarded, \d left alone \(HTTP\/2: \d\), 0 renegotiations, 0 failed\n$/
}

/** The version of HTTP with a server that has both. Node 26 offers HTTP/2, and older ones do not. */
let version = ''

await t.test('under the hook, the built-in fetch() works with a server of HTTP/2, if it offers that', async (t) => {
  const server = http2.createSecureServer({ ...pki.server, allowHTTP1: true }, echo as never)
  const port = await listen(t, server)
  const plain = await run(t, port, { hook: false })
  version = plain.exchanges[0]?.version ?? ''
  t.comment(`HTTP/${version}`)
  allIsRight(t, plain, version)
  const result = await run(t, port, { hook: true })
  allIsRight(t, result, version)
  t.match(result.stderr, report())
})

t.test('under the hook, the built-in fetch() sends and gets 12 MB while the server renegotiates', async (t) => {
  const backend = await listen(t, http.createServer(echo))
  const proxy = await renegotiatingProxy(t, backend)
  const result = await run(t, proxy.port, { hook: true })
  allIsRight(t, result, '1.1')
  t.ok(proxy.renegotiations >= 30, `${proxy.renegotiations} renegotiations`)
  t.match(result.stderr, report())

  const plain = await renegotiatingProxy(t, backend)
  const { error } = await run(t, plain.port, { hook: false })
  t.comment(`without the hook: ${error ?? 'no error'}, ${plain.renegotiations} renegotiations`)
})

t.test('under the hook, the built-in fetch() renegotiates on a schedule', { skip: version !== '1.1' }, async (t) => {
  const backend = await listen(t, http.createServer(echo))
  const proxy = await renegotiatingProxy(t, backend, { everyBytes: Infinity })
  const result = await run(t, proxy.port, { hook: true, env: { RENEGOTIATION_REKEY: '5ms-20ms' } })
  allIsRight(t, result, '1.1')
  const [, count] =
    /^renegotiation-duplex: \d sockets guarded, 0 left alone, (\d+) renegotiations, /.exec(result.stderr) ?? []
  t.ok(Number(count) >= 3, result.stderr)
})
