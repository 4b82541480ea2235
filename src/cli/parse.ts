/*
 * Parses the arguments of the command line.
 */
import { InvalidArgumentError } from 'commander'

/** A range of numbers, both ends included. */
export type Range = readonly [min: number, max: number]

/** Where a server listens. */
export interface Address {
  readonly host: string
  readonly port: number
}

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
    if (!Number.isInteger(size)) throw new InvalidArgumentError(`${part} is not a whole number of bytes.`)
    return size
  })
}

/** Parses `host:port` or `[::1]:port`. */
export function address(text: string): Address {
  const [, host, port] = /^(\[[^\]]+\]|[^:[\]]+):(\d{1,5})$/.exec(text) ?? []
  if (host === undefined || Number(port) < 1 || Number(port) > 65_535) {
    throw new InvalidArgumentError('It must be host:port, with a port from 1 to 65535.')
  }
  return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) }
}

/** The inverse of {@link address}. */
export function hostAndPort({ host, port }: Address): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** Checks the path of an HTTP request. */
export function path(text: string): string {
  if (!text.startsWith('/')) throw new InvalidArgumentError('A path begins with /; the address comes before --http.')
  return text
}

/** Parses the seed of the random data. */
export function seed(text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.')
  return Number(text)
}

function range(text: string, parse: (part: string) => number): Range {
  const [first = '', last = first, ...more] = text.split('-')
  if (more.length > 0) throw new InvalidArgumentError('It must be one value, or two with a hyphen between them.')
  const min = parse(first)
  const max = parse(last)
  if (min > max) throw new InvalidArgumentError('The first value must not be more than the second.')
  return [min, max]
}

function quantity(text: string, units: Record<string, number>, unitless: string): number {
  const [, number, unit = unitless] = /^(\d+(?:\.\d+)?)\s*([A-Za-z]+)?$/.exec(text.trim()) ?? []
  const factor = units[unit]
  if (number === undefined || factor === undefined) {
    throw new InvalidArgumentError(`It must be a number with one of the units ${Object.keys(units).join(', ')}.`)
  }
  return Number(number) * factor
}

function within(text: string, value: number, min: number, max: number, allowed: string): number {
  if (value < min || value > max) throw new InvalidArgumentError(`${text} is not ${allowed}.`)
  return value
}
