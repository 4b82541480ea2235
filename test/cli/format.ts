import t from 'tap'
import { bytes, ms, time } from '../../src/cli/format.ts'

t.test('time() writes milliseconds as seconds, minutes or hours', async (t) => {
  t.equal(time(0), '0 s')
  t.equal(time(250), '0.3 s')
  t.equal(time(7000), '7 s')
  t.equal(time(150_000), '2 min 30 s')
  t.equal(time(120_000), '2 min')
  t.equal(time(28_800_000), '8 h')
  t.equal(time(28_860_999), '8 h 1 min')
})

t.test('bytes() writes a number of bytes with a decimal unit', async (t) => {
  t.equal(bytes(0), '0 B')
  t.equal(bytes(999), '999 B')
  t.equal(bytes(1500), '1.50 kB')
  t.equal(bytes(12_345_678), '12.3 MB')
  t.equal(bytes(123_456_789_012), '123 GB')
  t.equal(bytes(1e19), '10000 PB')
})

t.test('ms() writes milliseconds, with fewer decimals for larger values', async (t) => {
  t.equal(ms(0.123), '0.12 ms')
  t.equal(ms(12.34), '12.3 ms')
  t.equal(ms(1234.5), '1235 ms')
})
