import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import t from 'tap'
import { RevocationList } from '../../src/core/revocation-list.ts'
import { extension, type ListOptions, makeCRL, oid, signedList, tlv } from '../fixtures/make-crl.ts'
import { authority, edAuthority, namesake, rsaAuthority, station, stranger } from '../fixtures/revocation-pki.ts'

const certificate = ({ cert }: { cert: string }) => new X509Certificate(cert)

t.test('a list says who has signed it, when, and which certificates are revoked', async (t) => {
  const [thisUpdate, nextUpdate] = [new Date('2026-01-02T03:04:05Z'), new Date('2127-01-02T03:04:05Z')]
  const list = new RevocationList(makeCRL(authority, { revoked: [station.cert], number: 300, thisUpdate, nextUpdate }))
  t.equal(list.number, 300n)
  t.equal(list.thisUpdate, thisUpdate.getTime())
  t.equal(list.nextUpdate, nextUpdate.getTime())
  t.equal(list.size, 1)
  t.equal(list.has(certificate(station)), true)
  t.equal(list.has(certificate(authority)), false)
  t.equal(certificate(authority).raw.includes(list.issuer), true)
})

t.test('without entries, a number and a next update, it is a list all the same', async (t) => {
  const list = new RevocationList(makeCRL(authority, { number: undefined, nextUpdate: null }))
  t.match(list, { number: undefined, nextUpdate: Infinity, size: 0, scope: '' })
})

t.test('a year with two digits is one from 1950 to 2049', async (t) => {
  for (const year of [1950, 1999, 2000, 2049, 2050]) {
    const thisUpdate = new Date(Date.UTC(year, 5, 1))
    t.equal(new RevocationList(utcTime(thisUpdate)).thisUpdate, thisUpdate.getTime(), `${year}`)
  }
})

/** A list whose first time is a UTCTime up to 2049. */
function utcTime(thisUpdate: Date): Buffer {
  if (thisUpdate.getUTCFullYear() >= 2050) return makeCRL(authority, { thisUpdate })
  const text = `${thisUpdate.toISOString().replace(/\D/g, '').slice(2, 14)}Z`
  const algorithm = tlv(0x30, oid('2a8648ce3d040302'))
  return signedList(tlv(0x30, algorithm, tlv(0x30), tlv(0x17, Buffer.from(text))), algorithm, authority)
}

t.test('serial numbers are compared as numbers', async (t) => {
  const revoked = ['00a1b2', '7f', '000000', 'ff', '8001', '0102030405060708090a0b0c0d0e0f1011121314']
  const list = new RevocationList(makeCRL(authority, { revoked }))
  for (const serialNumber of ['A1B2', '7F', '0', '00', '-01', '-7FFF', '102030405060708090A0B0C0D0E0F1011121314']) {
    t.equal(list.has({ serialNumber }), true, serialNumber)
  }
  for (const serialNumber of ['A1', '01', '-A1B2', 'FF']) t.equal(list.has({ serialNumber }), false, serialNumber)
})

const signed = {
  ecdsa: authority,
  rsa: rsaAuthority,
  'rsa-pss': rsaAuthority,
  ed25519: edAuthority,
} as const

for (const [algorithm, signer] of Object.entries(signed)) {
  t.test(`a signature by ${algorithm} is checked`, async (t) => {
    const der = makeCRL(signer, { algorithm: algorithm as keyof typeof signed })
    t.equal(new RevocationList(der).isSignedBy(certificate(signer)), true)
    for (const other of [namesake, stranger, rsaAuthority, edAuthority]) {
      if (other !== signer) t.equal(new RevocationList(der).isSignedBy(certificate(other)), false)
    }
    const changed = Buffer.from(der)
    // A digit of the first time.
    const place = changed.indexOf('Z') - 1
    changed[place] = (changed[place] as number) ^ 1
    t.equal(new RevocationList(changed).isSignedBy(certificate(signer)), false)
  })
}

t.test('a key with which OpenSSL cannot verify at all is not that of the authority', async (t) => {
  const list = new RevocationList(makeCRL(authority, { algorithm: 'ecdsa' }))
  t.equal(list.isSignedBy({ publicKey: generateKeyPairSync('x25519').publicKey }), false)
})

t.test('a list is newer by its number, or without one by its time', async (t) => {
  const [early, late] = [new Date('2026-01-01'), new Date('2026-02-01')]
  const at = (thisUpdate: Date, number?: number) => new RevocationList(makeCRL(authority, { thisUpdate, number }))
  t.equal(at(early, 2).isNewerThan(at(late, 1)), true)
  t.equal(at(late, 1).isNewerThan(at(early, 2)), false)
  t.equal(at(late, 1).isNewerThan(at(early, 1)), true)
  t.equal(at(late, 1).isNewerThan(at(late, 1)), false)
  t.equal(at(late).isNewerThan(at(early, 7)), true)
  t.equal(at(early, 7).isNewerThan(at(late)), false)
})

const distributionPoint = (...fields: Buffer[]) => extension('551d1c', tlv(0x30, ...fields), true)
const yes = Buffer.from([0xff])

