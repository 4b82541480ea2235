/*
 * Draws the result of a soak as an SVG picture.
 */
import { bytes, ms, nounOf, time } from './format.ts'
import type { SoakReport } from './soak.ts'
import type { Column } from './timeline.ts'

const WIDTH = 1200
const LEFT = 90
const RIGHT = 50
const PLOT = WIDTH - LEFT - RIGHT
const FONT = 'font-family="system-ui, sans-serif" font-size="13"'
const TO_SERVER = '#1f6fb4'
const TO_CLIENT = '#d1700c'
const GREY = '#767676'

/** One chart of the picture. The charts stand one below the other. */
interface Chart {
  readonly title: string
  readonly top: number
  readonly height: number
  /** The value at the top edge. */
  readonly max: number
  readonly unit: (value: number) => string
}

/**
 * Returns a self-contained SVG picture of a soak: the throughput in each
 * direction over time, with the renegotiations marked, how long each of them
 * held writes, and memory.
 */
export function picture(report: SoakReport): string {
  const { columnMs, columns } = report.timeline
  const seconds = columnMs / 1000
  // The last column covers less time than the others, so its rate would be wrong.
  const whole = columns.length > 1 ? columns.slice(0, -1) : columns
  const rates = whole.map(({ toServer, toClient }) => [toServer / seconds, toClient / seconds] as const)
  const throughput = chart('throughput', 140, 220, rates.flat(), (value) => `${bytes(value)}/s`)
  const holds = chart(
    'writes held',
    420,
    130,
    columns.flatMap(({ clientHoldMs, serverHoldMs }) => [clientHoldMs, serverHoldMs]),
    ms,
  )
  const memory = chart(
    'memory',
    610,
    90,
    columns.flatMap(({ clientRss, serverRss }) => [clientRss, serverRss]),
    bytes,
  )
  const noun = nounOf(report.kind)
  const x = (index: number) => LEFT + (PLOT * index) / columns.length
  const bottom = memory.top + memory.height

  const line = (of: Chart, color: string, values: readonly number[]) => {
    const points = values.flatMap((value, index) =>
      value > 0 || of === throughput ? [`${round(x(index + 0.5))},${round(y(of, value))}`] : [],
    )
    return `<polyline fill="none" stroke="${color}" stroke-width="1.2" points="${points.join(' ')}"/>`
  }
  const dots = (color: string, name: string, value: (column: Column) => number) =>
    columns.map((column, index) => {
      const held = value(column)
      if (held === 0) return ''
      const title = `${name} held for ${ms(held)} at ${time(index * columnMs)}`
      return `<circle class="hold" cx="${round(x(index + 0.5))}" cy="${round(y(holds, held))}" r="2.5" fill="${color}"><title>${title}</title></circle>`
    })
  // The marks of the two ends stand side by side if both began in the same column.
  const mark = (index: number, begunBy: 'client' | 'server', color: string, count: number) => {
    if (count === 0) return ''
    const at = round(x(index + 0.5) + (begunBy === 'client' ? -2 : 2))
    const title = `${count === 1 ? noun : `${count} ${noun}s`} begun by the ${begunBy} at ${time(index * columnMs)}`
    return `<g class="${report.kind} ${begunBy}"><line x1="${at}" x2="${at}" y1="${throughput.top - 8}" y2="${throughput.top + throughput.height}" stroke="${color}" stroke-opacity="0.35"/><path d="M${at - 4} ${throughput.top - 14}h8l-4 7z" fill="${color}"/><title>${title}</title></g>`
  }

  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${bottom + 50}" ${FONT} role="img" aria-label="${escaped(headline(report))}">`,
    `<rect width="100%" height="100%" fill="white"/>`,
    text(LEFT, 30, headline(report), 'font-size="18" font-weight="bold"'),
    ...summary(report).map((words, index) => text(LEFT, 52 + 18 * index, words, `fill="${GREY}"`)),
    legend(WIDTH - RIGHT - 330, 30, [
      ['client → server, the client', TO_SERVER],
      ['server → client, the server', TO_CLIENT],
    ]),
    ...[throughput, holds, memory].map(frame),
    ...columns.flatMap(({ byClient, byServer }, index) => [
      mark(index, 'client', TO_SERVER, byClient),
      mark(index, 'server', TO_CLIENT, byServer),
    ]),
    line(
      throughput,
      TO_SERVER,
      rates.map(([rate]) => rate),
    ),
    line(
      throughput,
      TO_CLIENT,
      rates.map(([, rate]) => rate),
    ),
    ...dots(TO_SERVER, 'client', ({ clientHoldMs }) => clientHoldMs),
    ...dots(TO_CLIENT, 'server', ({ serverHoldMs }) => serverHoldMs),
    line(
      memory,
      TO_SERVER,
      columns.map(({ clientRss }) => clientRss),
    ),
    line(
      memory,
      TO_CLIENT,
      columns.map(({ serverRss }) => serverRss),
    ),
    ...timeAxis(columns.length * columnMs, bottom),
    '</svg>',
    '',
  ]
    .filter((part, index, parts) => part !== '' || index === parts.length - 1)
    .join('\n')
}

