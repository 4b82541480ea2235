/*
 * Plays each scenario with sockets of `node:tls`, and with streams of this package
 * at one end or at both. What each end observes, and in which order, must be the
 * same. Intended differences are explained in docs/compatibility.md.
 */
import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { scenarios } from '../fixtures/scenarios/index.ts'
import { ours, plain, Scene } from '../fixtures/scene.ts'

const compatibility = readFileSync('docs/compatibility.md', 'utf8')
/** If set, only scenarios whose name contains this text are played. */
const chosen = process.env['SCENARIO'] ?? ''

for (const { name, versions = ['TLSv1.2', 'TLSv1.3'] as const, play, differs } of scenarios) {
  if (!name.includes(chosen)) continue
  const does = differs === undefined ? 'behaves like' : 'differs as documented from'
  t.test(`this package ${does} node:tls when ${name}`, async (t) => {
    let differed = false
    for (const version of versions) {
      const expected = await Scene.play(play, plain, plain, version)
      t.notOk(expected['scene'], `${version}: the scenario ends with plain sockets`)
      for (const [whose, client, server] of [
        ['client', ours, plain],
        ['server', plain, ours],
        ['both ends', ours, ours],
      ] as const) {
        const listed = { ...expected }
        for (const party of ['client', 'server'] as const) {
          const change = differs?.[party]
          if (change !== undefined && (whose === party || whose === 'both ends'))
            listed[party] = change(expected[party] ?? [])
        }
        differed ||= !isDeepStrictEqual(listed, expected)
        t.strictSame(
          await Scene.play(play, client, server, version),
          listed,
          `${version}: the expected events, with this package as ${whose}`,
        )
      }
    }
    if (differs === undefined) return
    t.ok(differed, 'the listed difference occurs')
    t.ok(compatibility.includes(`### ${differs.heading}\n`), 'docs/compatibility.md explains the difference')
  })
}
