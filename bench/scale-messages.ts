/* What the processes of `npm run bench -- --scale` tell each other. */

/** Bytes of one message on a connection. It is sent back. */
export const MESSAGE_BYTES = 1024

/** How much traffic there is: so many messages a second altogether, or as many as a hundred connections can. */
export type Load = 1000 | 'full'

export interface Plan {
  readonly connections: number
  readonly concurrency: number
  readonly load: Load
  /** Milliseconds after which all connections are due. */
  readonly everyMs: number
}

export type ToServer =
  /** Keeps so many connections, and guards them when all are there. */
  | { readonly accept: Plan }
  /** The traffic runs. */
  | { readonly go: true }

export type ToClient = { readonly connect: Plan; readonly port: number } | { readonly go: true }

/** Milliseconds, as `monitorEventLoopDelay()` has them: 10 more than the delay, which is its resolution. */
export interface LoopDelay {
  readonly p50: number
  readonly p99: number
  readonly max: number
}

/** What the server has measured. */
export interface Measured {
  /** Milliseconds from when the first connection was due until the last one was renewed. */
  readonly renewalMs: number
  /** Without and with renegotiations. */
  readonly before: LoopDelay
  readonly during: LoopDelay
  /** Messages a second. */
  readonly messagesBefore: number
  readonly messagesDuring: number
  /** Resident memory for each connection, in bytes: idle, and at most during the renewal. */
  readonly idleBytes: number
  readonly renewalBytes: number
  /** Of the CPU time of the server, milliseconds for each renewal. */
  readonly cpuMs: number
  /** How many connections were destroyed before they were renewed. */
  readonly lost: number
}

/** JSON has no Infinity. */
export interface Scaled extends Measured, Omit<Plan, 'concurrency'> {
  readonly concurrency: number | 'none'
}
