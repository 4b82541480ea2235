/*
 * What the runs came to: in numbers, and whether it is as it should be.
 */
import type { End, Link } from './link.ts'
import { bytes, type Cell, milliseconds, type Row } from './screen.ts'

export function progressLine(link: Link): string {
  const { client, server } = link
  const hold = client.status.holds.at(-1)
  return [
    `  ${link.seconds.toFixed(1).padStart(4)} s`,
    `to server ${bytes(server.status.receivedBytes)}`,
    `to client ${bytes(client.status.receivedBytes)}`,
    `renegotiations ${renegotiations(link)}${hold === undefined ? '' : ` (${milliseconds(hold)})`}`,
  ].join('  ')
}

/** A column for each link. */
export function table(links: readonly Link[], fileBytes: number): Row[] {
  const row = (name: string, cell: (link: Link) => Cell | string): Row => [name, ...links.map(cell)]
  const direction = (name: string, ends: (link: Link) => [from: End, to: End]): Row[] => [
    row(name, (link) => transferred(link, ...ends(link), fileBytes)),
    row('  SHA-256 sent, received', (link) => compareHashes(...ends(link))),
    row('  goodput', (link) => goodput(link, ends(link)[1])),
  ]
  return [
    row('renegotiations', (link) => `${renegotiations(link)}`),
    row('  begun by the client', ({ client }) => `${client.status.ownRenegotiations}`),
    row('  begun by the server', ({ server }) => `${server.status.ownRenegotiations}`),
    row('  of them by both at once', (link) => `${begunByBoth(link)}`),
    row('writes held, median', (link) => milliseconds(median(holds(link)))),
    row('writes held, longest', (link) => milliseconds(holds(link).at(-1))),
    ...direction('client → server', ({ client, server }) => [client, server]),
    ...direction('server → client', ({ client, server }) => [server, client]),
    row('outcome', (link) =>
      isLost(link)
        ? { text: `lost at renegotiation ${renegotiations(link) + 1}`, good: false }
        : { text: 'came through', good: true },
    ),
  ]
}

/** It is to be lost, and to the cause that this package is about. */
export function problemsOfPlain(link: Link): string[] {
  const { client, server } = link
  if (!isLost(link)) return [`The plain connection came through ${renegotiations(link)} renegotiations.`]
  if (/unexpected record/i.test(`${client.outcome?.error} ${server.outcome?.error}`)) return []
  return ['The plain connection was lost, but not to an "unexpected record".']
}

export function problemsOfWrapped(link: Link): string[] {
  const { client, server } = link
  if (isLost(link)) return ['The wrapped connection was lost.']
  const problems: string[] = []
  if (!compareHashes(client, server).good) problems.push('What the server received is not what the client sent.')
  if (!compareHashes(server, client).good) problems.push('What the client received is not what the server sent.')
  if (client.status.renegotiations !== server.status.renegotiations) {
    problems.push('The two ends do not agree on how many renegotiations there were.')
  }
  for (const { role, status } of [client, server]) {
    if (status.ownRenegotiations === 0) problems.push(`The ${role} has not renegotiated once.`)
  }
  return problems
}

function isLost({ client, server }: Link): boolean {
  return client.outcome?.error !== undefined || server.outcome?.error !== undefined
}

/** When the link is lost, one end may have seen one more than the other. */
function renegotiations({ client, server }: Link): number {
  return Math.max(client.status.renegotiations, server.status.renegotiations)
}

/** They count at either end. A link that was lost may leave one that nobody owns up to. */
function begunByBoth(link: Link): number {
  const { client, server } = link
  return Math.max(0, client.status.ownRenegotiations + server.status.ownRenegotiations - renegotiations(link))
}

/** At both ends, in milliseconds, the longest last. */
function holds({ client, server }: Link): number[] {
  return [...client.status.holds, ...server.status.holds].sort((a, b) => a - b)
}

function median(sorted: readonly number[]): number | undefined {
  return sorted[Math.floor(sorted.length / 2)]
}

function transferred(link: Link, from: End, to: End, fileBytes: number): string {
  const { receivedBytes } = to.status
  if (!isLost(link)) return `${bytes(receivedBytes)}, ${receivedBytes / fileBytes} × the file`
  return `${bytes(receivedBytes)} of ${from.outcome?.sentHash ? bytes(from.status.sentBytes) : '?'}`
}

/** An end that was killed has told none. */
function compareHashes(from: End, to: End): Cell {
  const sentHash = from.outcome?.sentHash ?? ''
  const receivedHash = to.outcome?.receivedHash ?? ''
  const isEqual = sentHash !== '' && sentHash === receivedHash
  const [sent, received] = [sentHash, receivedHash].map((hash) => (hash === '' ? '?' : `${hash.slice(0, 8)}…`))
  return { text: isEqual ? `equal: ${sent}` : `differ: ${sent}, ${received}`, good: isEqual }
}

function goodput(link: Link, to: End): string {
  return isLost(link) ? '–' : `${bytes(to.status.receivedBytes / to.status.seconds)}/s`
}