t.test('a distribution point is the scope of the list', async (t) => {
  const scope = (...fields: Buffer[]) =>
    new RevocationList(makeCRL(authority, { extensions: [distributionPoint(...fields)] })).scope
  t.equal(scope(tlv(0x81, yes)), scope(tlv(0x81, yes)))
  t.not(scope(tlv(0x81, yes)), scope(tlv(0x82, yes)))
  t.not(scope(tlv(0x81, yes)), '')
})

t.test('extensions that do not change what the list says are accepted', async (t) => {
  const extensions = [extension('551d23', tlv(0x30), true), extension('2a03', tlv(0x30))]
  const entryExtensions = [extension('551d15', tlv(0x0a, Buffer.from([6])))]
  const list = new RevocationList(makeCRL(authority, { revoked: [station.cert], extensions, entryExtensions }))
  t.equal(list.has(certificate(station)), true)
})

const unsupported: Record<string, ListOptions> = {
  'is indirect': { extensions: [distributionPoint(tlv(0x84, yes))] },
  'has only the changes since another list': { extensions: [extension('551d1b', tlv(0x02, Buffer.from([1])), true)] },
  'has a critical extension that this package does not know': { extensions: [extension('2a03', tlv(0x30), true)] },
  'has entries with critical extensions': {
    revoked: [station.cert],
    entryExtensions: [extension('551d1d', tlv(0x30), true)],
  },
  'is signed by an algorithm that this package does not accept': { algorithm: 'sha1' },
}

for (const [what, options] of Object.entries(unsupported)) {
  t.test(`a list that ${what} is refused`, async (t) => {
    const message = `The revocation list ${what}, which is not supported`
    t.throws(() => new RevocationList(makeCRL(authority, options)), { code: 'ERR_CRL_UNREADABLE', message })
  })
}

t.test('RSA-PSS without a hash, which would be SHA-1, or with it, is refused', async (t) => {
  for (const algorithm of ['rsa-pss without parameters', 'rsa-pss sha1'] as const) {
    t.throws(() => new RevocationList(makeCRL(rsaAuthority, { algorithm })), { code: 'ERR_CRL_UNREADABLE' })
  }
  const noHash = tlv(0x30, oid('2a864886f70d01010a'), tlv(0x30))
  t.throws(() => new RevocationList(signedList(tlv(0x30, noHash), noHash, authority)), { code: 'ERR_CRL_UNREADABLE' })
})

const algorithm = tlv(0x30, oid('2a8648ce3d040302'))
const name = tlv(0x30)
const time = tlv(0x17, Buffer.from('260102030405Z'))
const listOf = (...fields: Buffer[]) => signedList(tlv(0x30, ...fields), algorithm, authority)

const broken: Record<string, Buffer> = {
  nothing: Buffer.alloc(0),
  'what is no DER': Buffer.from('3082ffff00', 'hex'),
  'another structure': certificate(station).raw.subarray(0, 40),
  'a certificate': certificate(station).raw,
  'something after the list': Buffer.concat([makeCRL(authority), tlv(0x05)]),
  'another algorithm inside': listOf(tlv(0x30, oid('2b6570')), name, time),
  'no time': listOf(algorithm, name),
  'a time that is none': listOf(algorithm, name, tlv(0x17, Buffer.from('yesterday'))),
  'a time with another tag': listOf(algorithm, name, tlv(0x0c, Buffer.from('20260102030405Z'))),
  'a name that is none': listOf(algorithm, tlv(0x05), time),
  'an entry without a number': listOf(algorithm, name, time, tlv(0x30, tlv(0x30))),
  'an entry with an empty number': listOf(algorithm, name, time, tlv(0x30, tlv(0x30, tlv(0x02), time))),
  'an unknown field': listOf(algorithm, name, time, tlv(0xa1)),
  'extensions that are none': listOf(algorithm, name, time, tlv(0xa0)),
  'an extension that is none': listOf(algorithm, name, time, tlv(0xa0, tlv(0x30, tlv(0x30)))),
}

for (const [what, der] of Object.entries(broken)) {
  t.test(`${what} is not a list`, async (t) => {
    const message = 'crl is not a certificate revocation list, in PEM or DER'
    t.throws(() => new RevocationList(der), { code: 'ERR_CRL_UNREADABLE', message })
  })
}

t.test('a list that is cut off or changed anywhere is refused, or its signature is wrong', async (t) => {
  const der = makeCRL(authority, { revoked: [station.cert, '01', 'ff'], extensions: [distributionPoint()] })
  for (let place = 0; place < der.length; place++) {
    t.throws(() => new RevocationList(der.subarray(0, place)), { code: 'ERR_CRL_UNREADABLE' })
    const changed = Buffer.from(der)
    changed[place] = (changed[place] as number) ^ 0x41
    let isAccepted = false
    try {
      isAccepted = new RevocationList(changed).isSignedBy(certificate(authority))
    } catch (error) {
      t.match(error, { code: 'ERR_CRL_UNREADABLE' })
    }
    t.equal(isAccepted, false, `byte ${place}`)
  }
})

t.test('a list with a hundred thousand entries is read', async (t) => {
  const revoked = Array.from({ length: 100_000 }, (_, index) => `01${index.toString(16).padStart(30, '0')}`)
  const list = new RevocationList(makeCRL(authority, { revoked }))
  t.equal(list.size, revoked.length)
  t.equal(list.has({ serialNumber: revoked[77_777] as string }), true)
})
