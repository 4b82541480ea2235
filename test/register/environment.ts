import t from 'tap'
import { optionsFrom } from '../../src/register/environment.ts'

t.test('without variables, all options are undefined', async (t) => {
  const unset = { mode: undefined, hosts: undefined, report: undefined, renegotiation: undefined }
  t.strictSame(optionsFrom({}), unset)
  t.strictSame(optionsFrom({ RENEGOTIATION_MODE: '', RENEGOTIATION_REKEY: ' ', PATH: '/bin' }), unset, 'empty is unset')
  t.strictSame(
    optionsFrom({ RENEGOTIATION_LIBSSL: 'libssl.so.3' }),
    unset,
    'a variable of another module is not rejected',
  )
})

t.test('each variable becomes an option', async (t) => {
  t.match(optionsFrom({ RENEGOTIATION_MODE: 'guard' }), { mode: 'guard' })
  t.match(optionsFrom({ RENEGOTIATION_MODE: 'watch' }), { mode: 'watch' })
  t.match(optionsFrom({ RENEGOTIATION_REPORT: '0' }), { report: false })
  t.match(optionsFrom({ RENEGOTIATION_REPORT: '1' }), { report: true })
  t.strictSame(optionsFrom({ RENEGOTIATION_HOSTS: 'plant.example, *.grid.example' }).hosts, [
    'plant.example',
    '*.grid.example',
  ])
  t.strictSame(optionsFrom({ RENEGOTIATION_HOSTS: '::1,10.0.*' }).hosts, ['::1', '10.0.*'])
  const { renegotiation } = optionsFrom({ RENEGOTIATION_REKEY: '600s-900s', RENEGOTIATION_PEER_LIMIT: '5/10m' })
  t.strictSame(renegotiation, { rekey: { everyMs: [600_000, 900_000] }, peerLimit: { max: 5, windowMs: 600_000 } })
  t.strictSame(optionsFrom({ RENEGOTIATION_REKEY: '10m' }).renegotiation, { rekey: { everyMs: [600_000, 600_000] } })
  t.strictSame(optionsFrom({ RENEGOTIATION_PEER_LIMIT: '5' }).renegotiation, { peerLimit: { max: 5 } })
  t.strictSame(optionsFrom({ RENEGOTIATION_PEER_LIMIT: 'off' }).renegotiation, { peerLimit: false })
})

t.test('a variable that does not exist is an error, because it may be a typing error', async (t) => {
  t.throws(() => optionsFrom({ RENEGOTIATION_HOST: 'a' }), {
    name: 'TypeError',
    message: /^The environment variable RENEGOTIATION_HOST is unknown. There are .*RENEGOTIATION_HOSTS/,
  })
})

t.test('a bad value is a TypeError that names the variable, quotes the value and says what is allowed', async (t) => {
  for (const [name, value, rule] of [
    ['RENEGOTIATION_MODE', 'gard', 'It must be guard or watch.'],
    ['RENEGOTIATION_MODE', 'toString', 'It must be guard or watch.'],
    ['RENEGOTIATION_REPORT', 'yes', 'It must be 0 or 1.'],
    ['RENEGOTIATION_HOSTS', 'a,,b', 'It must have one name or more, and none that is empty.'],
    ['RENEGOTIATION_HOSTS', 'plant.example:443', 'It must have no ports, schemes, paths, brackets or spaces.'],
    ['RENEGOTIATION_HOSTS', 'https://plant.example', 'It must have no ports, schemes, paths, brackets or spaces.'],
    ['RENEGOTIATION_REKEY', 'soon', 'It must be a number with one of the units ms, s, m, h, d.'],
    ['RENEGOTIATION_REKEY', '10', 'Each time must have one of the units ms, s, m, h, d.'],
    ['RENEGOTIATION_REKEY', '10-15m', 'Each time must have one of the units ms, s, m, h, d.'],
    ['RENEGOTIATION_PEER_LIMIT', '5/10', 'Each time must have one of the units ms, s, m, h, d.'],
    ['RENEGOTIATION_HOSTS', '[::1]', 'It must have no ports, schemes, paths, brackets or spaces.'],
    ['RENEGOTIATION_REKEY', '9m-5m', 'The first value must not be more than the second.'],
    ['RENEGOTIATION_PEER_LIMIT', '-1', "It must be 'off', a number such as 5, or a number in a time such as 5/10m."],
    ['RENEGOTIATION_PEER_LIMIT', '5/long', 'It must be a number with one of the units ms, s, m, h, d.'],
  ] as const) {
    const message = `The environment variable ${name} is '${value}'. ${rule}`
    t.throws(() => optionsFrom({ [name]: value }), { name: 'TypeError', message })
  }
})
