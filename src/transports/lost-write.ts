import type { TLSSocket } from 'node:tls'
import { brokenPipe } from '../core/errors.ts'
import type { WriteCallback } from '../core/transport.ts'
import { strandedBytes } from './node-internals.ts'

/**
 * Returns the callback for a write that follows a HelloRequest without an answer. It calls `done` once: when Node calls
 * back, or with EPIPE if Node has lost the write and will never call back.
 *
 * This is how Node loses it. OpenSSL begins a handshake only between two records (ssl3_renegotiate_check). If the server
 * asks for one when it has received a part of a record, the HelloRequest is sent later, when the rest is read. No write
 * of the application is in progress then. So if the connection was reset, there is no callback that could get the error
 * (TLSWrap::InvokeQueued). Reading does not report it either, because TCP reports a reset only once, and afterwards the
 * end of the data. TLSWrap takes the failed write for one in progress from then on (`write_size_` in TLSWrap::EncOut).
 * It still encrypts what is written, but passes nothing to TCP and calls nobody back.
 *
 * A client that has closed only its own side must get all data, however slowly it reads. There, either TCP has data to
 * send, or TLSWrap passes some to TCP in each turn of the event loop. So the write is lost if TCP has nothing to send
 * and TLSWrap keeps the same data for a whole turn. Once TCP has data of this write, its callback gets any later error.
 */
export function reportIfLost(socket: TLSSocket, done: WriteCallback): WriteCallback {
  let inFlight = true
  let strandedBefore = 0
  const settle: WriteCallback = (error, bytesTaken) => {
    if (!inFlight) return
    inFlight = false
    done(error, bytesTaken)
  }
  const look = (): void => {
    const stranded = inFlight ? strandedBytes(socket) : 0
    if (stranded === 0) return
    if (stranded === strandedBefore) {
      settle(brokenPipe())
    } else {
      strandedBefore = stranded
      setImmediate(look)
    }
  }
  setImmediate(look)
  return settle
}
