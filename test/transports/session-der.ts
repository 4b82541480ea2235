import t from 'tap'
import { readSessionDER } from '../../src/transports/session-der.ts'

/** A DER element. */
function der(tag: number, ...content: Buffer[]): Buffer {
  const body = Buffer.concat(content)
  const length = body.length < 0x80 ? [body.length] : [0x82, body.length >> 8, body.length & 0xff]
  return Buffer.concat([Buffer.of(tag, ...length), body])
}

const version = der(0x02, Buffer.of(1))
const flags = (...bytes: number[]) => der(0xad, der(0x02, Buffer.of(...bytes)))
const identity = der(0xa8, der(0x04, Buffer.from('pump')))
const session = (...elements: Buffer[]) => der(0x30, version, ...elements)

t.test('readSessionDER() reads the extended master secret flag and the PSK identity', async (t) => {
  t.same(readSessionDER(session()), { extendedMasterSecret: false })
  t.same(readSessionDER(session(flags(1))), { extendedMasterSecret: true })
  t.same(readSessionDER(session(flags(1, 0))), { extendedMasterSecret: false })
  t.same(readSessionDER(session(flags())), { extendedMasterSecret: false })
  t.same(readSessionDER(session(identity, flags(1))), { extendedMasterSecret: true, pskIdentity: Buffer.from('pump') })
  const long = der(0xa3, der(0x04, Buffer.alloc(1000)))
  t.same(readSessionDER(session(long, identity)), {
    extendedMasterSecret: false,
    pskIdentity: Buffer.from('pump'),
    peerCertificate: der(0x04, Buffer.alloc(1000)),
  })
})

t.test('readSessionDER() skips the header that newer releases of Node add on a client', async (t) => {
  const header = Buffer.from('\0nodejs:tls:session:1\0\0\x050.0.0')
  t.same(readSessionDER(Buffer.concat([header, session(identity, flags(1))])), {
    extendedMasterSecret: true,
    pskIdentity: Buffer.from('pump'),
  })
})

t.test('readSessionDER() reads nothing from invalid or truncated data', async (t) => {
  const whole = session(identity, flags(1))
  t.same(readSessionDER(undefined), {})
  t.same(readSessionDER(null), {})
  t.same(readSessionDER(Buffer.alloc(0)), {})
  t.same(readSessionDER(version), {})
  for (let length = 0; length < whole.length; length++)
    t.same(readSessionDER(whole.subarray(0, length)), {}, `${length}`)
  for (const length of [[0x80], [0x85, 0, 0, 0, 0, 0], [0x84, 0xff], [0x82, 0xff, 0xff]]) {
    t.same(readSessionDER(Buffer.of(0x30, ...length)), {})
  }
  t.same(readSessionDER(session(der(0xa8))), { extendedMasterSecret: false }, 'an identity without a value')
  t.same(
    readSessionDER(session(Buffer.of(0xad, 2, 0x02, 9))),
    { extendedMasterSecret: false },
    'a value that is cut off',
  )
})
