import tls, { type TLSSocket } from 'node:tls'
import { invalidType, invalidValue } from '../core/errors.ts'
import { quote } from '../core/values.ts'
import { readsIntoBuffer } from './node-internals.ts'

/** Kept here, because somebody may replace `tls.TLSSocket`. */
const PlainTLSSocket = tls.TLSSocket

/** @throws TypeError if no transport can be made over `socket`. */
export function mustBeWrappable(socket: TLSSocket): void {
  if (!(socket instanceof PlainTLSSocket)) throw invalidType(`socket must be a tls.TLSSocket, got ${quote(socket)}`)
  // A stream of this package passes `instanceof tls.TLSSocket`, but is none.
  if ('heldBytes' in socket)
    throw invalidValue('socket must not be a stream of this package, which renegotiates already')
  if (socket.readableEncoding !== null) {
    throw invalidValue(`socket must not have an encoding set, it has '${socket.readableEncoding}'`)
  }
  if (readsIntoBuffer(socket))
    throw invalidValue('socket must not be made with the option onread, which takes its data')
}
