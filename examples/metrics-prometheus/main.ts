/*
 * npm run example -- metrics-prometheus
 *
 * Shows the renegotiations of a process to Prometheus, with prom-client: from
 * the counters of the streams, and from the diagnostics channels.
 */
import { subscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { Counter, Gauge, Histogram, register } from 'prom-client'
import type { RenegotiationTLSSocket, RenegotiationTrace, SecurityEvent } from 'renegotiation-duplex'
import { RENEGOTIATIONS, traffic } from '../traffic.ts'

const renegotiations = new Counter({
  name: 'tls_renegotiations_total',
  help: 'Renegotiations that are over, by who began them and how they ended.',
  labelNames: ['origin', 'outcome'],
})
const handshakeTime = new Histogram({
  name: 'tls_renegotiation_handshake_seconds',
  help: 'How long the handshakes took.',
  buckets: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3],
})
const securityEvents = new Counter({
  name: 'tls_security_events_total',
  help: 'Security events by name. An alert for those of severity "alert" is a good start.',
  labelNames: ['name', 'severity'],
})

// An outcome is a code, so there are few of them. The address of a peer would make a new time series for each.
subscribe('tracing:renegotiation-duplex:renegotiate:asyncEnd', (message) => {
  const { origin, result, error } = message as RenegotiationTrace
  renegotiations.inc({ origin, outcome: (error as NodeJS.ErrnoException | undefined)?.code ?? 'ok' })
  if (result !== undefined) handshakeTime.observe(result.handshakeMs / 1000)
})
subscribe('renegotiation-duplex:security', (message) => {
  const { name, severity } = message as SecurityEvent
  securityEvents.inc({ name, severity })
})

const streams = new Set<RenegotiationTLSSocket>()
const sum = (of: (stream: RenegotiationTLSSocket) => number) =>
  [...streams].reduce((all, stream) => all + of(stream), 0)
/** Milliseconds of the streams that have ended. A counter must not become less when one has. */
let heldBefore = 0
const held = ({ counters: { hold } }: RenegotiationTLSSocket) => hold.count * hold.meanMs
new Counter({
  name: 'tls_renegotiation_hold_seconds_total',
  help: 'How long writes were held, in all.',
  collect() {
    this.reset()
    this.inc((heldBefore + sum(held)) / 1000)
  },
})
new Gauge({
  name: 'tls_streams',
  help: 'Streams that are open.',
  collect() {
    this.set(streams.size)
  },
})
new Gauge({
  name: 'tls_renegotiation_held_bytes',
  help: 'What the streams have taken from the application and not yet given to TLS.',
  collect() {
    this.set(sum(({ heldBytes }) => heldBytes))
  },
})
new Gauge({
  name: 'tls_oldest_keys_seconds',
  help: 'Age of the oldest keys in use.',
  collect() {
    this.set(Math.max(0, ...[...streams].map(({ counters }) => counters.keys.ageMs)) / 1000)
  },
})

function watch(stream: RenegotiationTLSSocket): void {
  streams.add(stream)
  stream.once('close', () => {
    streams.delete(stream)
    heldBefore += held(stream)
  })
}

const endpoint = http.createServer(async (_request, response) => {
  response.setHeader('Content-Type', register.contentType)
  response.end(await register.metrics())
})
endpoint.listen(0, '127.0.0.1')
await once(endpoint, 'listening')

await traffic(watch)

const { port } = endpoint.address() as AddressInfo
const page = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
endpoint.close()
console.log(page)

// The server sees all renegotiations as the peer's; the clients of this process see them as their own.
const isRight =
  [
    `tls_renegotiations_total{origin="peer",outcome="ok"} ${2 * RENEGOTIATIONS}`,
    `tls_renegotiations_total{origin="local",outcome="ok"} ${2 * RENEGOTIATIONS}`,
    'tls_renegotiations_total{origin="peer",outcome="ERR_RENEGOTIATION_LIMIT"} 1',
    'tls_security_events_total{name="limit-exceeded",severity="alert"} 1',
    'tls_security_events_total{name="certificate-missing",severity="error"} 1',
    'tls_streams 0',
  ].every((line) => page.includes(line)) && /^tls_renegotiation_hold_seconds_total 0\.\d+$/m.test(page)
console.log(isRight ? 'All is right.' : 'Something is WRONG.')
process.exitCode = isRight ? 0 : 1
