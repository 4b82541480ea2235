import type { Plan, Row } from './compare.ts'
import { type Contender, NAMES } from './messages.ts'
import { CONFIDENCE } from './stats.ts'

const COLORS: Partial<Record<Contender, string>> = {
  ours: '#1f6fb4',
  duplexify: '#d1700c',
  streamx: '#8a8a8a',
  again: '#c4c4c4',
}
const LEFT = 60
const TOP = 90
const HEIGHT = 260
const GROUP = 150
const BAR = 24
/** The highest ratio that is shown. */
const MAX = 2

interface Charted extends Plan {
  readonly node: string
  readonly machine: string
  readonly sending: readonly Row[]
  readonly means: readonly [sending: Row, reading: Row]
}

/** Throughput of each contender, the plain socket's being 1, as SVG. */
export function chart({ node, machine, generations, sending, means }: Charted): string {
  const rows = [...sending, ...means]
  const title = `Throughput, the ${NAMES.plain} being 1`
  const width = LEFT + GROUP * rows.length + 20
  const y = (ratio: number) => TOP + HEIGHT - (HEIGHT * Math.min(ratio, MAX)) / MAX
  const text = (x: number, at: number, words: string, more = '') => `<text x="${x}" y="${at}" ${more}>${words}</text>`
  const grid = [0, 0.5, 1, 1.5, 2].map(
    (ratio) =>
      `<line x1="${LEFT}" x2="${width - 20}" y1="${y(ratio)}" y2="${y(ratio)}" stroke="${ratio === 1 ? '#333' : '#ddd'}"/>` +
      text(LEFT - 8, y(ratio) + 4, ratio.toFixed(1), 'text-anchor="end"'),
  )
  const groups = rows.map(({ name, words, ratios }, index) => {
    const left = LEFT + GROUP * index + 18
    const bars = Object.entries(COLORS).map(([contender, color], bar) => {
      const ratio = ratios[contender as Contender]
      if (ratio === undefined) return ''
      const { median, interval: [low, high] = [median, median] } = ratio
      const x = left + bar * (BAR + 4)
      const middle = x + BAR / 2
      return (
        `<rect x="${x}" y="${y(median)}" width="${BAR}" height="${y(0) - y(median)}" fill="${color}">` +
        `<title>${contender}: ${median.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})</title></rect>` +
        `<line x1="${middle}" x2="${middle}" y1="${y(low)}" y2="${y(high)}" stroke="black"/>` +
        text(middle, y(high) - 4, median.toFixed(2), 'text-anchor="middle" font-size="11"')
      )
    })
    return (
      bars.join('') +
      text(left + 54, TOP + HEIGHT + 20, name, 'text-anchor="middle"') +
      (words.plain === undefined
        ? ''
        : text(
            left + 54,
            TOP + HEIGHT + 38,
            `plain: ${words.plain}`,
            'text-anchor="middle" fill="#767676" font-size="11"',
          ))
    )
  })
  const legend = Object.entries(COLORS).map(
    ([contender, color], index) =>
      `<rect x="${LEFT + 170 * index}" y="54" width="12" height="12" fill="${color}"/>` +
      text(LEFT + 18 + 170 * index, 65, NAMES[contender as Contender]),
  )
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${TOP + HEIGHT + 60}" font-family="system-ui, sans-serif" font-size="13">`,
    `<title>${title}</title>`,
    '<rect width="100%" height="100%" fill="white"/>',
    text(LEFT, 24, title, 'font-size="16" font-weight="bold"'),
    text(
      LEFT,
      43,
      `Node ${node}; ${machine}; medians of ${generations} sets of new processes; lines: ${CONFIDENCE * 100} % confidence intervals`,
      'fill="#767676"',
    ),
    ...legend,
    ...grid,
    ...groups,
    '</svg>',
    '',
  ].join('\n')
}
