/*
 * How the demo shows things: a live line where there is a terminal, a plain
 * line now and then where there is none, and a table.
 */
import { styleText } from 'node:util'

const { stdout } = process
const isLive = stdout.isTTY === true && process.env['TERM'] !== 'dumb'
/** Minds NO_COLOR. */
const hasColors = isLive && stdout.hasColors()
/** Milliseconds between two lines of progress where there is no terminal. */
const SPARSE = 3000

let lastProgressAt = performance.now()

type Style = 'bold' | 'dim' | 'red' | 'green'

export type Row = readonly [name: string, ...cells: (Cell | string)[]]

export interface Cell {
  text: string
  /** Green or red. */
  good: boolean
}

export function print(line = ''): void {
  stdout.write(isLive ? `\r\x1b[K${line}\n` : `${line}\n`)
}

/** The next line takes its place. */
export function printProgress(line: string): void {
  if (isLive) {
    stdout.write(`\r\x1b[K${line.slice(0, (stdout.columns || 80) - 1)}`)
  } else if (performance.now() - lastProgressAt > SPARSE) {
    lastProgressAt = performance.now()
    print(line)
  }
}

export function printTable(head: Row, rows: readonly Row[]): void {
  const text = (cell: Cell | string) => (typeof cell === 'string' ? cell : cell.text)
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => text(row[column] ?? '').length)))
  const show = (row: Row, style?: Style) => {
    const cells = row.map((cell, column) => {
      const padded = text(cell).padEnd(widths[column] ?? 0)
      if (typeof cell !== 'string') return paint(cell.good ? 'green' : 'red', padded)
      return style || column === 0 ? paint(style ?? 'dim', padded) : padded
    })
    print(cells.join('   ').trimEnd())
  }
  show(head, 'bold')
  print(paint('dim', widths.map((width) => '─'.repeat(width)).join('───')))
  for (const row of rows) show(row)
}

export function paint(style: Style, text: string): string {
  return hasColors ? styleText(style, text) : text
}

export function bytes(count: number): string {
  return count < 1e9 ? `${(count / 1e6).toFixed(1)} MB` : `${(count / 1e9).toFixed(2)} GB`
}

export function milliseconds(value: number | undefined): string {
  return value === undefined ? '–' : `${value.toFixed(1)} ms`
}
