import t from 'tap'
import { play } from '../../fixtures/stack-cell-tls13.ts'
import { missing, testStackTLS13 } from '../../fixtures/stack-tests-tls13.ts'
import { stacksTLS13 } from '../../fixtures/stacks-tls13.ts'
import { build } from '../../fixtures/toolchains.ts'

testStackTLS13('java')

const stack = stacksTLS13['java']
if (stack === undefined) throw new Error('there is no stack java')
const MEGABYTES = 1

t.test(`Java updates its keys by itself after every ${MEGABYTES} MiB`, { skip: missing(stack) }, async (t) => {
  const dir = t.testdir({ 'java.security': `jdk.tls.keyLimits=AES/GCM/NoPadding KeyUpdate ${MEGABYTES * 2 ** 20}\n` })
  const [java = '', ...args] = build(t, stack.toolchain)
  const command = [java, `-Djava.security.properties=${dir}/java.security`, ...args]
  for (const role of ['client', 'server'] as const) {
    const { reports } = await play(t, command, { role, exchange: 'peer', times: 5, byItself: true })
    t.ok(reports.length >= 5, `our end is a ${role}`)
    t.ok(reports.every(({ origin, kind, verified }) => origin === 'peer' && kind === 'key-update' && verified))
  }
})
