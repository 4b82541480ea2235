import t from 'tap'
import { parseOptions, parseRenegotiateOptions } from '../../src/core/options.ts'
import { SLICE_BYTES } from '../../src/core/slice.ts'

t.test('options that are not given have their defaults', async (t) => {
  const defaults = {
    drainTimeout: 30_000,
    handshakeTimeout: 30_000,
    maxInboundBytes: 16 * 1024 * 1024,
    maxHeldBytes: Infinity,
    readableHighWaterMark: 64 * 1024,
    writableHighWaterMark: 3 * SLICE_BYTES,
    peerLimit: undefined,
    allowIdentityChange: false,
    requireExtendedMasterSecret: false,
    resumption: undefined,
    holdFrom: 'request',
    rekey: undefined,
  }
  t.strictSame(parseOptions(), defaults)
  t.strictSame(parseOptions({}), defaults)
  t.strictSame(parseOptions({ drainTimeout: undefined, peerLimit: undefined, highWaterMark: undefined }), defaults)
})

t.test('options that are given are returned unchanged', async (t) => {
  const given = {
    drainTimeout: 1,
    handshakeTimeout: 2.5,
    maxInboundBytes: 3,
    maxHeldBytes: 4,
    readableHighWaterMark: 5,
    writableHighWaterMark: 6,
    peerLimit: { max: 7, windowMs: 8 },
    allowIdentityChange: true,
    requireExtendedMasterSecret: true,
    resumption: false,
    holdFrom: 'answer' as const,
    rekey: {
      everyMs: [9, 10] as const,
      fullEveryMs: [11, 12] as const,
      everyBytes: 11,
      everyRecords: 12,
      hardLimit: { ms: 13, bytes: 14, records: 15, fullMs: 16 },
      concurrency: 16,
    },
  }
  t.strictSame(parseOptions(given), { ...given, rekey: { auto: false, ...given.rekey } })
})

t.test('highWaterMark applies to both sides, unless a side has its own', async (t) => {
  t.match(parseOptions({ highWaterMark: 0 }), { readableHighWaterMark: 0, writableHighWaterMark: 0 })
  t.match(parseOptions({ highWaterMark: 1, readableHighWaterMark: 2 }), {
    readableHighWaterMark: 2,
    writableHighWaterMark: 1,
  })
})

const timeouts = ['drainTimeout', 'handshakeTimeout'] as const
const marks = ['highWaterMark', 'readableHighWaterMark', 'writableHighWaterMark'] as const
const limits = ['maxInboundBytes', 'maxHeldBytes'] as const
const longest = 2 ** 31 - 1

const bad = (name: string, value: unknown) => () => parseOptions({ [name]: value } as never)
const badOfOne = (name: string, value: unknown) => () => parseRenegotiateOptions({ [name]: value } as never)

for (const name of [...timeouts, ...marks, ...limits]) {
  t.test(`${name} must be a number`, async (t) => {
    t.throws(bad(name, '5'), { name: 'TypeError', message: `${name} must be a number, got '5'` })
    t.throws(bad(name, null), { name: 'TypeError', message: `${name} must be a number, got null` })
    t.throws(bad(name, 5n), { name: 'TypeError', message: `${name} must be a number, got 5n` })
    t.throws(bad(name, { deep: { a: 1 } }), {
      name: 'TypeError',
      message: `${name} must be a number, got { deep: [Object] }`,
    })
  })

  t.test(`${name} must not be negative or NaN`, async (t) => {
    for (const value of [-1, NaN, -Infinity]) {
      t.throws(bad(name, value), { name: 'RangeError', message: new RegExp(`^${name} must be an? .*, got ${value}$`) })
    }
  })
}

for (const name of timeouts) {
  t.test(`${name} may be from 0 to the maximum of setTimeout(), for streams and for renegotiate()`, async (t) => {
    for (const value of [0, 0.5, longest]) {
      t.equal(parseOptions({ [name]: value })[name], value)
      t.equal(parseRenegotiateOptions({ [name]: value })[name], value)
    }
    const message = new RegExp(`^${name} must be a number from 0 to ${longest}, got `)
    for (const value of [longest + 1, Infinity, -0.1]) {
      t.throws(bad(name, value), { name: 'RangeError', message })
      t.throws(badOfOne(name, value), { name: 'RangeError', message })
    }
    t.throws(badOfOne(name, '1s'), { name: 'TypeError', message: `${name} must be a number, got '1s'` })
  })
}

