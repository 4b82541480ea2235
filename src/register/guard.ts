/*
 * Puts the streams of this package, or counters, in the place of the sockets of node:tls.
 *
 * Clients: `tls.connect()` is replaced. https, http2 and other modules of Node look it up with each call. Servers: the
 * prototype of `tls.Server` gets an `emit()` that replaces the sockets in its events. It serves each server of
 * `tls.createServer()`, `https`, `http2` and `new tls.Server()`, also those that exist already.
 */
import { syncBuiltinESMExports } from 'node:module'
import type { Server, TLSSocket } from 'node:tls'
import type { RenegotiationOptions } from '../core/options.ts'
import { connectPlain, isMadeByUs, optionsOf, tls } from '../tls/plain.ts'
import type { ServerStreams } from '../tls/server-streams.ts'
import type { Choice } from './choose.ts'
import { type GuardCounts, leaveAlone } from './counts.ts'
import { machine, machineIfLoaded } from './late.ts'

type Emit = (this: Server, event: string, ...args: unknown[]) => boolean

/** How `node:tls` is guarded. */
export interface GuardSettings {
  readonly mode: 'guard' | 'watch'
  readonly choice: Choice
  readonly renegotiation: RenegotiationOptions | undefined
  readonly counts: GuardCounts
}

export function guard(settings: GuardSettings): void {
  guardClients(settings)
  guardServers(settings)
  noticeCapturedReferences(settings)
  syncBuiltinESMExports()
}

function guardClients({ mode, choice, renegotiation, counts }: GuardSettings): void {
  // Options of servers, which a client refuses.
  const ofClients = renegotiation && { ...renegotiation, resumption: undefined, holdFrom: undefined }
  tls.connect = function connect(...args: unknown[]): TLSSocket {
    const host = args.find((arg, index) => index > 0 && typeof arg === 'string') as string | undefined
    const reason = choice.againstClient(optionsOf(args) ?? {}, host)
    const loaded = reason === undefined ? machine() : undefined
    if (loaded === undefined) {
      leaveAlone(counts, reason ?? 'not loaded')
      return connectPlain(args)
    }
    if (mode === 'watch') {
      const socket = connectPlain(args)
      loaded.watch(socket, counts)
      return socket
    }
    const stream = loaded.connectGuarded(args, ofClients)
    stream.disableRenegotiation = noEffect
    counts.guarded++
    return stream
  }
}

/**
 * In the place of `disableRenegotiation()`, which Node documents for all sockets, but which has no effect on a client.
 * The driver of MongoDB calls it, and its connections stay open with plain sockets when the server renegotiates.
 */
function noEffect(): void {}

function guardServers({ mode, choice, renegotiation, counts }: GuardSettings): void {
  const streams = new WeakMap<Server, ServerStreams>()
  /** What has been emitted in `secureConnection`. An event can pass more than one of the `emit()` below. */
  const seen = new WeakSet<TLSSocket>()
  const isGuarded = (socket: TLSSocket) => 'heldBytes' in socket
  const isChosen = (socket: TLSSocket) => !isGuarded(socket) && choice.againstAccepted(socket) === undefined

  function streamsOf(server: Server): ServerStreams | undefined {
    let own = streams.get(server)
    const loaded = machine()
    if (own === undefined && loaded !== undefined) {
      own = new loaded.ServerStreams(server, renegotiation, isChosen)
      streams.set(server, own)
    }
    return own
  }

  function guarded(server: Server, event: string, args: readonly unknown[]): readonly unknown[] {
    if (mode === 'watch') return args
    return streamsOf(server)?.replaceIn(event, args) ?? args
  }

  function count(socket: TLSSocket): void {
    // A program may emit the event itself, with any stream.
    if (!(socket instanceof tls.TLSSocket) || seen.has(socket)) return
    seen.add(socket)
    if (isGuarded(socket)) {
      counts.guarded++
      return
    }
    const loaded = machine()
    const reason =
      choice.againstAccepted(socket) ?? (mode === 'guard' || loaded === undefined ? 'not loaded' : undefined)
    if (reason === undefined) loaded?.watch(socket, counts)
    else leaveAlone(counts, reason)
  }

  /** Puts an `emit()` before that of this prototype, or, if it has none of its own, before that which it inherits. */
  function replaceEmit(prototype: Server): void {
    const own = Object.getOwnPropertyDescriptor(prototype, 'emit')?.value as Emit | undefined
    const parent = Object.getPrototypeOf(prototype) as { emit: Emit }
    Object.assign(prototype, {
      emit(this: Server, event: string, ...args: unknown[]): boolean {
        // Others may replace what is inherited at any time.
        const emit = own ?? parent.emit
        if (event !== 'connection' && event !== 'keylog' && event !== 'secureConnection') {
          return emit.call(this, event, ...args)
        }
        const replaced = guarded(this, event, args)
        if (event === 'secureConnection') count(replaced[0] as TLSSocket)
        return emit.call(this, event, ...replaced)
      },
    })
  }

  replaceEmit(tls.Server.prototype)
  const https = prototypeOfHttpsIfLoaded()
  // OpenTelemetry has put an `emit()` there, and calls the one that it found, instead of that of tls.Server.
  if (https !== undefined && Object.hasOwn(https, 'emit')) replaceEmit(https)

  const { getTicketKeys } = tls.Server.prototype
  Object.assign(tls.Server.prototype, {
    getTicketKeys(this: Server): Buffer {
      const keys = getTicketKeys.call(this)
      return machineIfLoaded()?.ownTicketKeys(keys) ?? keys
    },
  })
}

/** The prototype of `https.Server`. Undefined if https is not loaded yet; this package does not load it. */
function prototypeOfHttpsIfLoaded(): Server | undefined {
  const { moduleLoadList } = process as { moduleLoadList?: readonly string[] }
  // Not documented. If a release of Node does not have it, https is loaded.
  if (moduleLoadList?.includes('NativeModule https') === false) return undefined
  return process.getBuiltinModule('node:https').Server.prototype
}

/**
 * Notices clients that the guard did not make: `tls.connect()` connects its socket, or is given a connection and, most
 * of the time, the name of the server. A program that makes a TLSSocket itself may name the server as well.
 */
function noticeCapturedReferences({ counts, mode }: GuardSettings): void {
  const { prototype } = tls.TLSSocket
  // @types/node does not declare setServername().
  const { setServername } = prototype as TLSSocket & { setServername(name: string): void }
  const parent = Object.getPrototypeOf(prototype) as TLSSocket
  const seen = new WeakSet<TLSSocket>()

  function notice(socket: TLSSocket): void {
    if (isMadeByUs(socket) || seen.has(socket)) return
    seen.add(socket)
    if (counts.leftAlone.captured === undefined) warnOfCapturedReference(mode)
    leaveAlone(counts, 'captured')
  }

  Object.assign(prototype, {
    connect(this: TLSSocket, ...args: unknown[]): TLSSocket {
      notice(this)
      // Others may replace what is inherited at any time.
      return Reflect.apply(parent.connect, this, args)
    },
    setServername(this: TLSSocket, name: string): void {
      notice(this)
      setServername.call(this, name)
    },
  })
}

function warnOfCapturedReference(mode: 'guard' | 'watch'): void {
  process.emitWarning(
    `A TLS connection is not ${mode}ed. The program stored a reference to tls.connect() before ` +
      'renegotiation-duplex/register was loaded, or it made the TLSSocket itself. Load the guard first, with --import ' +
      'or as the first import.',
    { type: 'RenegotiationWarning', code: 'RENEGOTIATION_REGISTERED_LATE' },
  )
}
