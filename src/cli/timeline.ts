/*
 * Collects what happens in a soak as a table over time.
 */
import type { Mark, Side, Status } from './soak-messages.ts'

/** What happened in one span of time. */
export interface Column {
  /** Bytes that the client sent and received. */
  toServer: number
  toClient: number
  /** How many renegotiations or key updates each end began. */
  byClient: number
  byServer: number
  /** The longest time that writes were held, in milliseconds. 0 if none were. */
  clientHoldMs: number
  serverHoldMs: number
  /** Resident memory at the end of the span, in bytes. 0 if unknown. */
  clientRss: number
  serverRss: number
}

/**
 * A soak in columns of equal time. There are never more than `MAX_COLUMNS`: when
 * they are used up, each two neighbours become one column of twice the time.
 */
export class Timeline {
  static readonly MAX_COLUMNS = 1200
  /** Milliseconds that one column covers. */
  columnMs = 250
  readonly columns: Column[] = []
  #sent = 0
  #received = 0

  /** Adds a status. `at`: milliseconds since the beginning. */
  status(at: number, side: Side, { sentBytes, receivedBytes, rssBytes, counters }: Status): void {
    const column = this.#column(at)
    if (side === 'server') {
      column.serverRss = rssBytes
      return
    }
    const gone = sentBytes - counters.heldBytes
    column.toServer += gone - this.#sent
    column.toClient += receivedBytes - this.#received
    column.clientRss = rssBytes
    this.#sent = gone
    this.#received = receivedBytes
  }

  /** Adds a renegotiation or key update. Both ends report each one: it is counted at the client only. */
  mark(at: number, side: Side, { origin, holdMs }: Mark): void {
    const column = this.#column(at)
    if (side === 'server') {
      column.serverHoldMs = Math.max(column.serverHoldMs, holdMs)
      return
    }
    column.clientHoldMs = Math.max(column.clientHoldMs, holdMs)
    if (origin === 'local') column.byClient++
    else column.byServer++
  }

  /** The median memory of the first third of the time and of the last third, in bytes. 0 if unknown. */
  memory(side: Side): readonly [number, number] {
    const known = this.columns.map((column) => column[`${side}Rss`]).filter((rss) => rss > 0)
    const third = Math.ceil(known.length / 3)
    const median = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
    return [median(known.slice(0, third)), median(known.slice(known.length - third))]
  }

  #column(at: number): Column {
    while (at >= this.columnMs * Timeline.MAX_COLUMNS) this.#halve()
    const index = Math.floor(at / this.columnMs)
    while (this.columns.length <= index) this.columns.push({ ...EMPTY })
    return this.columns[index] as Column
  }

  #halve(): void {
    this.columnMs *= 2
    const halves = this.columns.splice(0)
    for (let i = 0; i < halves.length; i += 2) this.columns.push(merge(halves[i] as Column, halves[i + 1] ?? EMPTY))
  }
}

const EMPTY: Readonly<Column> = {
  toServer: 0,
  toClient: 0,
  byClient: 0,
  byServer: 0,
  clientHoldMs: 0,
  serverHoldMs: 0,
  clientRss: 0,
  serverRss: 0,
}

function merge(first: Column, second: Column): Column {
  return {
    toServer: first.toServer + second.toServer,
    toClient: first.toClient + second.toClient,
    byClient: first.byClient + second.byClient,
    byServer: first.byServer + second.byServer,
    clientHoldMs: Math.max(first.clientHoldMs, second.clientHoldMs),
    serverHoldMs: Math.max(first.serverHoldMs, second.serverHoldMs),
    clientRss: second.clientRss || first.clientRss,
    serverRss: second.serverRss || first.serverRss,
  }
}