for (const name of [...marks, ...limits]) {
  t.test(`${name} must be a whole number of bytes`, async (t) => {
    t.throws(bad(name, 1.5), {
      name: 'RangeError',
      message: new RegExp(`^${name} must be an integer from 0 to .*, got 1.5$`),
    })
  })
}

for (const name of limits) {
  t.test(`${name} may be Infinity`, async (t) => {
    t.equal(parseOptions({ [name]: Infinity })[name], Infinity)
  })
}

for (const name of marks) {
  t.test(`${name} must be finite`, async (t) => {
    t.throws(bad(name, Infinity), { name: 'RangeError', message: /got Infinity$/ })
  })
}

t.test("requireExtendedMasterSecret must be a boolean or 'always'", async (t) => {
  t.match(parseOptions({ requireExtendedMasterSecret: 'always' }), { requireExtendedMasterSecret: 'always' })
  t.throws(bad('requireExtendedMasterSecret', 1), {
    name: 'TypeError',
    message: 'requireExtendedMasterSecret must be a boolean, got 1',
  })
})

t.test('allowIdentityChange must be a boolean or a function', async (t) => {
  t.equal(parseOptions({ allowIdentityChange: false }).allowIdentityChange, false)
  const allow = () => true
  t.equal(parseOptions({ allowIdentityChange: allow }).allowIdentityChange, allow)
  t.throws(bad('allowIdentityChange', 1), {
    name: 'TypeError',
    message: 'allowIdentityChange must be a boolean or a function, got 1',
  })
})

t.test('peerLimit must be false or { max, windowMs }', async (t) => {
  t.equal(parseOptions({ peerLimit: false }).peerLimit, false)
  t.same(parseOptions({ peerLimit: { max: 0, windowMs: 0 } }).peerLimit, { max: 0, windowMs: 0 })
  t.same(parseOptions({ peerLimit: { max: 0 } }).peerLimit, { max: 0, windowMs: 600_000 })
  t.same(parseOptions({ peerLimit: { max: 3, windowMs: Infinity } }).peerLimit, { max: 3, windowMs: Infinity })
  for (const [value, message] of [
    [true, 'peerLimit must be an object, got true'],
    [null, 'peerLimit must be an object, got null'],
    [{ windowMs: 3 }, 'peerLimit must be false or { max, windowMs }, got { windowMs: 3 }'],
    [{ max: '3', windowMs: 1 }, "peerLimit.max must be a number, got '3'"],
    [{ max: 3, windowMs: '1' }, "peerLimit.windowMs must be a number, got '1'"],
  ] as const) {
    t.throws(bad('peerLimit', value), { name: 'TypeError', message })
  }
  for (const [value, message] of [
    [{ max: -1, windowMs: 1 }, /^peerLimit.max must be an integer from 0 to .*, got -1$/],
    [{ max: 1.5, windowMs: 1 }, /^peerLimit.max must be an integer .*, got 1.5$/],
    [{ max: 1, windowMs: -1 }, 'peerLimit.windowMs must be a number from 0 to Infinity, got -1'],
  ] as const) {
    t.throws(bad('peerLimit', value), { name: 'RangeError', message })
  }
})

t.test('options must be an object', async (t) => {
  for (const parse of [parseOptions, parseRenegotiateOptions]) {
    t.throws(() => parse(null as never), { name: 'TypeError', message: 'options must be an object, got null' })
    t.throws(() => parse('fast' as never), { name: 'TypeError', message: "options must be an object, got 'fast'" })
  }
})

t.test('the options of renegotiate() have no defaults of their own', async (t) => {
  const none = {
    requestCert: undefined,
    rejectUnauthorized: undefined,
    drainTimeout: undefined,
    handshakeTimeout: undefined,
    signal: undefined,
  }
  t.strictSame(parseRenegotiateOptions(), none)
  t.strictSame(parseRenegotiateOptions({}), none)
})

t.test('the options of renegotiate() are returned unchanged, without unknown properties', async (t) => {
  const { signal } = new AbortController()
  const given = { requestCert: true, rejectUnauthorized: false, drainTimeout: 1, handshakeTimeout: 2, signal }
  t.strictSame(parseRenegotiateOptions({ ...given, other: 1 } as never), given)
})

