import { setImmediate as turn } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import t from 'tap'
import { ownTicketKeys, refuseTickets } from '../../src/transports/full-handshake.ts'
import type { TicketContext } from '../../src/transports/node-internals.ts'

/** A context that holds `keys`, and a socket that uses it. */
function fake(keys: Buffer) {
  const context = {
    keys,
    getTicketKeys: () => Buffer.from(context.keys),
    setTicketKeys(keys: Buffer) {
      context.keys = Buffer.from(keys)
    },
  }
  return { context, socket: socketOf(context) }
}

function socketOf(context: Partial<TicketContext>): TLSSocket {
  return { _handle: { _secureContext: { context } } } as unknown as TLSSocket
}

const own = Buffer.alloc(48, 'own')

t.test('refuseTickets() sets random ticket keys until the end of the turn', async (t) => {
  const { context, socket } = fake(own)
  const seen = new Set<string>()
  for (let i = 0; i < 3; i++) {
    refuseTickets(socket)
    t.equal(context.keys.length, 48)
    seen.add(context.keys.toString('hex'))
    await null
    await new Promise<void>((resolve) => process.nextTick(resolve))
    t.not(context.keys.equals(own), true, 'promises and ticks still see the random keys')
    t.strictSame(ownTicketKeys(context.keys), own, "ownTicketKeys() returns the server's own keys")
    await turn()
    t.strictSame(context.keys, own)
    t.equal(ownTicketKeys(context.keys), context.keys)
  }
  t.equal(seen.size, 3)
})

t.test('several calls of refuseTickets() in a turn restore the keys of each context', async (t) => {
  const one = fake(own)
  const other = fake(Buffer.alloc(48, 'other'))
  for (let i = 0; i < 3; i++) for (const { socket } of [one, other]) refuseTickets(socket)
  t.not(one.context.keys.equals(other.context.keys), true)
  await turn()
  t.strictSame([one.context.keys, other.context.keys], [own, Buffer.alloc(48, 'other')])
})

t.test('ticket keys that are set in the meantime stay, even if another handshake begins after that', async (t) => {
  const { context, socket } = fake(own)
  for (const another of [false, true]) {
    const theirs = Buffer.alloc(48, `theirs ${another}`)
    refuseTickets(socket)
    context.setTicketKeys(theirs)
    if (another) refuseTickets(socket)
    t.equal(context.keys.equals(theirs), !another)
    await turn()
    t.strictSame(context.keys, theirs)
  }
})

t.test('if the ticket keys cannot be changed, refuseTickets() does nothing', async (t) => {
  const no = () => {
    throw new Error('no')
  }
  for (const broken of [{}, { getTicketKeys: no }, { setTicketKeys: no }, { getTicketKeys: undefined }]) {
    const { context } = fake(own)
    refuseTickets(socketOf(Object.assign(context, broken) as Partial<TicketContext>))
  }
  refuseTickets({} as TLSSocket)
  const { context } = fake(own)
  refuseTickets(socketOf(Object.assign(context, { setTicketKeys: no })))
  await turn()
  t.strictSame(context.keys, own)
})
