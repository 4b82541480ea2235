import type { Row } from './compare.ts'
import { type Contender, NAMES } from './messages.ts'
import type { OpenSSLResult } from './openssl.ts'
import type { Spread } from './stats.ts'

const COLUMNS = ['ours', 'duplexify', 'streamx', 'again'] as const

type Cells = Omit<Row, 'ratios'> & { readonly ratios: Partial<Record<Contender, Spread | number>> }

/** Ratios as Markdown: the median, and from which quarter to which. */
export function table(rows: readonly Cells[], rounds: number, columns: readonly Contender[] = COLUMNS): string {
  const cell = (ratio: Spread | number | undefined) => {
    if (ratio === undefined) return ''
    if (typeof ratio === 'number') return `**${ratio.toFixed(2)}**`
    return `${ratio.median.toFixed(2)} (${ratio.low.toFixed(2)}–${ratio.high.toFixed(2)})`
  }
  return [
    `Ratios to the plain socket, medians of ${rounds} rounds (from quarter to quarter):\n`,
    line(['', NAMES.plain, ...columns.map((contender) => NAMES[contender])]),
    line(['---', '--:', ...columns.map(() => '--:')]),
    ...rows.map(({ name, plain, ratios }) =>
      line([name, plain, ...columns.map((contender) => cell(ratios[contender]))]),
    ),
    '',
  ].join('\n')
}

/** What a stream of OpenSSL costs, as Markdown. */
export function openSSLTable({ rows, cpu, idle, rounds }: OpenSSLResult): string {
  const memory = idle.map(({ connections, plain, openssl }) => {
    const kib = (bytes: number) => `${(bytes / 1024).toFixed(1)} KiB`
    return (
      `${connections} idle connections, each: heap ${kib(plain.heapBytes)} plain, ${kib(openssl.heapBytes)} by OpenSSL; ` +
      `RSS ${kib(plain.rssBytes)} plain, ${kib(openssl.rssBytes)} by OpenSSL`
    )
  })
  return ['TLS 1.3', table([...rows, ...cpu], rounds, ['openssl', 'again']), ...memory, ''].join('\n')
}

interface Summarized {
  readonly node: string
  readonly mean: Partial<Record<Contender, number>>
  readonly reading: Row
  readonly pingPong: readonly Row[]
  readonly cpu: readonly Row[]
  readonly idle: readonly Readonly<Record<'plain' | 'ours', { readonly heapBytes: number }>>[]
  readonly oneWrite: Readonly<Record<'plain' | 'ours', { readonly rssBytes: number }>>
  readonly tls13?: OpenSSLResult
  readonly renegotiation: readonly Readonly<Record<'handshakeMs' | 'transitMs' | 'holdMs' | 'goodput', Spread>>[]
}

/** What the stream costs in short, as Markdown, a column for each Node. */
export function summary(results: readonly Summarized[]): string {
  const ours = ({ ratios }: Row) => (ratios.ours?.median ?? Number.NaN).toFixed(2)
  const mib = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`
  const ms = ({ median }: Spread) => `${median.toFixed(1)} ms`
  const rows: Readonly<Record<string, (result: Summarized) => string>> = {
    'throughput, sending (geometric mean)': ({ mean }) => (mean.ours ?? Number.NaN).toFixed(2),
    'throughput, reading': ({ reading }) => ours(reading),
    'ping-pong, p50 and p99': ({ pingPong }) => pingPong.map(ours).join(', '),
    'CPU time per byte, in the order of the chart': ({ cpu }) => cpu.map(ours).join(', '),
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
