import type { ConnectionOptions, TLSSocket } from 'node:tls'

/**
 * `node:tls`. Not imported: under import-in-the-middle, which OpenTelemetry uses, the first import of a module copies
 * what it exports. The copies of `node:tls` must be made after its `connect()` is replaced.
 */
export const tls = process.getBuiltinModule('node:tls')

type Connect = (...args: unknown[]) => TLSSocket

/** What all copies of this package in a process share, so that they guard `node:tls` only once. */
interface Shared {
  /** The `tls.connect()` at the time of import, because a program may assign `tls.connect = connect`. */
  readonly connect: Connect
  /** How many calls of it are in progress. */
  connecting: number
  /** The sockets that it has made. */
  readonly made: WeakSet<TLSSocket>
  /** Whether `node:tls` is guarded for the whole process. */
  registered: boolean
}

const KEY = Symbol.for('renegotiation-duplex.shared')
const global = globalThis as { [KEY]?: Shared }
global[KEY] ??= { connect: tls.connect as Connect, connecting: 0, made: new WeakSet(), registered: false }
const shared = global[KEY]

/** Whether `node:tls` is guarded for the whole process. */
export function isRegistered(): boolean {
  return shared.registered
}

/** Marks `node:tls` as guarded. */
export function setRegistered(): void {
  shared.registered = true
}

/** Calls Node's own `tls.connect()`. */
export function connectPlain(args: readonly unknown[]): TLSSocket {
  shared.connecting++
  try {
    const socket = shared.connect(...args)
    shared.made.add(socket)
    return socket
  } finally {
    shared.connecting--
  }
}

/** Whether {@link connectPlain} is making this socket, or has made it. */
export function isMadeByUs(socket: TLSSocket): boolean {
  return shared.connecting > 0 || shared.made.has(socket)
}

/** The options among the arguments of `tls.connect()`, which may be two objects. */
export function optionsOf(args: readonly unknown[]): ConnectionOptions | undefined {
  const all = args.filter((arg): arg is ConnectionOptions => typeof arg === 'object' && arg !== null)
  return all.length > 1 ? Object.assign({}, ...all) : all[0]
}
