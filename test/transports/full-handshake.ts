import { setImmediate as turn } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import t from 'tap'
import { ownTicketKeys, refuseTickets } from '../../src/transports/full-handshake.ts'
import type { TicketContext } from '../../src/transports/node-internals.ts'

/** A context that holds `keys`, and a socket of it. */
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

t.test('the keys are random ones for what is left of the turn', async (t) => {
  const { context, socket } = fake(own)
  const seen = new Set<string>()
  for (let i = 0; i < 3; i++) {
    refuseTickets(socket)
    t.equal(context.keys.length, 48)
    seen.add(context.keys.toString('hex'))
    await null
    await new Promise<void>((resolve) => process.nextTick(resolve))
    t.not(context.keys.equals(own), true, 'neither promises nor ticks have them back')
    t.strictSame(ownTicketKeys(context.keys), own, 'who asks for the keys of the server gets its own')
    await turn()
    t.strictSame(context.keys, own)
    t.equal(ownTicketKeys(context.keys), context.keys)
  }
  t.equal(seen.size, 3)
})

t.test('several in a turn, on one context and on others', async (t) => {
  const one = fake(own)
  const other = fake(Buffer.alloc(48, 'other'))
  for (let i = 0; i < 3; i++) for (const { socket } of [one, other]) refuseTickets(socket)
  t.not(one.context.keys.equals(other.context.keys), true)
  await turn()
  t.strictSame([one.context.keys, other.context.keys], [own, Buffer.alloc(48, 'other')])
})

t.test('keys that are set meanwhile stay, also where another handshake begins after that', async (t) => {
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

t.test('where the keys cannot be changed nothing happens', async (t) => {
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
