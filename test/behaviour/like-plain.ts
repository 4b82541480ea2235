/*
 * The same scenario with sockets of `node:tls` and with ours: what either end
 * hears, and in which order, must be the same. What differs on purpose is
 * explained in docs/compatibility.md.
 */
import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { scenarios } from '../fixtures/scenarios/index.ts'
import { ours, plain, Scene } from '../fixtures/scene.ts'

const compatibility = readFileSync('docs/compatibility.md', 'utf8')
/** Of one scenario only, by a part of its name. */
const chosen = process.env['SCENARIO'] ?? ''

for (const { name, versions = ['TLSv1.2', 'TLSv1.3'] as const, play, differs } of scenarios) {
  if (!name.includes(chosen)) continue
  t.test(name, async (t) => {
    let differed = false
    for (const version of versions) {
      const expected = await Scene.play(play, plain, plain, version)
      t.notOk(expected['scene'], `${version}: it comes to its end with plain sockets`)
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
        t.strictSame(await Scene.play(play, client, server, version), listed, `${version}, ${whose} of ours`)
      }
    }
    if (differs === undefined) return
    t.ok(differed, 'what is listed as a difference is one')
    t.ok(compatibility.includes(`### ${differs.heading}\n`), 'the difference is explained')
  })
}
