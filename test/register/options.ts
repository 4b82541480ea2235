import t from 'tap'
import type { RegisterOptions } from '../../src/index.ts'
import { check } from '../../src/register/options.ts'

t.test('good options of register() pass', async () => {
  check({})
  check({ mode: 'guard', hosts: ['*.plant.example'], report: false, renegotiation: { peerLimit: false } })
  check({ mode: undefined, hosts: undefined, report: undefined, renegotiation: undefined })
})

t.test('a bad option of register() is an error that quotes it', async (t) => {
  const bad: [options: unknown, code: string, message: string][] = [
    [null, 'ERR_INVALID_ARG_TYPE', 'options must be an object, got null'],
    [1, 'ERR_INVALID_ARG_TYPE', 'options must be an object, got 1'],
    [{ mode: 'gard' }, 'ERR_INVALID_ARG_VALUE', "mode must be 'guard' or 'watch', got 'gard'"],
    [{ hosts: 'a' }, 'ERR_INVALID_ARG_TYPE', "hosts must be an array of names, got 'a'"],
    [{ hosts: [1] }, 'ERR_INVALID_ARG_TYPE', 'hosts must be an array of names, got [ 1 ]'],
    [{ hosts: [] }, 'ERR_INVALID_ARG_VALUE', 'hosts is []. It must have one name or more, and none that is empty.'],
    [
      { host: ['a'] },
      'ERR_INVALID_ARG_VALUE',
      "There is no option 'host'. There are hosts, mode, renegotiation, report",
    ],
    [{ report: 1 }, 'ERR_INVALID_ARG_TYPE', 'report must be a boolean, got 1'],
    [{ renegotiation: null }, 'ERR_INVALID_ARG_TYPE', 'options must be an object, got null'],
  ]
  for (const [options, code, message] of bad) t.throws(() => check(options as RegisterOptions), { code, message })
})
