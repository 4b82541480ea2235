import { X509Certificate } from 'node:crypto'
import sinon from 'sinon'
import t from 'tap'
import { RenegotiationError } from '../../src/core/errors.ts'
import { Revocation } from '../../src/core/revocation.ts'
import type { RevocationMember } from '../../src/core/revocation-update.ts'
import { type ListOptions, makeCRL, makePEM, subjectOf } from '../fixtures/make-crl.ts'
import * as all from '../fixtures/revocation-pki.ts'
import { rejection } from '../fixtures/settled.ts'

const pki = { ...all }
type Name = keyof typeof pki
const certificate = (name: Name) => new X509Certificate(pki[name].cert)
const chain = (...names: Name[]) => names.map(certificate)

/** Lists of a stream that trusts these authorities. */
function lists(...trusted: Name[]) {
  const revocation = new Revocation()
  const update = (...crls: (string | Buffer)[]) =>
    revocation.update(crls, (others) => ({ trusted: chain(...trusted), others }))
  return { revocation, update, revoked: (...names: Name[]) => revocation.revoked(chain(...names)) }
}

t.test('without lists, nobody is revoked', async (t) => {
  const { revocation, revoked } = lists('authority')
  t.equal(revocation.hasLists, false)
  t.equal(revoked('station', 'authority'), undefined)
})

t.test('a list revokes certificates of its authority, wherever they are in a chain', async (t) => {
  const { update, revoked } = lists('authority')
  await update(makeCRL(pki.authority, { revoked: [pki.station.cert, pki.intermediate.cert] }))
  t.match(revoked('station', 'authority'), { code: 'ERR_RENEGOTIATION_REVOKED', message: /of the peer is revoked/ })
  t.match(revoked('remoteStation', 'intermediate', 'authority'), { message: /of its authority is revoked/ })
  t.equal(revoked('otherStation', 'authority'), undefined)
  t.equal(revoked(), undefined)
})

t.test('the same serial number of another authority is not revoked', async (t) => {
  const { update, revoked } = lists('authority', 'intermediate')
  await update(makeCRL(pki.intermediate, { revoked: [pki.station.cert] }))
  t.equal(revoked('station', 'authority'), undefined)
})

t.test('a peer cannot hide a revoked authority behind a false one with the same name', async (t) => {
  const { update, revoked } = lists('authority')
  await update(makeCRL(pki.authority, { revoked: [pki.intermediate.cert] }))
  t.match(revoked('remoteStation', 'falseIntermediate'), { code: 'ERR_RENEGOTIATION_REVOKED', message: /false issuer/ })
  t.match(revoked('station', 'edAuthority'), { code: 'ERR_RENEGOTIATION_REVOKED', message: /false issuer/ })
})

t.test('a list replaces that of its authority, and leaves those of others', async (t) => {
  const { update, revoked } = lists('authority', 'intermediate')
  await update(makeCRL(pki.authority, { revoked: [pki.station.cert] }))
  await update(makeCRL(pki.intermediate, { revoked: [pki.remoteStation.cert] }))
  t.ok(revoked('station'))
  await update(makeCRL(pki.authority, { revoked: [pki.otherStation.cert], number: 2 }))
  t.equal(revoked('station'), undefined)
  t.ok(revoked('otherStation'))
  t.ok(revoked('remoteStation'))
})

t.test('the name of an authority may be spelled in another way', async (t) => {
  const { update, revoked } = lists('authority')
  // A PrintableString in place of a UTF8String.
  const issuer = Buffer.from(subjectOf(pki.authority.cert))
  issuer[issuer.indexOf('plant') - 2] = 0x13
  await update(makeCRL(pki.authority, { revoked: [pki.station.cert], issuer }))
  t.ok(revoked('station'))
})

