import { once } from 'node:events'
import t from 'tap'
import type { RenegotiationError, RenegotiationTLSSocket } from '../../src/index.ts'
import { makeCRL, makePEM } from '../fixtures/make-crl.ts'
import { Exchange, Station, stacks } from '../fixtures/plants.ts'
import {
  authority,
  intermediate,
  otherStation,
  remoteStation,
  server as serverPki,
  station,
} from '../fixtures/revocation-pki.ts'
import { closed, nextError } from '../fixtures/settled.ts'

const revokesStation = { revoked: [station.cert], number: 2 }

for (const stack of stacks) {
  const renegotiates = stack.version === 'TLSv1.2'

  t.test(`${stack.name}: a new list ends the revoked peer of a server, and all others lose no byte`, async (t) => {
    const plant = await Station.open(t, stack)
    const revoked = await plant.connect()
    const others = [await plant.connect(otherStation), await plant.connect(otherStation)]
    const exchanges = others.map((ends) => new Exchange(ends))
    const lost = new Exchange(revoked)
    await Promise.all([...exchanges, lost].map((exchange) => exchange.moves()))

    const failed = nextError(revoked.server)
    const report = await plant.server.updateCRL(makePEM(authority, revokesStation))
    t.same(report, { checked: 3, revoked: 1, failed: 0, notRenegotiated: renegotiates ? 0 : 2 })
    t.match(await failed, { name: 'RenegotiationError', code: 'ERR_RENEGOTIATION_REVOKED', message: /serial number/ })
    await closed(revoked.client)
    for (const ends of others) t.equal(ends.server.counters.renegotiations, renegotiates ? 1 : 0)
    await Promise.all(exchanges.map((exchange) => exchange.moves()))
    for (const exchange of exchanges) t.ok(await exchange.isWhole())
  })

  t.test(`${stack.name}: a server refuses new connections of a revoked peer, and admits others`, async (t) => {
    const plant = await Station.open(t, stack)
    await plant.server.updateCRL(makeCRL(authority, revokesStation))
    const refused = once(plant.server, 'tlsClientError') as Promise<[RenegotiationError, RenegotiationTLSSocket]>
    const client = plant.call()
    plant.server.on('secureConnection', () => t.fail('it is not emitted for the revoked peer'))
    const [error, socket] = await refused
    t.match(error, { code: 'ERR_RENEGOTIATION_REVOKED' })
    t.equal(socket.destroyed, true)
    client.resume()
    await closed(client)
    plant.server.removeAllListeners('secureConnection')
    const { server } = await plant.connect(otherStation)
    t.equal(server.authorized, true)
  })

  t.test(`${stack.name}: a client ends its connection to a revoked server`, async (t) => {
    const plant = await Station.open(t, stack)
    const first = await plant.connect()
    const failed = nextError(first.client)
    const revoked = { revoked: [serverPki.cert] }
    t.same(await first.client.updateCRL(makePEM(authority, revoked)), {
      checked: 1,
      revoked: 1,
      failed: 0,
      notRenegotiated: 0,
    })
    t.match(await failed, { code: 'ERR_RENEGOTIATION_REVOKED' })

    const second = await plant.connect()
    const exchange = new Exchange(second)
    await exchange.moves()
    const good = await second.client.updateCRL(makePEM(authority, { revoked: [otherStation.cert] }))
    t.same(good, { checked: 1, revoked: 0, failed: 0, notRenegotiated: renegotiates ? 0 : 1 })
    t.ok(await exchange.isWhole())
  })

  t.test(`${stack.name}: a list that comes before the connection is made judges its first handshake`, async (t) => {
    const plant = await Station.open(t, stack)
    const client = plant.call()
    client.on('secureConnect', () => t.fail('the application does not learn of it'))
    const failed = nextError(client)
    const report = client.updateCRL(makePEM(authority, { revoked: [serverPki.cert] }))
    t.match(await failed, { code: 'ERR_RENEGOTIATION_REVOKED' })
    t.match(await report, { checked: 1, revoked: 1 })
  })

  t.test(`${stack.name}: an authority in between is judged, too`, async (t) => {
    const plant = await Station.open(t, stack)
    const remote = { key: remoteStation.key, cert: `${remoteStation.cert}\n${intermediate.cert}` }
    const { server } = await plant.connect(remote)
    const failed = nextError(server)
    const report = await plant.server.updateCRL(makePEM(authority, { revoked: [intermediate.cert] }))
    t.match(report, { checked: 1, revoked: 1 })
    t.match(await failed, { message: /its authority/ })
  })
}
