/* Security events as messages of syslog (RFC 5424). */
import { hostname } from 'node:os'
import type { SecurityEvent } from 'renegotiation-duplex'

/**
 * RFC 5424, section 6.2.1: messages of security and authorization that only some may read. Facility 13, log audit, is for
 * the records of who has done what, which these events are not.
 */
const FACILITY = 10
const severities = { alert: 1, error: 3, warning: 4, notice: 5 } as const satisfies Record<
  SecurityEvent['severity'],
  number
>
/** 32473 is the enterprise number for examples (RFC 5612). Use that of your own organization. */
const ELEMENT = 'renegotiation@32473'

/** The line for an event, in ASCII, without the frame of the transport. */
export function rfc5424({ severity, at, name, message, code, role, peer }: SecurityEvent): string {
  const header = [
    `<${FACILITY * 8 + severities[severity]}>1`,
    new Date(at).toISOString(),
    field(hostname(), 255),
    field('renegotiation-duplex', 48),
    field(`${process.pid}`, 128),
    field(name, 32),
  ]
  const parameters = { code, role, address: peer?.address, port: peer?.port }
  const data = Object.entries(parameters)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${escaped(`${value}`)}"`)
  return `${header.join(' ')} [${ELEMENT}${data.join('')}] ${printable(message)}`
}

/** A field of the header has only printable characters of ASCII, no space, and a longest length. `-` is for no value. */
function field(value: string, length: number): string {
  return printable(value).replaceAll(' ', '').slice(0, length) || '-'
}

/** RFC 5424, section 6.3.3. */
function escaped(value: string): string {
  return printable(value).replaceAll(/["\\\]]/g, '\\$&')
}

function printable(value: string): string {
  return value.replaceAll(/[^ -~]/g, '?')
}
