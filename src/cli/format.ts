/*
 * Formats durations, sizes and names for people.
 */

/** Formats a duration: 1.5 s, 2 min 30 s, 8 h. */
export function time(milliseconds: number): string {
  const seconds = milliseconds / 1000
  if (seconds < 60) return `${Number(seconds.toFixed(1))} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return joined(`${minutes} min`, Math.floor(seconds % 60), 's')
  return joined(`${Math.floor(minutes / 60)} h`, minutes % 60, 'min')
}

function joined(whole: string, rest: number, unit: string): string {
  return rest === 0 ? whole : `${whole} ${rest} ${unit}`
}

/** Formats a number of bytes with decimal units (1 kB is 1000 bytes), as is usual for networks. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']
  let value = count
  let unit = 0
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${units[unit]}`
}

/** Formats milliseconds with about three significant digits. */
export function ms(value: number): string {
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ms`
}

/** What changes the keys, in words. Add an s for more than one. */
export function nounOf(kind: 'renegotiation' | 'key-update'): string {
  return kind === 'key-update' ? 'key update' : 'renegotiation'
}