for (const name of ['requestCert', 'rejectUnauthorized'] as const) {
  t.test(`${name} must be a boolean`, async (t) => {
    t.throws(badOfOne(name, 'yes'), { name: 'TypeError', message: `${name} must be a boolean, got 'yes'` })
  })
}

t.test('signal must be an AbortSignal', async (t) => {
  t.throws(badOfOne('signal', null), { name: 'TypeError', message: 'signal must be an AbortSignal, got null' })
  t.throws(badOfOne('signal', { aborted: false }), {
    name: 'TypeError',
    message: 'signal must be an AbortSignal, got { aborted: false }',
  })
  t.throws(badOfOne('signal', new AbortController()), { name: 'TypeError', message: /^signal must be an AbortSignal/ })
})

const rekey = (value: unknown) => () => parseOptions({ rekey: value } as never).rekey
const nothing = {
  auto: false,
  everyMs: undefined,
  fullEveryMs: undefined,
  everyBytes: Infinity,
  everyRecords: Infinity,
  hardLimit: { ms: Infinity, bytes: Infinity, records: Infinity, fullMs: Infinity },
  concurrency: 8,
}

t.test('rekey accepts each of its options alone', async (t) => {
  t.strictSame(rekey({ everyMs: 5 })(), { ...nothing, everyMs: [5, 5] })
  t.strictSame(rekey({ everyMs: [5, 6.5] })(), { ...nothing, everyMs: [5, 6.5] })
  t.strictSame(rekey({ fullEveryMs: 5 })(), { ...nothing, fullEveryMs: [5, 5] })
  t.strictSame(rekey({ fullEveryMs: [5, 6.5] })(), { ...nothing, fullEveryMs: [5, 6.5] })
  t.strictSame(rekey({ everyBytes: 1 })(), { ...nothing, everyBytes: 1 })
  t.strictSame(rekey({ everyRecords: 1 })(), { ...nothing, everyRecords: 1 })
  for (const name of ['ms', 'bytes', 'records', 'fullMs']) {
    t.strictSame(rekey({ hardLimit: { [name]: 1 } })(), { ...nothing, hardLimit: { ...nothing.hardLimit, [name]: 1 } })
  }
})

t.test("rekey is also 'auto' or false; another text is an error", async (t) => {
  t.strictSame(rekey('auto')(), { ...nothing, auto: true })
  t.equal(rekey(false)(), undefined)
  t.throws(rekey('sometimes'), {
    name: 'TypeError',
    message: "rekey must be 'auto', false or an object, got 'sometimes'",
  })
})

t.test('rekey without a limit or a trigger throws a TypeError', async (t) => {
  for (const value of [{}, { hardLimit: {} }, { everyBytes: Infinity }, { hardLimit: { ms: Infinity } }]) {
    t.throws(rekey(value), { name: 'TypeError', message: /^rekey must have everyMs, .*, got {.*}$/ })
  }
})

t.test('rekey and rekey.hardLimit must be objects', async (t) => {
  for (const value of [null, 5, 'often', true]) {
    t.throws(rekey(value), { name: 'TypeError', message: /^rekey must be 'auto', false or an object, got / })
  }
  t.throws(rekey({ hardLimit: 5 }), { name: 'TypeError', message: 'rekey.hardLimit must be an object, got 5' })
  t.throws(rekey({ hardLimit: null }), { name: 'TypeError', message: 'rekey.hardLimit must be an object, got null' })
})

for (const name of ['everyMs', 'fullEveryMs']) {
  t.test(`rekey.${name} must be a number or an ordered pair [min, max]`, async (t) => {
    const thrown = (message: string) => new RegExp(`^rekey.${name} must be ${message}`)
    for (const value of [[], [1], [1, 2, 3], [undefined, 1]]) {
      t.throws(rekey({ [name]: value }), {
        name: 'TypeError',
        message: thrown('a number or \\[min, max\\], got \\['),
      })
    }
    for (const value of ['5', null, ['1', 2], [1, '2']]) {
      t.throws(rekey({ [name]: value }), { name: 'TypeError', message: thrown('a number, got ') })
    }
    t.throws(rekey({ [name]: [2, 1] }), {
      name: 'RangeError',
      message: `rekey.${name} must be [min, max], got [ 2, 1 ]`,
    })
    for (const value of [0, -1, NaN, Infinity, longest + 1, [0, 5], [5, Infinity]]) {
      t.throws(rekey({ [name]: value }), { name: 'RangeError', message: thrown('a number from 1 to \\d+, got ') })
    }
  })
}