t.test('an authority counts if a trusted one has issued it, directly or not', async (t) => {
  const list = makePEM(pki.intermediate, { revoked: [pki.remoteStation.cert] })
  const { update, revoked } = lists('authority')
  t.match(await rejection(update(list)), { code: 'ERR_CRL_UNKNOWN_ISSUER' })
  await update(`${pki.intermediate.cert}\n${pki.stranger.cert}\n${list}`)
  t.ok(revoked('remoteStation'))
  const distrusting = lists('stranger', 'edAuthority')
  t.match(await rejection(distrusting.update(`${pki.intermediate.cert}\n${list}`)), { code: 'ERR_CRL_UNKNOWN_ISSUER' })
})

t.test('a peer with a certificate that cannot issue others is no authority', async (t) => {
  const { update } = lists('authority')
  const list = makePEM(pki.station, { revoked: [pki.otherStation.cert] })
  t.match(await rejection(update(`${pki.station.cert}\n${list}`)), { code: 'ERR_CRL_UNKNOWN_ISSUER' })
})

const hour = 3_600_000
const bad: Record<string, { code: string; list: Buffer }> = {
  'has expired': {
    code: 'ERR_CRL_EXPIRED',
    list: makeCRL(pki.authority, { number: 9, nextUpdate: new Date(Date.now() - hour / 2) }),
  },
  'is of a later time': {
    code: 'ERR_CRL_NOT_YET_VALID',
    list: makeCRL(pki.authority, { number: 9, thisUpdate: new Date(Date.now() + hour) }),
  },
  'is of an authority that nobody trusts': { code: 'ERR_CRL_UNKNOWN_ISSUER', list: makeCRL(pki.stranger) },
  'is signed by another authority with the same name': {
    code: 'ERR_CRL_BAD_SIGNATURE',
    list: makeCRL(pki.namesake, { number: 9 }),
  },
  'has a lower number': { code: 'ERR_CRL_OUTDATED', list: makeCRL(pki.authority, { number: 4 }) },
  'is earlier and has no number': {
    code: 'ERR_CRL_OUTDATED',
    list: makeCRL(pki.authority, { number: undefined, thisUpdate: new Date(Date.now() - 2 * hour) }),
  },
  'is not a list': { code: 'ERR_CRL_UNREADABLE', list: Buffer.from('list') },
}

for (const [what, { code, list }] of Object.entries(bad)) {
  t.test(`a list that ${what} is refused, and the one before stays, also if others come with it`, async (t) => {
    const { update, revoked } = lists('authority', 'intermediate')
    await update(makeCRL(pki.authority, { revoked: [pki.station.cert], number: 5 }))
    const good = makeCRL(pki.intermediate, { revoked: [pki.remoteStation.cert] })
    t.match(await rejection(update(good, list)), { code })
    t.ok(revoked('station'))
    t.equal(revoked('remoteStation'), undefined)
  })
}

t.test('of two lists in one update, the later one must not be older', async (t) => {
  const { update } = lists('authority')
  const [old, young] = [makeCRL(pki.authority, { number: 1 }), makeCRL(pki.authority, { number: 2 })]
  t.match(await rejection(update(young, old)), { code: 'ERR_CRL_OUTDATED' })
  t.match(await update(old, young, young), { checked: 0 })
})

t.test('lists for different certificates of one authority are both in force', async (t) => {
  const { update, revoked } = lists('authority')
  const only = (tag: number): ListOptions['extensions'] => {
    const point = Buffer.from([0x30, 3, tag, 1, 0xff])
    return [Buffer.concat([Buffer.from('300f0603551d1c0101ff0405', 'hex'), point])]
  }
  await update(makeCRL(pki.authority, { revoked: [pki.station.cert], extensions: only(0x81) as Buffer[] }))
  await update(makeCRL(pki.authority, { revoked: [pki.intermediate.cert], extensions: only(0x82) as Buffer[] }))
  t.ok(revoked('station'))
  t.ok(revoked('intermediate'))
})

