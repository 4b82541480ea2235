import type { Scaled } from './scale-messages.ts'
import { KiB } from './units.ts'

const WIDTH = 300
const HEIGHT = 220
const LEFT = 60
const TOP = 110
const GAP = 90
const COLORS = { 8: '#1f6fb4', none: '#d1700c' } as const
const NAMES = { 8: 'rekey.concurrency 8', none: 'no limit' } as const

interface Charted {
  readonly node: string
  readonly machine: string
  readonly results: readonly Scaled[]
}

interface Panel {
  readonly title: string
  readonly unit: string
  readonly value: (result: Scaled) => number
  /** Values at the bottom and the top, powers of ten. */
  readonly range: readonly [number, number]
  /** A value that must not be exceeded. */
  readonly limit?: number
}

const PANELS: readonly Panel[] = [
  { title: 'Time until all are renewed', unit: 's', value: (r) => r.renewalMs / 1000, range: [0.1, 100] },
  { title: 'Event loop delay, p99', unit: 'ms', value: (r) => r.during.p99, range: [1, 10_000], limit: 20 },
  { title: 'Memory of each connection', unit: 'KiB', value: (r) => r.renewalBytes / KiB, range: [10, 1000] },
]

/** How the cost grows with the number of connections, as SVG. Both axes are logarithmic. */
export function scaleChart({ node, machine, results }: Charted): string {
  const steady = results.filter(({ load }) => load !== 'full')
  const title = 'All connections of a process are renewed, due within the same second'
  const width = LEFT + PANELS.length * (WIDTH + GAP)
  const text = (x: number, y: number, words: string, more = '') =>
    `<text x="${round(x)}" y="${round(y)}" ${more}>${words}</text>`
  const panels = PANELS.map(({ title, unit, value, range: [low, high], limit }, index) => {
    const left = LEFT + index * (WIDTH + GAP)
    const x = (connections: number) => left + (WIDTH * (Math.log10(connections) - 2)) / 2
    const share = (of: number) => Math.log10(of / low) / Math.log10(high / low)
    const y = (of: number) => TOP + HEIGHT * (1 - Math.min(1, Math.max(0, share(of))))
    const steps = Array.from({ length: Math.round(Math.log10(high / low)) + 1 }, (_, step) => low * 10 ** step)
    const grid = steps.map(
      (step) =>
        `<line x1="${left}" x2="${left + WIDTH}" y1="${round(y(step))}" y2="${round(y(step))}" stroke="#ddd"/>` +
        text(left - 8, y(step) + 4, `${Number(step.toPrecision(1))} ${unit}`, 'text-anchor="end" font-size="11"'),
    )
    const counts = [...new Set(steady.map(({ connections }) => connections))]
    const below = counts.map((count) =>
      text(x(count), TOP + HEIGHT + 20, count.toLocaleString('en'), 'text-anchor="middle"'),
    )
    const mark =
      limit === undefined
        ? ''
        : `<line x1="${left}" x2="${left + WIDTH}" y1="${round(y(limit))}" y2="${round(y(limit))}" stroke="#333" stroke-dasharray="4 3"/>` +
          text(left + 4, y(limit) - 4, `${limit} ${unit}`, 'font-size="11"')
    const lines = ([8, 'none'] as const).map((concurrency) => {
      const points = steady.filter((result) => result.concurrency === concurrency)
      const path = points.map((point) => `${round(x(point.connections))},${round(y(value(point)))}`).join(' ')
      const dots = points.map((point) => {
        const [cx, cy] = [round(x(point.connections)), round(y(value(point)))]
        const words = `${point.connections} connections, ${NAMES[concurrency]}: ${value(point).toPrecision(3)} ${unit}`
        return `<circle cx="${cx}" cy="${cy}" r="4" fill="${COLORS[concurrency]}"><title>${words}</title></circle>`
      })
      return `<polyline fill="none" stroke="${COLORS[concurrency]}" stroke-width="2" points="${path}"/>${dots.join('')}`
    })
    return [text(left, TOP - 14, title, 'font-weight="bold"'), ...grid, mark, ...below, ...lines].join('\n')
  })
  const legend = ([8, 'none'] as const).map(
    (concurrency, index) =>
      `<rect x="${LEFT + 200 * index}" y="54" width="12" height="12" fill="${COLORS[concurrency]}"/>` +
      text(LEFT + 18 + 200 * index, 65, NAMES[concurrency]),
  )
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${TOP + HEIGHT + 60}" font-family="system-ui, sans-serif" font-size="13">`,
    `<title>${title}</title>`,
    '<rect width="100%" height="100%" fill="white"/>',
    text(LEFT, 24, title, 'font-size="16" font-weight="bold"'),
    text(LEFT, 43, `Node ${node}; ${machine}; 1,000 messages of 1 KiB a second`, 'fill="#767676"'),
    ...legend,
    ...panels,
    text(LEFT, TOP + HEIGHT + 46, 'connections', 'fill="#767676"'),
    '</svg>',
    '',
  ].join('\n')
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