t.test('rekey.everyMs must be less than rekey.fullEveryMs', async (t) => {
  for (const [everyMs, fullEveryMs] of [
    [5, 5],
    [[1, 6], 5],
    [6, [5, 10]],
  ]) {
    t.throws(rekey({ everyMs, fullEveryMs }), {
      name: 'RangeError',
      message: /^rekey.everyMs must be less than rekey.fullEveryMs \(5\), got [56]$/,
    })
  }
})

for (const name of [
  'everyBytes',
  'everyRecords',
  'hardLimit.bytes',
  'hardLimit.records',
  'hardLimit.ms',
  'hardLimit.fullMs',
]) {
  t.test(`rekey.${name} must be a positive number`, async (t) => {
    const [outer, inner] = name.split('.') as [string, string | undefined]
    const given = (value: unknown) => rekey({ [outer]: inner === undefined ? value : { [inner]: value } })
    t.throws(given('5'), { name: 'TypeError', message: `rekey.${name} must be a number, got '5'` })
    for (const value of [0, -1, NaN]) {
      t.throws(given(value), {
        name: 'RangeError',
        message: new RegExp(`^rekey.${name} must be an? .*, got ${value}$`),
      })
    }
  })
}

t.test('rekey.concurrency is an integer from 1, or Infinity; alone it is no schedule', async (t) => {
  for (const concurrency of [1, 100, Infinity]) {
    t.strictSame(rekey({ everyMs: 5, concurrency })(), { ...nothing, everyMs: [5, 5], concurrency })
  }
  for (const [concurrency, error] of [
    ['5', { name: 'TypeError', message: "rekey.concurrency must be a number, got '5'" }],
    [null, { name: 'TypeError', message: 'rekey.concurrency must be a number, got null' }],
    [0, { name: 'RangeError', message: 'rekey.concurrency must be an integer from 1 to Infinity, got 0' }],
    [1.5, { name: 'RangeError', message: 'rekey.concurrency must be an integer from 1 to Infinity, got 1.5' }],
    [NaN, { name: 'RangeError', message: 'rekey.concurrency must be an integer from 1 to Infinity, got NaN' }],
  ] as const) {
    t.throws(rekey({ everyMs: 5, concurrency }), error)
  }
  t.throws(rekey({ concurrency: 5 }), { name: 'TypeError', message: /^rekey must have everyMs, / })
})

t.test('rekey.hardLimit must be more than the schedule', async (t) => {
  const message = (limit: string, name: string) => `rekey.hardLimit.${limit} must be more than rekey.${name} (5), got 5`
  t.throws(rekey({ everyMs: [2, 5], hardLimit: { ms: 5 } }), { name: 'RangeError', message: message('ms', 'everyMs') })
  t.throws(rekey({ fullEveryMs: [2, 5], hardLimit: { fullMs: 5 } }), {
    name: 'RangeError',
    message: message('fullMs', 'fullEveryMs'),
  })
  t.throws(rekey({ everyBytes: 5, hardLimit: { bytes: 5 } }), {
    name: 'RangeError',
    message: message('bytes', 'everyBytes'),
  })
  t.throws(rekey({ everyRecords: 5, hardLimit: { records: 5 } }), {
    name: 'RangeError',
    message: message('records', 'everyRecords'),
  })
  t.doesNotThrow(rekey({ everyMs: [2, 5], everyBytes: 6, hardLimit: { ms: 6, records: 1 } }))
})

t.test('a misspelt option of rekey throws', async (t) => {
  const misspelt = (rekey: object) => () => parseOptions({ rekey })
  t.throws(misspelt({ everyMs: 5, everyBites: 5 }), /rekey has everyMs, fullEveryMs, everyBytes, .*, got 'everyBites'/)
  t.throws(misspelt({ hardLimit: { ms: 5, byte: 5 } }), /rekey.hardLimit has ms, bytes, records, fullMs, got 'byte'/)
})
