import { type EventEmitter, errorMonitor } from 'node:events'
import type { TLSSocket } from 'node:tls'
import { isSecured, observeHandshakes } from '../transports/node-internals.ts'
import type { GuardCounts } from './counts.ts'

/** Counts the renegotiations of a socket, and changes nothing about it. */
export function watch(socket: TLSSocket, counts: GuardCounts): void {
  counts.guarded++
  // While a client connects, Node may replace the handle (autoSelectFamily).
  if (isSecured(socket)) watchHandshakes(socket, counts)
  else socket.once('secure', () => watchHandshakes(socket, counts))
}

function watchHandshakes(socket: TLSSocket, counts: GuardCounts): void {
  /** The Finished message of the handshake before. Undefined while no handshake is in progress. */
  let before: Buffer | undefined
  const started = () => {
    before ??= socket.getFinished()
  }
  const done = () => {
    // Where this end refuses, Node reports a handshake that did not take place.
    if (before !== undefined && socket.getFinished()?.equals(before) === false) counts.renegotiations++
    else counts.failed++
    before = undefined
  }
  observeHandshakes(socket, started, done)
  const failed = () => {
    if (before !== undefined) counts.failed++
    before = undefined
  }
  // A socket whose peer refuses emits `error`, but never closes.
  ;(socket as EventEmitter).once(errorMonitor, failed)
  socket.once('close', failed)
}
