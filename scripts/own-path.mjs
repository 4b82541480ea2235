import { existsSync, realpathSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'

/**
 * The PATH for tests that run "node", which must be the Node that runs this. Its directory comes first only if it has to:
 * it may be one with many other programs, and then a PATH that was to hide them would not.
 */
export function pathOfOwnNode() {
  const path = process.env.PATH ?? ''
  const first = path
    .split(delimiter)
    .map((directory) => join(directory, 'node'))
    .find(existsSync)
  const own = realpathSync(process.execPath)
  return first !== undefined && realpathSync(first) === own ? path : `${dirname(own)}${delimiter}${path}`
}
