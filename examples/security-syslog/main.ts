/*
 * npm run example -- security-syslog [host [port]]
 *
 * Forwards the security events of a process to syslog, in the format of
 * RFC 5424 over UDP (RFC 5426). Without arguments, it starts a receiver of its
 * own on loopback, and shows what that has got.
 */
import { createSocket } from 'node:dgram'
import { subscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import type { SecurityEvent } from 'renegotiation-duplex'
import { traffic } from '../traffic.ts'
import { rfc5424 } from './rfc5424.ts'

const [host, port = '514'] = process.argv.slice(2)

const received: string[] = []
const receiver = createSocket('udp4')
receiver.on('message', (line) => received.push(line.toString('ascii')))
receiver.bind(0, '127.0.0.1')
await once(receiver, 'listening')
const to = host === undefined ? receiver.address() : { address: host, port: Number(port) }

/** A hostile client can cause an event with each connection. More than this is not passed on. */
const MOST_PER_SECOND = 100
let left = MOST_PER_SECOND
let dropped = 0
const refill = setInterval(() => {
  if (dropped > 0) console.error(`${dropped} security events were not passed on`)
  left = MOST_PER_SECOND
  dropped = 0
}, 1000).unref()

// UDP loses messages, so it never holds up the process. Use TLS (RFC 5425) where each one counts.
const sender = createSocket(to.address.includes(':') ? 'udp6' : 'udp4').unref()
subscribe('renegotiation-duplex:security', (message) => {
  if (--left < 0) dropped++
  else sender.send(rfc5424(message as SecurityEvent), to.port, to.address)
})

await traffic(() => {})

const EXPECTED = 2
// UDP on loopback is quick. If an event is missing, the check below fails.
const signal = AbortSignal.timeout(5000)
try {
  while (host === undefined && received.length < EXPECTED) await once(receiver, 'message', { signal })
} catch (error) {
  if (!signal.aborted) throw error
}
for (const line of received) console.log(line)
receiver.close()
sender.close()
clearInterval(refill)
const form = /^<8[13]>1 \S+Z \S+ renegotiation-duplex \d+ [a-z-]+ \[renegotiation@32473( \w+="[^"]*")+\] [ -~]+$/
const isRight = host !== undefined || (received.length === EXPECTED && received.every((line) => form.test(line)))
console.log(isRight ? 'All is right.' : 'Something is WRONG.')
process.exitCode = isRight ? 0 : 1
