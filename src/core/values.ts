/* Checks of single values, and their form in error messages. */
import { inspect } from 'node:util'
import { invalidType, outOfRange } from './errors.ts'

/** The limit of setTimeout(). Beyond it, Node fires after one millisecond. */
export const MAX_TIMEOUT = 2 ** 31 - 1

/** Checks and returns the option `name`. */
export function milliseconds<K extends string>(from: { [name in K]?: unknown }, name: K): number | undefined {
  return number(name, from[name], 0, MAX_TIMEOUT)
}

/** Checks and returns the option `name`. */
export function bytes<K extends string>(
  from: { [name in K]?: unknown },
  name: K,
  max = Number.MAX_SAFE_INTEGER,
): number | undefined {
  return number(name, from[name], 0, max, true)
}

/** Checks and returns the option `name`. */
export function integer<K extends string>(from: { [name in K]?: unknown }, name: K): number | undefined {
  return number(name, from[name], Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, true)
}

/** Checks and returns `value`. */
export function number(name: string, value: unknown, min: number, max: number, whole = false): number | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'number') throw invalidType(`${name} must be a number, got ${quote(value)}`)
  if (!(value >= min && value <= max) || (whole && value !== Infinity && !Number.isInteger(value))) {
    throw outOfRange(`${name} must be ${whole ? 'an integer' : 'a number'} from ${min} to ${max}, got ${value}`)
  }
  return value
}

/** Checks and returns the option `name`. */
export function flag<K extends string>(from: { [name in K]?: unknown }, name: K): boolean | undefined {
  const value: unknown = from[name]
  if (value === undefined || typeof value === 'boolean') return value
  throw invalidType(`${name} must be a boolean, got ${quote(value)}`)
}

/** Throws a TypeError if `value` is not an object. */
export function mustBeObject(name: string, value: unknown): void {
  if (value === null || typeof value !== 'object') throw invalidType(`${name} must be an object, got ${quote(value)}`)
}

/** Formats a value for an error message. */
export function quote(value: unknown): string {
  return inspect(value, { depth: 0, breakLength: Infinity })
}
