/*
 * Plays each scenario in a program of plain node:tls, with and without the hook. What the program observes, and in which
 * order, must be the same. Intended differences are explained in docs/compatibility.md.
 */
import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import t, { type Test } from 'tap'
import { program } from '../fixtures/program.ts'
import type { Played, ScenesInput } from '../fixtures/programs/scenes.ts'
import { hookScenarios } from '../fixtures/scenarios/hook/index.ts'
import { scenarios } from '../fixtures/scenarios/index.ts'
import type { Scenario } from '../fixtures/scenarios/scenario.ts'
import type { Version } from '../fixtures/scene.ts'

type Notes = Played['notes']
type Change = (plain: Notes, version: Version) => Notes

t.setTimeout(300_000)
const compatibility = readFileSync('docs/compatibility.md', 'utf8')
const [, section = ''] = /^## Under the hook\n([\s\S]*?)(?=^## )/m.exec(compatibility) ?? []
/** The first cell of each row of the table. */
const rows = [...section.matchAll(/^\| (.+?) \|/gm)].map(([, cell]) => cell).filter((cell) => cell !== 'what')
/** If set, only scenarios whose name contains this text are played. */
const chosen = process.env['SCENARIO'] ?? ''
const both = ['TLSv1.2', 'TLSv1.3'] as const

/** Runs the program. Returns what each scenario has led to, and what the program has written. */
async function run(t: Test, version: Version, hook: boolean, mode: 'guard' | 'watch' = 'guard') {
  const input: ScenesInput = { version, chosen }
  // Without a limit of its own, the package has that of Node.
  const env = { RENEGOTIATION_PEER_LIMIT: '', RENEGOTIATION_MODE: mode }
  const process = program(t, 'scenes', { hook, input, env })
  const played = new Map<string, Notes>()
  for (;;) {
    const message = await process.told<Played | null>()
    if (message === null) break
    played.set(message.name, message.notes)
  }
  const { code, stdout, stderr } = await process.ended
  return { played, output: { code, stdout, stderr: stderr.replaceAll(/\(node:\d+\)/g, '(node)') } }
}

const runs = new Map<Version, Record<'plain' | 'hooked', Map<string, Notes>>>()
for (const version of both) {
  await t.test(`with ${version}, a program ends and writes under the hook as it does without it`, async (t) => {
    const [plain, hooked] = await Promise.all([run(t, version, false), run(t, version, true)])
    t.strictSame(hooked.output, plain.output)
    runs.set(version, { plain: plain.played, hooked: hooked.played })
  })

  t.test(
    `with ${version}, a program whose sockets are only watched observes what it observes without the hook`,
    async (t) => {
      const watched = await run(t, version, true, 'watch')
      for (const [name, notes] of runs.get(version)!.plain) t.strictSame(watched.played.get(name), notes, name)
    },
  )
}

/** The change that the package itself makes at both ends. Under the hook, a server leaves sockets with TLS 1.3 alone. */
function changeOfPackage({ differs }: Scenario): Change | undefined {
  if (differs === undefined) return undefined
  return (plain, version) => {
    const changed = { ...plain }
    for (const party of ['client', 'server'] as const) {
      const change = differs[party]
      if (change !== undefined && !(party === 'server' && version === 'TLSv1.3')) {
        changed[party] = change(plain[party] ?? [], version)
      }
    }
    return changed
  }
}

function compare(name: string, versions: readonly Version[] = both, change?: Change): void {
  if (!name.includes(chosen)) return
  const does = change === undefined ? 'is the same' : 'differs as documented'
  t.test(`under the hook, what a program observes ${does} when ${name}`, async (t) => {
    let differed = false
    for (const version of versions) {
      const { plain, hooked } = runs.get(version)!
      const [notes, expected] = [plain.get(name)!, { ...plain.get(name)! }]
      t.notOk(notes['scene'], `${version}: the scenario ends without the hook`)
      const listed = change?.(notes, version) ?? expected
      const found = { ...hooked.get(name) }
      // With the difference, there are other errors.
      if (change !== undefined) for (const each of [listed, found]) delete each['errors']
      differed ||= change !== undefined && !isDeepStrictEqual({ ...listed, errors: notes['errors'] }, notes)
      t.strictSame(found, listed, `${version}: the expected events`)
    }
    t.equal(differed, change !== undefined, 'it differs if a difference is listed')
  })
}

for (const scenario of scenarios) compare(scenario.name, scenario.versions, changeOfPackage(scenario))
for (const { name, versions, differs } of hookScenarios) compare(name, versions, differs?.change)

t.test('docs/compatibility.md lists the differences under the hook, and no others', async (t) => {
  const found = new Set(hookScenarios.flatMap(({ differs }) => differs?.what ?? []))
  t.strictSame([...rows].sort(), [...found].sort())
})
