/*
 * Parses times and sizes that people write, such as `90s` or `64KiB`. The functions throw an Error whose message ends
 * with a full stop and needs no context.
 */

/** A range of numbers, both ends included. */
export type Range = readonly [min: number, max: number]

const milliseconds = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const bytes = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 }
/** The longest delay of Node's timers. */
const MAX_MILLISECONDS = 2 ** 31 - 1
const MAX_CHUNK = 16 * bytes.MiB

/** Parses a duration such as `90s`, `10m` or `8h`. A number without a unit is in seconds. Returns milliseconds. */
export function duration(text: string): number {
  return within(text, quantity(text, milliseconds, 's'), 1, MAX_MILLISECONDS, 'from 1ms to 24d')
}

/** Parses one duration, or a range such as `7s-14s`. Returns milliseconds. */
export function window(text: string): Range {
  return range(text, duration)
}

/** Parses one size such as `64KiB`, or a range such as `1B-1MiB`. Returns bytes. */
export function chunkSizes(text: string): Range {
  return range(text, (part) => {
    const size = within(part, quantity(part, bytes, 'B'), 1, MAX_CHUNK, 'from 1B to 16MiB')
    if (!Number.isInteger(size)) throw new Error(`${part} is not a whole number of bytes.`)
    return size
  })
}

function range(text: string, parse: (part: string) => number): Range {
  const [first = '', last = first, ...more] = text.split('-')
  if (more.length > 0) throw new Error('It must be one value, or two with a hyphen between them.')
  const min = parse(first)
  const max = parse(last)
  if (min > max) throw new Error('The first value must not be more than the second.')
  return [min, max]
}

function quantity(text: string, units: Record<string, number>, unitless: string): number {
  const [, number, unit = unitless] = /^(\d+(?:\.\d+)?)\s*([A-Za-z]+)?$/.exec(text.trim()) ?? []
  const factor = units[unit]
  if (number === undefined || factor === undefined) {
    throw new Error(`It must be a number with one of the units ${Object.keys(units).join(', ')}.`)
  }
  return Number(number) * factor
}

function within(text: string, value: number, min: number, max: number, allowed: string): number {
  if (value < min || value > max) throw new Error(`${text} is not ${allowed}.`)
  return value
}
