/* Checks of options with the errors of Node: the same codes and the same messages. */
import { inspect } from 'node:util'
import { invalidType, invalidValue, outOfRange } from '../core/errors.ts'

/** @throws TypeError with the code ERR_INVALID_ARG_TYPE if `value` is not a string. */
export function mustBeString(name: string, value: unknown): asserts value is string {
  if (typeof value !== 'string') throw wrongType(name, 'of type string', value)
}

/** @throws TypeError with the code ERR_INVALID_ARG_TYPE if `value` is not a function. */
export function mustBeFunction(name: string, value: unknown): void {
  if (typeof value !== 'function') throw wrongType(name, 'of type function', value)
}

/** @throws TypeError with the code ERR_INVALID_ARG_TYPE if `value` is not an object. */
export function mustBeObject(name: string, value: unknown): asserts value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrongType(name, 'of type object', value)
}

/** @throws TypeError with the code ERR_INVALID_ARG_TYPE if `value` is neither a string nor bytes. */
export function mustBeText(name: string, value: unknown): asserts value is string | NodeJS.ArrayBufferView {
  if (typeof value === 'string' || ArrayBuffer.isView(value)) return
  throw wrongType(name, 'of type string or an instance of Buffer, TypedArray, or DataView', value)
}

/** @throws TypeError with the code ERR_INVALID_ARG_TYPE if `value` is not a view of bytes. */
export function mustBeBytes(name: string, value: unknown): asserts value is NodeJS.ArrayBufferView {
  if (!ArrayBuffer.isView(value)) throw wrongType(name, 'an instance of Buffer, TypedArray, or DataView', value)
}

/**
 * @throws TypeError with the code ERR_INVALID_ARG_TYPE if `value` is not a number; RangeError with the code
 *   ERR_OUT_OF_RANGE if it is less than `min`.
 */
export function mustBeNumber(name: string, value: unknown, min = -Infinity): asserts value is number {
  if (typeof value !== 'number') throw wrongType(name, 'of type number', value)
  if (value < min || Number.isNaN(value)) throw wrongRange(name, `>= ${min}`, value)
}

/**
 * @throws TypeError with the code ERR_INVALID_ARG_TYPE if `value` is not a number; RangeError with the code
 *   ERR_OUT_OF_RANGE if it is no time in milliseconds.
 */
export function mustBeDuration(name: string, value: unknown): asserts value is number {
  if (typeof value !== 'number') throw wrongType(name, 'of type number', value)
  if (value >= 0 && value < Infinity) return
  throw wrongRange(name, 'a non-negative finite number', value)
}

/**
 * @throws TypeError with the code ERR_INVALID_ARG_TYPE if `value` is not a number; RangeError with the code
 *   ERR_OUT_OF_RANGE if it is not an integer from `min` to `max`.
 */
export function mustBeInteger(
  name: string,
  value: unknown,
  min = Number.MIN_SAFE_INTEGER,
  max = Number.MAX_SAFE_INTEGER,
): asserts value is number {
  if (typeof value !== 'number') throw wrongType(name, 'of type number', value)
  if (!Number.isInteger(value)) throw wrongRange(name, 'an integer', value)
  if (value < min || value > max) throw wrongRange(name, `>= ${min} && <= ${max}`, value)
}

/** An option that may be an array, as an array. */
export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [value]
}

/** The error for a value of the right type that cannot be used. */
export function wrongValue(name: string, value: unknown, reason = 'is invalid'): TypeError {
  return invalidValue(`The ${kindOf(name)} '${name}' ${reason}. Received ${inspect(value)}`)
}

function wrongType(name: string, expected: string, value: unknown): TypeError {
  return invalidType(`The "${name}" ${kindOf(name)} must be ${expected}. Received ${describe(value)}`)
}

function wrongRange(name: string, expected: string, value: number): RangeError {
  return outOfRange(`The value of "${name}" is out of range. It must be ${expected}. Received ${value}`)
}

/** Node calls `options.ca` a property and `length` an argument. */
function kindOf(name: string): string {
  return name.includes('.') ? 'property' : 'argument'
}

/** A value with its type, as the errors of Node describe it. */
function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (typeof value === 'function') return `function ${value.name}`
  if (typeof value === 'object') {
    const { name } = value.constructor ?? {}
    return name ? `an instance of ${name}` : inspect(value, { depth: -1 })
  }
  const short = typeof value === 'string' && value.length > 28 ? `${value.slice(0, 25)}...` : value
  return `type ${typeof value} (${inspect(short)})`
}
