import { existsSync, realpathSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'

/**
 * The PATH for tests that run "node", which must be the Node that runs this. The directory of this Node is put in front
 * only if another "node" would be found. It may be /usr/bin, which has many programs that the PATH does not show.
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
