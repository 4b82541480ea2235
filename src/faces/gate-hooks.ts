/*
 * The stream methods that both faces share, each connected to the gate.
 *
 * One face extends Node's Duplex, the other the Duplex of readable-stream. They
 * have no common base class that could hold these methods.
 */
import type { Duplex } from 'node:stream'
import type { Gate } from '../core/gate.ts'
import type { RenegotiateOptions } from '../core/options.ts'
import type { RenegotiationStream } from '../core/renegotiation-stream.ts'
import type { CRL } from '../core/revocation-input.ts'

/** The members that a stream of this package adds to a Duplex. */
export type Gated = Pick<
  RenegotiationStream,
  'state' | 'heldBytes' | 'bytesInFlight' | 'counters' | 'renegotiate' | 'updateCRL' | 'unsent'
>

type Callback = (error?: Error | null) => void

/** A Duplex class, with the methods that are extended here. */
interface Base {
  readonly prototype: Pick<Duplex, 'write' | 'end' | 'uncork' | 'read'>
}

/**
 * Returns the methods and getters of a face, which extend those of `Base`.
 * `gateOf` returns the gate of a face. `Writable` must come from the same
 * library as `Base`.
 */
export function gateHooks<Face>(
  Base: Base,
  Writable: { readonly prototype: { destroy(error?: Error): unknown } },
  gateOf: (face: Face) => Gate,
) {
  const { write, end, uncork, read } = Base.prototype
  const { destroy } = Writable.prototype
  const hooks = {
    get state() {
      return gateOf(this as Face).state
    },
    get heldBytes() {
      return gateOf(this as Face).heldBytes
    },
    get bytesInFlight() {
      return gateOf(this as Face).bytesInFlight
    },
    get counters() {
      return gateOf(this as Face).counters
    },
    renegotiate(options?: RenegotiateOptions) {
      return gateOf(this as Face).renegotiate(options)
    },
    updateCRL(crl: CRL) {
      return gateOf(this as Face).updateCRL(crl)
    },
    unsent() {
      return gateOf(this as Face).unsent()
    },
    write(...args: unknown[]): boolean {
      const more = Reflect.apply(write, this, args)
      gateOf(this as Face).written()
      return more
    },
    end(...args: unknown[]) {
      Reflect.apply(end, this, args)
      gateOf(this as Face).written()
      return this
    },
    uncork(): void {
      Reflect.apply(uncork, this, [])
      gateOf(this as Face).written()
    },
    read(size?: number): unknown {
      const chunk = Reflect.apply(read, this, [size])
      gateOf(this as Face).wasRead(size)
      return chunk
    },
    /** A Duplex inherits Readable's destroy(), which never calls the callbacks of corked writes. Writable's does. */
    destroy(error?: Error) {
      Reflect.apply(destroy, this, [error])
      return this
    },
    _write(chunk: Buffer, _encoding: string, done: Callback): void {
      gateOf(this as Face).write(chunk, done)
    },
    _writev(chunks: { chunk: Buffer }[], done: Callback): void {
      gateOf(this as Face).writev(chunks, done)
    },
    _read(): void {
      gateOf(this as Face).read()
    },
    _final(done: Callback): void {
      gateOf(this as Face).final(done)
    },
  }
  return hooks
}

/** Defines the hooks on the prototype of a face, except those that the face defines itself. */
export function addHooks(prototype: object, hooks: object): void {
  for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(hooks))) {
    if (!Object.hasOwn(prototype, name)) Object.defineProperty(prototype, name, { ...descriptor, enumerable: false })
  }
}
