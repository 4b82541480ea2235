import type { Plan, Row } from './compare.ts'
import { type CipherSpeed, cipherName } from './floor.ts'
import { type Contender, NAMES } from './messages.ts'
import type { OpenSSLResult } from './openssl.ts'
import { apart, CONFIDENCE, medianRank, type Spread } from './stats.ts'

const COLUMNS = ['ours', 'duplexify', 'streamx', 'again'] as const

/** Ratios as Markdown: the median, its interval, and whether it differs from a second plain socket's. */
export function table(
  rows: readonly Row[],
  { generations, rounds }: Plan,
  columns: readonly Contender[] = COLUMNS,
): string {
  const few = medianRank(generations) === 0 ? ' (too few processes for them)' : ''
  return [
    `Ratios to the plain socket. Sets of new processes: ${generations}, rounds of each: ${rounds}; medians, and ` +
      `their ${CONFIDENCE * 100} % confidence intervals${few}\n`,
    line(['', NAMES.plain, ...columns.map((contender) => NAMES[contender])]),
    line(['---', '--:', ...columns.map(() => '--:')]),
    ...rows.map((row) => line([row.name, row.words.plain ?? '', ...columns.map((contender) => ratio(row, contender))])),
    '',
  ].join('\n')
}

/** The interval of a second plain socket shows what differs without any difference. */
function ratio({ ratios }: Row, contender: Contender): string {
  const own = ratios[contender]
  if (own === undefined) return ''
  const { median, interval } = own
  if (interval === undefined) return median.toFixed(2)
  const [low, high] = interval
  const alike = contender !== 'again' && ratios.again !== undefined && !apart(own, ratios.again)
  return `${median.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})${alike ? '; cannot be told apart' : ''}`
}

/** What a stream of OpenSSL costs, as Markdown. */
export function openSSLTable({ rows, cpu, idle, ...plan }: OpenSSLResult): string {
  const memory = idle.map(({ connections, plain, openssl }) => {
    const kib = (bytes: number) => `${(bytes / 1024).toFixed(1)} KiB`
    return (
      `${connections} idle connections, each: heap ${kib(plain.heapBytes)} plain, ${kib(openssl.heapBytes)} by OpenSSL; ` +
      `RSS ${kib(plain.rssBytes)} plain, ${kib(openssl.rssBytes)} by OpenSSL`
    )
  })
  return ['TLS 1.3', table([...rows, ...cpu], plan, ['openssl', 'again']), ...memory, ''].join('\n')
}

interface Summarized {
  readonly node: string
  readonly sending: readonly Row[]
  readonly reading: readonly Row[]
  readonly means: readonly [sending: Row, reading: Row]
  readonly pingPong: readonly Row[]
  readonly cpuSending: readonly Row[]
  readonly cpuReading: readonly Row[]
  readonly cipher: CipherSpeed
  readonly idle: readonly Readonly<Record<'plain' | 'ours', { readonly heapBytes: number }>>[]
  readonly oneWrite: Readonly<Record<'plain' | 'ours', { readonly rssBytes: number }>>
  readonly tls13?: OpenSSLResult
  readonly renegotiation: readonly Readonly<Record<'handshakeMs' | 'transitMs' | 'holdMs' | 'goodput', Spread>>[]
}

/** What the stream costs in short, as Markdown, a column for each Node. */
export function summary(results: readonly Summarized[]): string {
  const ours = ({ ratios }: Row) => (ratios.ours?.median ?? Number.NaN).toFixed(2)
  const words = (rows: readonly Row[], contender: Contender) => rows.map(({ words }) => words[contender]).join(', ')
  const mib = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`
  const ms = ({ median }: Spread) => `${median.toFixed(1)} ms`
  const rows: Readonly<Record<string, (result: Summarized) => string>> = {
    'throughput, sending (geometric mean)': ({ means: [sending] }) => ratio(sending, 'ours'),
    'throughput, reading (geometric mean)': ({ means: [, reading] }) => ratio(reading, 'ours'),
    'sending, the plain socket, 64 B to 1 MiB': ({ sending }) => words(sending, 'plain'),
    'sending, raw TCP on loopback': ({ sending }) => words(sending, 'tcp'),
    'reading, the plain socket, 64 B to 1 MiB': ({ reading }) => words(reading, 'plain'),
    'reading, raw TCP on loopback': ({ reading }) => words(reading, 'tcp'),
    'the cipher alone, 64 B to 1 MiB': ({ cipher }) => [cipherName(cipher), ...(cipher.words ?? [])].join(', '),
    'ping-pong, p50 and p99': ({ pingPong }) => pingPong.map(ours).join(', '),
    'CPU time per byte, sending 64 B to 1 MiB': ({ cpuSending }) => cpuSending.map(ours).join(', '),
    'CPU time per byte, reading 64 B to 1 MiB': ({ cpuReading }) => cpuReading.map(ours).join(', '),
    'heap of an idle connection, beyond the socket’s own': ({ idle }) => {
      const { plain, ours } = idle.at(-1) as Summarized['idle'][number]
      return `${((ours.heapBytes - plain.heapBytes) / 1024).toFixed(1)} KiB`
    },
    'memory beyond it for 1 GiB in one `write()`; plain': ({ oneWrite: { ours, plain } }) =>
      `${mib(ours.rssBytes)}; ${mib(plain.rssBytes)}`,
    'writes held by a renegotiation at full speed': ({ renegotiation: [local] }) => (local ? ms(local.holdMs) : ''),
    'for comparison: the handshake on an idle connection': ({ renegotiation: [local] }) =>
      local ? ms(local.handshakeMs) : '',
    'and what a byte takes through the queue at full speed': ({ renegotiation: [local] }) =>
      local ? ms(local.transitMs) : '',
    'goodput with one every 100 ms; over a round trip of 10 ms, 50 ms': ({ renegotiation }) =>
      renegotiation.map(({ goodput }) => goodput.median.toFixed(2)).join(', '),
    'over OpenSSL, TLS 1.3: sending, 64 B to 1 MiB': ({ tls13 }) => overOpenSSL(tls13, 'send'),
    'receiving, the same': ({ tls13 }) => overOpenSSL(tls13, 'read'),
    'ping-pong over it, p50 and p99': ({ tls13 }) => overOpenSSL(tls13, 'ping-pong'),
  }
  return [
    line(['', ...results.map(({ node }) => `Node ${node}`)]),
    line(['---', ...results.map(() => '--:')]),
    ...Object.entries(rows).map(([name, value]) => line([name, ...results.map(value)])),
    '',
  ].join('\n')
}

function overOpenSSL(result: OpenSSLResult | undefined, begin: string): string {
  const rows = result?.rows.filter(({ name }) => name.startsWith(begin)) ?? []
  return rows.map(({ ratios }) => ratios.openssl?.median.toFixed(2)).join(', ')
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`
}
