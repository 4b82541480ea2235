import t from 'tap'
import type { Row } from '../../bench/compare.ts'
import { cipherName, cipherSpeed, evpName, floorTable, parseSpeed } from '../../bench/floor.ts'
import { estimate } from '../../bench/stats.ts'
import { table } from '../../bench/table.ts'

const row: Row = {
  name: 'send',
  words: { plain: '495 MB/s', tcp: '2000 MB/s' },
  ratios: {
    ours: estimate([1.1, 1.2, 1.3, 1.4, 1.5, 1.6]),
    duplexify: estimate([0.9, 0.91, 0.92, 0.93, 0.94, 1]),
    again: estimate([0.95, 0.97, 1, 1.01, 1.02, 1.03]),
  },
}

t.test('the table says what cannot be told apart from a second plain socket', async (t) => {
  const lines = table([row], { generations: 6, rounds: 2 }).split('\n')
  t.match(lines[0], /new processes: 6, rounds of each: 2; medians, and their 95 % confidence intervals$/)
  t.equal(
    lines.at(-2),
    '| send | 495 MB/s | 1.35 (1.10–1.60) | 0.93 (0.90–1.00); cannot be told apart |  | 1.00 (0.95–1.03) |',
  )
})

t.test('with too few processes the table shows medians and claims nothing else', async (t) => {
  const few = { name: 'send', words: {}, ratios: { ours: estimate([1.25]), again: estimate([0.5]) } }
  const lines = table([few], { generations: 1, rounds: 1 }, ['ours', 'again']).split('\n')
  t.match(lines[0], /\(too few processes for them\)$/)
  t.equal(lines.at(-2), '| send |  | 1.25 | 0.50 |')
})

t.test('evpName() takes the cipher out of the name of a cipher suite', async (t) => {
  t.equal(evpName('ECDHE-ECDSA-AES256-GCM-SHA384'), 'aes-256-gcm')
  t.equal(evpName('TLS_AES_128_GCM_SHA256'), 'aes-128-gcm')
  t.equal(evpName('ECDHE-RSA-CHACHA20-POLY1305'), 'chacha20-poly1305')
  t.throws(
    () => evpName('ECDHE-RSA-DES-CBC3-SHA'),
    new RangeError('No name of a cipher is known for ECDHE-RSA-DES-CBC3-SHA'),
  )
})

t.test('parseSpeed() reads what openssl speed -mr prints', async (t) => {
  t.equal(
    parseSpeed('+DT:AES-256-GCM:1:64\n+R:2715725:AES-256-GCM:0.98\n+H:64\n+F:25:AES-256-GCM:177353469.39\n'),
    177353469.39,
  )
  t.throws(() => parseSpeed('+H:64\n'), /has printed no result/)
})

t.test('a missing openssl program is a row that says why', async (t) => {
  const speed = await cipherSpeed('aes-256-gcm', 'no-such-program')
  t.match(speed, { cipher: 'aes-256-gcm', missing: /ENOENT/ })
  const lines = floorTable([row], [row], speed).split('\n')
  t.match(lines.at(-2), /^\| `openssl speed -evp aes-256-gcm`: not measured \(.*ENOENT\) \|/)
  t.match(lines[4], /^\| plain tls.TLSSocket, sending \| 495 MB/)
  t.match(lines[5], /^\| raw TCP on loopback, sending \| 2000 MB/)
  t.equal(
    cipherName({ cipher: 'aes-256-gcm', version: 'OpenSSL 3.0.22', words: ['1 MB/s'] }),
    '`openssl speed -evp aes-256-gcm`, one core, OpenSSL 3.0.22',
  )
})
