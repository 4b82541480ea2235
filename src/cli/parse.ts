/*
 * Parses the arguments of the command line.
 */
import { InvalidArgumentError } from 'commander'
import * as quantities from '../quantities.ts'

/** Where a server listens. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** Parses a duration, for commander. */
export const duration = forCommander(quantities.duration)
/** Parses one duration or a range, for commander. */
export const window = forCommander(quantities.window)
/** Parses one size or a range, for commander. */
export const chunkSizes = forCommander(quantities.chunkSizes)

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

/** Makes commander name the option, and exit, if the value is invalid. */
function forCommander<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text)
    } catch (error) {
      throw new InvalidArgumentError((error as Error).message)
    }
  }
}