t.test('a list that expires stays in force, and a longer time than a timer has is waited for in parts', async (t) => {
  const clock = sinon.useFakeTimers({ now: Date.now(), toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  t.teardown(() => clock.restore())
  const { update, revoked, revocation } = lists('authority', 'intermediate')
  const days = 24 * hour
  await update(
    makeCRL(pki.authority, { revoked: [pki.station.cert], nextUpdate: new Date(Date.now() + 60 * days) }),
    makeCRL(pki.intermediate, { nextUpdate: null }),
  )
  t.equal(clock.countTimers(), 1)
  clock.tick(59 * days)
  t.equal(clock.countTimers(), 1)
  clock.tick(2 * days)
  t.equal(clock.countTimers(), 0)
  t.ok(revoked('station'))
  revocation.stop()
})

/** A stream in name only. */
class Member implements RevocationMember {
  isClosed = false
  wasRevoked = false
  mayChangeIdentity = false
  canRenegotiate = true
  handshakes = 0
  error: RenegotiationError | undefined
  handshake: () => Promise<unknown> = async () => {}

  revoked() {
    return this.error
  }

  renegotiate() {
    this.handshakes++
    return this.handshake()
  }

  destroy(error: RenegotiationError) {
    this.isClosed = true
    this.wasRevoked = error.code === 'ERR_RENEGOTIATION_REVOKED'
  }
}

const revokedError = new RenegotiationError('ERR_RENEGOTIATION_REVOKED', 'revoked')
const list = makeCRL(pki.authority)

async function updated(...members: Member[]) {
  const { revocation, update } = lists('authority')
  for (const member of members) revocation.members.add(member)
  return update(list)
}

t.test('a stream that was destroyed already is not counted', async (t) => {
  const member = Object.assign(new Member(), { isClosed: true })
  t.same(await updated(member), { checked: 0, revoked: 0, failed: 0, notRenegotiated: 0 })
})

t.test('a revoked peer that may bring another certificate gets a handshake for it', async (t) => {
  const good = Object.assign(new Member(), { error: revokedError, mayChangeIdentity: true })
  t.same(await updated(good), { checked: 1, revoked: 0, failed: 0, notRenegotiated: 0 })
  t.equal(good.handshakes, 1)
})

t.test('if the handshake fails and the stream is still there, its last certificates decide', async (t) => {
  const refuses = async () => {
    throw new RenegotiationError('ERR_RENEGOTIATION_DRAIN_TIMEOUT', 'late')
  }
  const good = Object.assign(new Member(), { handshake: refuses })
  const bad = Object.assign(new Member(), { handshake: refuses, error: revokedError, mayChangeIdentity: true })
  t.same(await updated(good, bad), { checked: 2, revoked: 1, failed: 0, notRenegotiated: 1 })
  t.equal(bad.wasRevoked, true)
})

t.test('if the stream ends in the handshake, it counts as revoked or as failed', async (t) => {
  const ends = (wasRevoked: boolean) => {
    const member = new Member()
    member.handshake = async () => {
      Object.assign(member, { isClosed: true, wasRevoked })
      throw new RenegotiationError('ERR_RENEGOTIATION_CLOSED', 'closed')
    }
    return member
  }
  t.same(await updated(ends(true), ends(false)), { checked: 2, revoked: 1, failed: 1, notRenegotiated: 0 })
})

t.test('thousands of streams take turns, and the event loop goes on', async (t) => {
  let inProgress = 0
  let most = 0
  let turns = 0
  const count = () => {
    turns++
    immediate = setImmediate(count)
  }
  let immediate = setImmediate(count)
  const members = Array.from({ length: 300 }, () => {
    const member = new Member()
    member.revoked = () => {
      const end = performance.now() + 0.2
      while (performance.now() < end);
      return undefined
    }
    member.handshake = async () => {
      most = Math.max(most, ++inProgress)
      await new Promise((resolve) => setImmediate(resolve))
      inProgress--
    }
    return member
  })
  t.match(await updated(...members), { checked: 300 })
  clearImmediate(immediate)
  t.ok(most <= 8, `${most} at once`)
  t.ok(turns > 300 / 8, `${turns} turns of the event loop`)
})
