import type tls from 'node:tls'
import { Attribute, Client } from 'ldapts'
import t, { type Test } from 'tap'
import { connect, type RenegotiationTLSSocket } from '../../src/index.ts'
import { ca } from '../fixtures/pki.ts'
import { skip, slapd } from '../fixtures/servers.ts'
import { closed, rejection } from '../fixtures/settled.ts'

if (skip.slapd) t.plan(0, skip.slapd)
else {
  const { port } = await slapd(t)

  /** Returns a client with its own `createSecureConnection`, and the sockets of its connections, in order. */
  async function client(t: Test, maxVersion: 'TLSv1.2' | 'TLSv1.3' = 'TLSv1.2', at = port) {
    const sockets: RenegotiationTLSSocket[] = []
    const createSecureConnection = (...args: unknown[]) => {
      const socket = connect(...(args as Parameters<typeof connect>))
      sockets.push(socket)
      return socket
    }
    const ldap = new Client({
      url: `ldaps://localhost:${at}`,
      tlsOptions: { ca, maxVersion },
      createSecureConnection: createSecureConnection as typeof tls.connect,
    })
    t.teardown(async () => ldap.unbind())
    await ldap.bind('cn=root,dc=test', 'secret')
    return { ldap, sockets }
  }

  const people = Array.from({ length: 6 }, (_, i) => ({
    cn: `person ${i}`,
    photo: Buffer.alloc(1_000_000, `photo ${i} `),
  }))

  const expected = people.map(({ photo }) => photo)

  async function photosOf(ldap: Client): Promise<unknown[]> {
    const options = { filter: '(cn=*)', explicitBufferAttributes: ['jpegPhoto'] }
    const { searchEntries } = await ldap.search('dc=test', options)
    return searchEntries.sort((a, b) => (String(a['cn']) < String(b['cn']) ? -1 : 1)).map((entry) => entry['jpegPhoto'])
  }

  t.test('ldapts writes 6 MB to slapd and reads them back over a stream of this package', async (t) => {
    const { ldap, sockets } = await client(t)
    const [socket] = sockets as [RenegotiationTLSSocket]
    await ldap.add('dc=test', { objectClass: ['dcObject', 'organization'], dc: 'test', o: 'test' })
    for (const { cn, photo } of people) {
      await ldap.add(`cn=${cn},dc=test`, [
        new Attribute({ type: 'objectClass', values: ['inetOrgPerson'] }),
        new Attribute({ type: 'sn', values: [cn] }),
        new Attribute({ type: 'jpegPhoto', values: [photo] }),
      ])
    }
    t.strictSame(await photosOf(ldap), expected)
    t.equal(socket.getProtocol(), 'TLSv1.2')
    await ldap.unbind()
    await closed(socket)
    t.equal(sockets.length, 1)
  })

  t.test('with TLS 1.3, renegotiate() fails at once, and all operations of ldapts succeed', async (t) => {
    const { ldap, sockets } = await client(t, 'TLSv1.3')
    const photos = photosOf(ldap)
    t.match(await rejection(sockets[0]!.renegotiate()), { code: 'ERR_RENEGOTIATION_UNSUPPORTED' })
    t.strictSame(await photos, expected)
    t.equal(sockets.length, 1)
  })
}
