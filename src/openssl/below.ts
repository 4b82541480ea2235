/* What a TLS socket has from the socket, or other Duplex, that carries it. */
import type { EventEmitter } from 'node:events'
import type { Duplex } from 'node:stream'

/** Methods of the stream below. If it has none of that name, there is nothing to do. */
const methodsBelow = ['ref', 'setKeepAlive', 'setNoDelay', 'setTypeOfService', 'unref'] as const
const propertiesBelow = [
  'autoSelectFamilyAttemptedAddresses',
  'localAddress',
  'localFamily',
  'localPort',
  'remoteAddress',
  'remoteFamily',
  'remotePort',
] as const

/** Events of the stream below that a TLS socket emits as well. */
const passedOn = [
  'lookup',
  'connect',
  'ready',
  'connectionAttempt',
  'connectionAttemptFailed',
  'connectionAttemptTimeout',
]

/** The members of the stream below that a TLS socket has as well. A Duplex that is no net.Socket lacks them. */
export type Below = Duplex & {
  readonly connecting?: boolean | undefined
  readonly pending?: boolean | undefined
  address?(): object
}

/** Defines these methods and properties on the prototype of what has a stream below. */
export function addMembersBelow(prototype: { readonly below: Below }): void {
  const members = ({ below }: typeof prototype) => below as unknown as Record<string, unknown>
  for (const name of methodsBelow) {
    Object.defineProperty(prototype, name, {
      configurable: true,
      writable: true,
      value(this: typeof prototype, ...args: unknown[]) {
        const method = members(this)[name]
        if (typeof method === 'function') Reflect.apply(method, this.below, args)
        return this
      },
    })
  }
  for (const name of propertiesBelow) {
    Object.defineProperty(prototype, name, {
      configurable: true,
      get(this: typeof prototype) {
        return members(this)[name]
      },
    })
  }
}

/** Emits the events of `below` on `target`, until `below` has closed. */
export function passOnEvents(below: Below, target: EventEmitter): void {
  const listeners = passedOn.map((event) => [event, (...args: unknown[]) => target.emit(event, ...args)] as const)
  for (const [event, listener] of listeners) below.on(event, listener)
  // Not earlier: `ready` follows `connect` even if a listener of that destroys the stream.
  below.once('close', () => {
    for (const [event, listener] of listeners) below.off(event, listener)
  })
}
