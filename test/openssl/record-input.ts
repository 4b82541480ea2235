import t from 'tap'
import { RecordInput } from '../../src/openssl/record-input.ts'

const record = (type: number, ...data: number[]) => Buffer.from([type, 3, 3, 0, data.length, ...data])

t.test('records come one at a time, however the bytes are cut', async (t) => {
  const all = [record(22, 1, 2, 3), record(23), record(21, 4), record(20, 5, 6), record(23, 7, 8, 9, 10)]
  const bytes = Buffer.concat(all)
  for (let size = 1; size <= bytes.length; size++) {
    const given: Buffer[] = []
    const input = new RecordInput((part) => given.push(Buffer.from(part)))
    const seen: unknown[] = []
    for (let at = 0; at < bytes.length; at += size) {
      input.push(bytes.subarray(at, at + size))
      while (input.type !== undefined) {
        const { type } = input
        input.feed()
        // What was given already may include the beginning of the next record.
        seen.push(type)
      }
      t.equal(input.waitingBytes, 0)
    }
    t.same(seen, ['handshake', 'data', 'alert', 'handshake', 'data'])
    t.same(Buffer.concat(given), bytes)
    t.equal(input.malformed, false)
  }
})

t.test('what waits can be kept while the memory that it came in changes', async (t) => {
  const given: Buffer[] = []
  const input = new RecordInput((part) => given.push(Buffer.from(part)))
  const all = [record(23, 1, 2), record(23, 3)]
  const memory = Buffer.concat(all)
  input.push(memory)
  input.feed()
  input.keep()
  memory.fill(0)
  t.equal(input.waitingBytes, 6)
  input.feed()
  t.same(given, all)
})

t.test('a second chunk waits behind the first', async (t) => {
  const given: Buffer[] = []
  const input = new RecordInput((part) => given.push(Buffer.from(part)))
  const [first, second] = [record(23, 1), record(22, 2)]
  input.push(first)
  input.push(second)
  t.equal(input.waitingBytes, first.length + second.length)
  t.same(given, [], 'OpenSSL does not have it yet')
  input.feed()
  t.same(given, [first])
  t.equal(input.type, 'handshake')
  input.discard()
  t.match([input.type, input.waitingBytes], [undefined, 0])
  input.feed()
  t.same(given, [first])
})

t.test('what is not a record goes through at once', async (t) => {
  for (const bytes of [record(24, 1), Buffer.from([22, 2, 0, 0, 1]), Buffer.from([23, 3, 3, 0x48, 1])]) {
    const given: Buffer[] = []
    const input = new RecordInput((part) => given.push(Buffer.from(part)))
    input.push(bytes)
    t.match([input.malformed, input.type], [true, 'alert'])
    input.feed()
    t.same(given, [bytes])
  }
})
