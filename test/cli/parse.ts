import t from 'tap'
import { address, chunkSizes, duration, hostAndPort, path, seed, window } from '../../src/cli/parse.ts'

t.test('duration() accepts a number with a unit, or a number of seconds', async (t) => {
  const examples = {
    '90s': 90_000,
    '30ms': 30,
    '1.5m': 90_000,
    '8h': 28_800_000,
    '2d': 172_800_000,
    '5': 5000,
    ' 5 s ': 5000,
  }
  for (const [text, milliseconds] of Object.entries(examples)) t.equal(duration(text), milliseconds, text)
  for (const text of ['', 's', '5 apples', '-5s', '5s5s', '1e3', 'NaN', '5S']) {
    t.throws(() => duration(text), /must be a number with one of the units ms, s, m, h, d/, text)
  }
  for (const text of ['0', '0.1ms', '25d']) t.throws(() => duration(text), /is not from 1ms to 24d/, text)
})

t.test('window() accepts one duration, or a range of two durations', async (t) => {
  t.same(window('7s-14s'), [7000, 14_000])
  t.same(window('10s'), [10_000, 10_000])
  t.same(window('30ms-60ms'), [30, 60])
  t.throws(() => window('14s-7s'), /first value must not be more than the second/)
  t.throws(() => window('1s-2s-3s'), /one value, or two with a hyphen/)
  t.throws(() => window('1s-'), /must be a number/)
})

t.test('chunkSizes() accepts one size in bytes, or a range of two sizes', async (t) => {
  t.same(chunkSizes('1B-1MiB'), [1, 1024 * 1024])
  t.same(chunkSizes('64KiB'), [65_536, 65_536])
  t.same(chunkSizes('100'), [100, 100])
  t.same(chunkSizes('0.5KiB'), [512, 512])
  t.throws(() => chunkSizes('0'), /is not from 1B to 16MiB/)
  t.throws(() => chunkSizes('1GiB'), /is not from 1B to 16MiB/)
  t.throws(() => chunkSizes('1.5B'), /1.5B is not a whole number of bytes/)
  t.throws(() => chunkSizes('64kb'), /one of the units B, KiB, MiB, GiB/)
})

t.test('address() accepts a host and a port', async (t) => {
  t.same(address('plant.example:8883'), { host: 'plant.example', port: 8883 })
  t.same(address('[::1]:443'), { host: '::1', port: 443 })
  for (const text of ['', 'host', ':443', 'host:', 'host:0', 'host:65536', 'host:4a', '::1:443', 'a:1:2']) {
    t.throws(() => address(text), /must be host:port/, text)
  }
})

t.test('hostAndPort() writes an address in the form that address() accepts', async (t) => {
  for (const text of ['plant.example:8883', '[::1]:443']) t.equal(hostAndPort(address(text)), text)
})

t.test('path() accepts only a path that begins with a slash', async (t) => {
  t.equal(path('/status?all'), '/status?all')
  t.throws(() => path('localhost:443'), /begins with \//)
})

t.test('seed() accepts only a whole number of at most ten digits', async (t) => {
  t.equal(seed('0'), 0)
  t.equal(seed('123'), 123)
  for (const text of ['', 'x', '-1', '1.5', '12345678901']) t.throws(() => seed(text), /whole number/, text)
})