/** The result in one line. */
export function headline({
  verdict,
  interrupted,
  milliseconds,
  kind,
  renegotiations: { byClient, byServer },
  options,
}: SoakReport): string {
  const ends = options.server === null ? 'both ends' : options.server
  return `${verdict}${interrupted ? ', interrupted' : ''}: ${time(milliseconds)}, ${byClient + byServer} ${nounOf(kind)}s, ${ends}`
}

function summary({
  bytes: count,
  milliseconds,
  hold,
  node,
  openssl,
  cipher,
  protocol,
  kind,
  renegotiations,
}: SoakReport): string[] {
  const rate = (total: number) => `${bytes(total)} at ${bytes((total / Math.max(milliseconds, 1)) * 1000)}/s`
  const longest = Math.max(hold.client?.maxMs ?? 0, hold.server?.maxMs ?? 0)
  const held = longest > 0 ? `; writes held for ${ms(longest)} at most` : ''
  const { byClient, byServer, unanswered } = renegotiations
  const open = unanswered > 0 ? `, not answered in time ${unanswered}` : ''
  return [
    `client → server ${rate(count.toServer)}; server → client ${rate(count.toClient)}`,
    `${nounOf(kind)}s begun by the client ${byClient}, by the server ${byServer}${open}${held}`,
    `Node ${node}, OpenSSL ${openssl}, ${protocol ?? 'no connection'} ${cipher ?? ''}`,
  ]
}

function chart(
  title: string,
  top: number,
  height: number,
  values: readonly number[],
  unit: (value: number) => string,
): Chart {
  // Not Math.max(...values): a call cannot take that many arguments.
  const highest = values.reduce((max, value) => Math.max(max, value), 0)
  return { title, top, height, unit, max: niceCeiling(highest) }
}

/** The next round number from `value` up. */
function niceCeiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value || 1))
  return power * ([1, 1.5, 2, 3, 4, 5, 6, 8].find((factor) => factor * power >= value) ?? 10)
}

function y({ top, height, max }: Chart, value: number): number {
  return top + height - (height * value) / max
}

function frame(of: Chart): string {
  const lines = [0, 0.5, 1].map((part) => {
    const at = round(y(of, of.max * part))
    return `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}" stroke="#dddddd"/>${text(LEFT - 8, at + 4, of.unit(of.max * part), `text-anchor="end" fill="${GREY}"`)}`
  })
  return `${lines.join('')}${text(LEFT, of.top - 18, of.title, 'font-weight="bold"')}`
}

function timeAxis(milliseconds: number, bottom: number): string[] {
  if (milliseconds === 0) return []
  const step = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14_400, 43_200, 86_400, 172_800, 604_800]
    .map((seconds) => seconds * 1000)
    .find((candidate) => milliseconds / candidate <= 12) as number
  const labels: string[] = []
  for (let at = 0; at <= milliseconds; at += step) {
    labels.push(
      text(round(LEFT + (PLOT * at) / milliseconds), bottom + 20, time(at), `text-anchor="middle" fill="${GREY}"`),
    )
  }
  return labels
}

function legend(x: number, y: number, entries: readonly (readonly [string, string])[]): string {
  return entries
    .map(
      ([words, color], index) =>
        `<rect x="${x}" y="${y - 9 + 20 * index}" width="14" height="4" fill="${color}"/>${text(x + 20, y + 20 * index, words)}`,
    )
    .join('')
}

function text(x: number, y: number, words: string, attributes = ''): string {
  return `<text x="${x}" y="${y}" ${attributes}>${escaped(words)}</text>`
}

function escaped(words: string): string {
  return words.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
