// Makes the table of TLS stacks in docs/compatibility.md from the results in build/stacks/, which the tests in
// test/behaviour/stacks/ write. A stack that was not tested keeps its rows.
//
//   npm test -- test/behaviour/stacks/*.ts && npm run compatibility
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { stacks } from '../build/test/fixtures/stacks.js'

const file = new URL('../docs/compatibility.md', import.meta.url)
const [begin, end] = ['<!-- The table of TLS stacks: npm run compatibility -->\n', '<!-- end of the table -->']
const document = readFileSync(file, 'utf8')
const [before, rest] = document.split(begin)
const [table, after] = rest.split(end)

const head = ['| stack | our end | we begin | the peer begins | both begin |', '|---|---|---|---|---|']
const rows = Object.entries(stacks).flatMap(([name, { name: title }]) => {
  const results = new URL(`../build/stacks/${name}.json`, import.meta.url)
  if (!existsSync(results)) return table.split('\n').filter((row) => row.includes(`<!-- ${name} -->`))
  return rowsOf(name, title, JSON.parse(readFileSync(results, 'utf8')))
})
writeFileSync(file, `${before}${begin}${[...head, ...rows].join('\n')}\n${end}${after}`)

function rowsOf(name, title, results) {
  return ['client', 'server'].map((role) => {
    const cells = ['we', 'peer', 'both'].map((begins) => {
      if (stacks[name].ours[role][begins] === 'never') return '–'
      const ours = results[`${role} ${begins}`]
      const plain = results[`plain ${role} ${begins}`]
      const expected = stacks[name].ours[role][begins]
      const outcome = expected !== 'all' && expected.test('all') ? 'may be lost' : words(ours)
      return `${outcome}; plain: ${words(plain)}`
    })
    const version = results[`${role} we`].version
    return `| ${version.includes(title) ? version : `${title} ${version}`} <!-- ${name} --> | ${role} | ${cells.join(' | ')} |`
  })
}

function words({ renegotiations, failure }) {
  return failure === undefined ? `all ${renegotiations}` : `lost after ${renegotiations}`
}
