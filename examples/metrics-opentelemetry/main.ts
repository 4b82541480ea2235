/*
 * npm run example -- metrics-opentelemetry
 *
 * Shows the renegotiations of a process by the API of OpenTelemetry: from the
 * counters of the streams, and from the diagnostics channels. An application
 * has a reader that exports to a collector; this one prints at the end.
 */
import { subscribe } from 'node:diagnostics_channel'
import { metrics, ValueType } from '@opentelemetry/api'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import type { RenegotiationTLSSocket, RenegotiationTrace, SecurityEvent } from 'renegotiation-duplex'
import { RENEGOTIATIONS, traffic } from '../traffic.ts'

const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
const provider = new MeterProvider({ readers: [new PeriodicExportingMetricReader({ exporter })] })
metrics.setGlobalMeterProvider(provider)

const meter = metrics.getMeter('renegotiation-duplex')
const handshakes = meter.createHistogram('tls.renegotiation.duration', {
  description: 'How long the handshakes of renegotiations took.',
  unit: 's',
  advice: { explicitBucketBoundaries: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3] },
})
const failures = meter.createCounter('tls.renegotiation.failures', {
  description: 'Renegotiations that failed.',
  unit: '{renegotiation}',
})
const events = meter.createCounter('tls.security.events', { description: 'Security events.', unit: '{event}' })
const holdTime = meter.createObservableCounter('tls.renegotiation.hold_time', {
  description: 'How long writes were held, in all.',
  unit: 's',
})
const open = meter.createObservableUpDownCounter('tls.streams', {
  description: 'Streams that are open.',
  unit: '{stream}',
  valueType: ValueType.INT,
})
const held = meter.createObservableUpDownCounter('tls.renegotiation.held', {
  description: 'What the streams have taken from the application and not yet given to TLS.',
  unit: 'By',
  valueType: ValueType.INT,
})

// The names of the attributes follow the semantic conventions: `error.type` has few values. The address of a peer would
// make a new time series for each.
subscribe('tracing:renegotiation-duplex:renegotiate:asyncEnd', (message) => {
  const { origin, result, error } = message as RenegotiationTrace
  if (result !== undefined) handshakes.record(result.handshakeMs / 1000, { 'tls.renegotiation.origin': origin })
  if (error !== undefined) {
    const { code = error.name } = error as NodeJS.ErrnoException
    failures.add(1, { 'tls.renegotiation.origin': origin, 'error.type': code })
  }
})
subscribe('renegotiation-duplex:security', (message) => {
  const { name, severity } = message as SecurityEvent
  events.add(1, { 'event.name': name, 'event.severity': severity })
})

const streams = new Set<RenegotiationTLSSocket>()
open.addCallback((result) => result.observe(streams.size))
/** Milliseconds of the streams that have ended. A counter must not become less when one has. */
let heldBefore = 0
const heldBy = ({ counters: { hold } }: RenegotiationTLSSocket) => hold.count * hold.meanMs
holdTime.addCallback((result) => {
  result.observe([...streams].reduce((sum, stream) => sum + heldBy(stream), heldBefore) / 1000)
})
held.addCallback((result) => result.observe([...streams].reduce((sum, { heldBytes }) => sum + heldBytes, 0)))

await traffic((stream) => {
  streams.add(stream)
  stream.once('close', () => {
    streams.delete(stream)
    heldBefore += heldBy(stream)
  })
})

await provider.forceFlush()
const points = exporter
  .getMetrics()
  .flatMap(({ scopeMetrics }) => scopeMetrics)
  .flatMap((scope) => scope.metrics)
  .flatMap(({ descriptor, dataPoints }) =>
    dataPoints.map(({ attributes, value }) => ({
      name: descriptor.name,
      unit: descriptor.unit,
      attributes: Object.values(attributes).join(' '),
      value: typeof value === 'number' ? value : value.count,
    })),
  )
await provider.shutdown()
console.table(points)

const valueAt = (name: string, attributes: string) =>
  points.find((point) => point.name === name && point.attributes === attributes)?.value
const isRight =
  valueAt('tls.renegotiation.duration', 'peer') === 2 * RENEGOTIATIONS &&
  valueAt('tls.renegotiation.failures', 'peer ERR_RENEGOTIATION_LIMIT') === 1 &&
  valueAt('tls.security.events', 'limit-exceeded alert') === 1 &&
  valueAt('tls.security.events', 'certificate-missing error') === 1 &&
  valueAt('tls.streams', '') === 0 &&
  Number(valueAt('tls.renegotiation.hold_time', '')) > 0
console.log(isRight ? 'All is right.' : 'Something is WRONG.')
process.exitCode = isRight ? 0 : 1
