import type { Row } from './compare.ts'
import type { Contender } from './messages.ts'
import type { Spread } from './stats.ts'

const COLUMNS: Readonly<Partial<Record<Contender, string>>> = {
  ours: 'renegotiation-duplex',
  duplexify: 'duplexify',
  streamx: 'streamx',
  again: 'a second plain one',
}

type Cells = Omit<Row, 'ratios'> & { readonly ratios: Partial<Record<Contender, Spread | number>> }

/** Ratios as Markdown: the median, and from which quarter to which. */
export function table(rows: readonly Cells[], rounds: number): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  const cell = (ratio: Spread | number | undefined) => {
    if (ratio === undefined) return ''
    if (typeof ratio === 'number') return `**${ratio.toFixed(2)}**`
    return `${ratio.median.toFixed(2)} (${ratio.low.toFixed(2)}–${ratio.high.toFixed(2)})`
  }
  const contenders = Object.keys(COLUMNS) as Contender[]
  return [
    `Ratios to the plain socket, medians of ${rounds} rounds (from quarter to quarter):\n`,
    line(['', 'plain', ...Object.values(COLUMNS)]),
    line(['---', '--:', ...contenders.map(() => '--:')]),
    ...rows.map(({ name, plain, ratios }) =>
      line([name, plain, ...contenders.map((contender) => cell(ratios[contender]))]),
    ),
    '',
  ].join('\n')
}
